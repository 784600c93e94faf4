"""Exports a model folder to one ONNX file, from waveform to class scores, and checks it against torch."""

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genser.caches import import_torch_compiler
from genser.encoders import EncoderConfig
from genser.encoders.batches import SHORTEST
from genser.errors import ConfigError, MissingExtraError, ModelError
from genser.export.check import LARGEST_DIFFERENCE, Parity, measure_parity
from genser.files import atomic_file
from genser.inference.load import find_model
from genser.inference.onnx_backend import OnnxBackend
from genser.inference.onnx_file import sealed
from genser.inference.torch_backend import run_model
from genser.model.folder import CARD, load_model, load_speech_model
from genser.model.speech_model import SpeechModel

PRECISIONS = ("float32", "int8")
LONGEST = 480_000  # samples of a waveform


@dataclass(frozen=True)
class Exported:
    """The result of an export.

    Attributes:
        path: The ONNX file.
        size: Its size in bytes.
        parity: How far its outputs are from the model's.
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
    encoder: EncoderConfig | str | None = None,
    card: str | None = None,
    info: Mapping[str, Any] | None = None,
) -> Exported:
    """Write a model as one ONNX graph: front end, encoder, feature transform, head, calibration and speech gate.

    The graph takes ``waveform``, float32 (batch, samples) at 16 kHz, and ``lengths``, int64 (batch,); both axes are
    dynamic. It may take ``shift``, float32 (1, states, dim), which is added to the features. Its outputs are those of
    :class:`genser.model.speech_model.SpeechModel`: ``scores`` (batch, classes), calibrated, and if the model has them
    ``trajectory`` (batch, N + 1, classes), ``states`` (batch, N + 1, dim), ``speech`` and ``familiar`` (batch,),
    ``gender`` (batch, genders), and ``features`` (batch, states, dim).

    Args:
        folder: Model folder, or ``hf:owner/name`` or ``hf:owner/name@revision`` for one on the Hugging Face hub.
        path: ONNX file to write. It appears only if the graph passes the check.
        precision: ``"float32"``, or ``"int8"`` for the matrix products of the encoder.
        tolerance: Largest allowed difference of a score from torch's. None means 0.1 in int8, where 99 % of the labels
            must agree as well, and in float32 1e-4 times the calibration exponent, which amplifies rounding errors.
        encoder: Present source of the encoder, if it was moved, see :func:`genser.model.folder.load_speech_model`.
        card: Model card in Markdown to store in the file; None takes the folder's own, if it has one.
        info: Entries to add to the folder's ``info``.

    Raises:
        ConfigError: The precision is unknown, or the target folder does not exist.
        ModelError: The folder does not load, its encoder is no network, or the graph differs from the model.
        MissingExtraError: onnx or onnxscript is not installed, or huggingface_hub for a model on the hub.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"Unknown precision {precision!r}: use one of {', '.join(PRECISIONS)}.")
    if tolerance is not None and not 0 <= tolerance <= 1:
        raise ConfigError(f"tolerance must lie in [0, 1], got {tolerance}.")
    path = Path(path)
    if not path.parent.is_dir():
        raise ConfigError(f"The folder {path.parent} does not exist. Create it, or choose another output.")
    model = load_model(_found(folder))
    reference = load_speech_model(model, encoder)
    if not getattr(reference.encoder, "encoder", reference.encoder).is_graph:  # inside a pooling
        name = reference.encoder.name
        raise ModelError(f"The encoder {name} is no network, so no ONNX graph can contain it. Use the model folder.")
    if card is None and (model.folder / CARD).is_file():
        card = (model.folder / CARD).read_text(encoding="utf-8")
    metadata = {**model.description, "info": {**model.info, **(info or {})}, "card": card, "precision": precision}
    content = sealed(_graph(reference, precision), metadata)
    if tolerance is None:
        heads = [model.head.config, *(() if model.gender is None else (model.gender.config,))]
        exponents = [1.0, *(one for head in heads for one in (head.exponent, head.out_of_domain_exponent))]
        tolerance = LARGEST_DIFFERENCE[precision] * (max(exponents) if precision == "float32" else 1.0)
    with atomic_file(path) as file:
        file.write(content)
        file.flush()
        parity = measure_parity(partial(run_model, reference), OnnxBackend(file.name).run)
        parity.check(precision, tolerance)
    return Exported(path, len(content), parity)


def _found(folder: str | os.PathLike[str]) -> Path:
    """A local model folder, or one that is fetched from the hub."""
    path = Path(folder) if Path(folder).is_dir() else find_model(folder)
    if path.is_file():
        raise ModelError(f"{folder} is an ONNX file already. Name a model folder.")
    return path


def _graph(reference: SpeechModel, precision: str) -> bytes:
    """Trace and serialise a model."""
    try:
        import onnxscript  # noqa: F401 - torch.onnx needs it, and would fail with a long traceback
        from onnx import checker

        from genser.export.quantize import halve_exactly, quantize_rows, strip_traces
    except ImportError as error:
        raise MissingExtraError("train", "Exporting to ONNX") from error
    proto = _exported(reference)
    if precision == "int8" and not quantize_rows(proto, "encoder"):
        raise ModelError(f"{reference.encoder.name} has no matrix to quantise. Use precision float32.")
    strip_traces(proto)
    halve_exactly(proto)
    checker.check_model(proto)
    return proto.SerializeToString()


def _exported(model: SpeechModel) -> Any:
    import_torch_compiler()
    batch, samples = torch.export.Dim("batch", min=1, max=4096), torch.export.Dim("samples", min=SHORTEST, max=LONGEST)
    shift = torch.zeros(1, model.encoder.states, model.encoder.dim)
    example = (torch.zeros(2, 16_000), torch.tensor([16_000, 9_000]), shift)
    try:
        with torch.inference_mode(False), torch.no_grad(), _quiet():
            program = torch.onnx.export(
                model,
                example,
                dynamo=True,
                input_names=["waveform", "lengths", "shift"],
                output_names=list(model.outputs),
                dynamic_shapes=({0: batch, 1: samples}, {0: batch}, None),
                verbose=False,
            )
    except Exception as error:  # torch raises many types if a model cannot be traced
        raise ModelError(f"{model.encoder.name} cannot be exported by torch {torch.__version__}: {error}") from error
    assert program is not None  # torch returns None only without dynamo
    proto = program.model_proto
    _give_default(proto, "shift")
    return proto


def _give_default(proto: Any, name: str) -> None:
    """Make an input of a graph optional: an initialiser of its name, here of zeros, is its default in ONNX."""
    from onnx import numpy_helper

    (declared,) = (one for one in proto.graph.input if one.name == name)
    shape = [axis.dim_value for axis in declared.type.tensor_type.shape.dim]
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros(shape, np.float32), name))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep remarks of the exporter about optional packages off standard error."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
