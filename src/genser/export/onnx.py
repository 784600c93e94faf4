"""From a model folder to one ONNX file: waveform in, class scores out, checked against torch."""

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from genser.encoders import EncoderConfig
from genser.errors import ConfigError, MissingExtraError, ModelError
from genser.export.check import LARGEST_DIFFERENCE, Parity, measure_parity
from genser.inference.backend import SHORTEST
from genser.inference.onnx_backend import OnnxBackend
from genser.inference.onnx_file import sealed
from genser.inference.torch_backend import run_model
from genser.model.folder import load_model, load_speech_model
from genser.model.speech_model import SpeechModel

PRECISIONS = ("float32", "int8")
LONGEST = 480_000  # samples of a waveform


@dataclass(frozen=True)
class Exported:
    """What an export gave.

    Attributes:
        path: The ONNX file.
        size: Its bytes.
        parity: How far it is from the model.
    """

    path: Path
    size: int
    parity: Parity


def export_onnx(
    folder: str | os.PathLike[str],
    path: str | os.PathLike[str],
    precision: str = "float32",
    *,
    tolerance: float | None = None,
    encoder: EncoderConfig | None = None,
    card: str | None = None,
    info: Mapping[str, Any] | None = None,
) -> Exported:
    """Write a model as one ONNX graph with front end, encoder, standardisation, N transport steps and projections.

    The graph takes ``waveform``, float32 (batch, samples) at 16 kHz, and ``lengths``, int64 (batch,), both dynamic. It
    gives ``scores`` (batch, classes), calibrated; ``trajectory`` (batch, N + 1, classes); ``states`` (batch, N + 1,
    dim), the transported x_t; ``speech`` and ``familiar`` (batch,), if the model tells them.

    Args:
        folder: Model folder.
        path: ONNX file to write; it appears whole and checked, or not at all.
        precision: ``"float32"``, or ``"int8"`` for the matrix products of the encoder.
        tolerance: Largest difference of a score from torch's; None means 1e-4 in float32 and 0.1 in int8, where 99 %
            of the labels must agree as well. A calibration that sharpens scores magnifies their rounding by its
            exponent, and so it does what is allowed in float32.
        encoder: Where the encoder is now, if not where it was.
        card: Model card in Markdown to carry along.
        info: What the file shall tell besides the folder's own.

    Raises:
        ModelError: The folder does not load, or the graph is not the model.
        MissingExtraError: onnx or onnxscript is not installed.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"Unknown precision {precision!r}: use one of {', '.join(PRECISIONS)}.")
    path = Path(path)
    if not path.parent.is_dir():
        raise ConfigError(f"The folder {path.parent} does not exist. Make it, or choose another output.")
    model = load_model(Path(folder))
    reference = load_speech_model(model, encoder)
    metadata = {**model.description, "info": {**model.info, **(info or {})}, "card": card}
    content = sealed(_graph(reference, precision), {**metadata, "precision": precision})
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        parity = measure_parity(partial(run_model, reference), OnnxBackend(part).run)
        parity.check(precision, _tolerance(reference, precision) if tolerance is None else tolerance)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return Exported(path, len(content), parity)


def _tolerance(reference: SpeechModel, precision: str) -> float:
    calibration = reference.head.config
    sharpened = max(calibration.exponent, calibration.out_of_domain_exponent, 1.0) if precision == "float32" else 1.0
    return LARGEST_DIFFERENCE[precision] * sharpened


def _graph(reference: SpeechModel, precision: str) -> bytes:
    """Serialise the unrolled model as ONNX."""
    try:
        import onnxscript  # noqa: F401 - torch.onnx needs it, and would fail with a long trace
        from onnx import checker

        from genser.export.quantize import halve_exactly, quantize_rows, strip_traces
    except ImportError as error:
        raise MissingExtraError("train", "Exporting to ONNX") from error
    proto = _exported(SpeechModel(reference.encoder, reference.head, reference.gate, unrolled=True).eval())
    if precision == "int8" and not quantize_rows(proto, "encoder"):
        raise ModelError(f"{reference.encoder.name} has no matrix to quantise. Export with precision float32.")
    strip_traces(proto)
    halve_exactly(proto)
    checker.check_model(proto)
    return proto.SerializeToString()


def _exported(model: SpeechModel) -> Any:
    batch, samples = torch.export.Dim("batch", min=1, max=4096), torch.export.Dim("samples", min=SHORTEST, max=LONGEST)
    example = (torch.zeros(2, 16_000), torch.tensor([16_000, 9_000]))
    try:
        with torch.inference_mode(False), torch.no_grad(), _hushed():
            program = torch.onnx.export(
                model,
                example,
                dynamo=True,
                input_names=["waveform", "lengths"],
                output_names=list(model.outputs),
                dynamic_shapes=({0: batch, 1: samples}, {0: batch}),
                verbose=False,
            )
    except Exception as error:  # torch raises many kinds where a model cannot be traced
        raise ModelError(f"{model.encoder.name} cannot be exported by torch {torch.__version__}: {error}") from error
    return program.model_proto


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep the exporter's remarks on packages that nobody asked for off standard error."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
