"""Runs a model with torch, on a CPU or a GPU: a model folder, or the graph of an ONNX file."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genser.encoders import EncoderConfig, SpeechEncoder
from genser.encoders.batches import batches_of, padded
from genser.encoders.load import check_device
from genser.encoders.mel import full_precision
from genser.errors import ConfigError, ModelError
from genser.inference.backend import MOST_THREADS, ModelOutput
from genser.inference.onnx_file import read_metadata
from genser.model.folder import load_model, load_speech_model
from genser.model.onnx_graph import OnnxGraph
from genser.model.speech_model import SpeechModel

BATCH_SAMPLES = {"cpu": 60 * 16_000, "cuda": 600 * 16_000}
"""Samples of a batch unless a call asks for others: a GPU waits for the host if its batches are small."""
AHEAD = 2
"""Batches that wait for a GPU while the host prepares the next one."""

Run = Callable[..., dict[str, Tensor]]
"""Outputs by name for ``waveform``, ``lengths`` and, unless it is 0, ``shift``."""


class TorchBackend:
    """A model on a device.

    Args:
        run: The model: a :class:`genser.model.onnx_graph.OnnxGraph`, or modules by :func:`named_outputs`.
        metadata: See :class:`genser.inference.backend.Backend`.
        device: The device that holds the model.
        load: Loads the model again, in a process that unpickles it; None if it cannot be pickled.
        path: File or folder of the model, if it is from one.
        frames: Hidden states (batch, states, frames, dim) for ``waveform`` and ``lengths``, of clips of one length.
    """

    def __init__(
        self,
        run: Run,
        metadata: Mapping[str, Any],
        device: str | torch.device,
        load: "Callable[[], TorchBackend] | None" = None,
        path: Path | None = None,
        frames: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        self.path, self._frames = path, frames
        self.metadata, self.labels = dict(metadata), tuple(metadata["labels"])
        self._run, self._device, self._load = run, torch.device(device), load

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickle names the file or folder, which is opened again where it is loaded."""
        if self._load is None:
            raise TypeError("This model is not from a file, so it cannot be pickled. Save it, and use genser.load.")
        return self._load, ()

    def outputs(
        self, windows: Sequence[np.ndarray], batch_samples: float | None = None, shift: np.ndarray | None = None
    ) -> Iterator[tuple[list[int], ModelOutput]]:
        """Run on windows in batches of similar length, see :class:`genser.inference.backend.Backend`.

        On a GPU, the host prepares a batch while the one before it is computed.

        Raises:
            ModelError: The memory of the GPU does not suffice.
        """
        most = batch_samples or BATCH_SAMPLES.get(self._device.type, BATCH_SAMPLES["cpu"])
        waiting: deque[tuple[list[int], dict[str, Tensor]]] = deque()
        try:
            for batch in batches_of([len(window) for window in windows], most):
                inputs = padded([windows[index] for index in batch])
                waiting.append((batch, _started(self._run, *inputs, shift, self._device)))
                if len(waiting) > (AHEAD if self._device.type == "cuda" else 0):
                    yield _finished(*waiting.popleft())
            while waiting:
                yield _finished(*waiting.popleft())
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"The memory of {self._device} does not suffice for a batch of {most / 16_000:g} s. "
                "Choose a shorter --batch-seconds."
            ) from error

    @torch.inference_mode()
    def frame_states(self, window: np.ndarray) -> np.ndarray:
        """Hidden states of one window by frame, as the pooling of the model chooses them.

        Args:
            window: Mono at 16 kHz, shape (samples,), of 30 s at most.

        Returns:
            float32 of shape (frames, states, dim).

        Raises:
            ModelError: They cannot be found in the ONNX file.
            ConfigError: The model is not from a file or folder.
        """
        if self._frames is None:
            raise ConfigError("This model is not from a file or folder. Save it, and use genser.load.")
        inputs = [torch.from_numpy(values).to(self._device) for values in padded([window])]
        with full_precision(self._device.type):
            return self._frames(*inputs)[0].transpose(0, 1).float().cpu().numpy()

    def run(self, waveforms: np.ndarray, lengths: np.ndarray, shift: np.ndarray | None = None) -> ModelOutput:
        """Run on a padded batch (batch, samples); each row is valid up to its length."""
        return _finished([], _started(self._run, waveforms, lengths, shift, self._device))[1]


def load_backend(
    path: str | os.PathLike[str],
    *,
    threads: int | None = None,
    device: str = "cpu",
    encoder: EncoderConfig | str | None = None,
) -> TorchBackend:
    """Load a model folder or an ONNX file.

    Args:
        path: Folder that ``genser train`` wrote, or file that ``genser export`` wrote.
        threads: Number of torch threads, for the whole process; None does not change it.
        device: Such as ``"cuda"``.
        encoder: Present source of the encoder of a folder, see :func:`genser.model.folder.load_speech_model`.

    Raises:
        ConfigError: The device or the number of threads cannot be used.
        ModelError: The folder, its encoder or the file does not load.
    """
    if threads is not None and (isinstance(threads, bool) or not 1 <= threads <= MOST_THREADS):
        raise ConfigError(f"threads must lie in [1, {MOST_THREADS}], got {threads}.")
    check_device(device)
    if threads is not None:
        torch.set_num_threads(threads)
    path = Path(path)
    again = partial(load_backend, path.absolute(), threads=threads, device=device, encoder=encoder)
    if not path.is_dir():
        graph = OnnxGraph(path, device)
        return TorchBackend(graph, read_metadata(path), device, again, path, graph.frame_states)
    model = load_model(path)
    speech = load_speech_model(model, encoder, device)
    frames = partial(_frame_states, speech.encoder)
    return TorchBackend(named_outputs(speech), model.description, device, again, path, frames)


def _frame_states(encoder: SpeechEncoder, waveform: Tensor, lengths: Tensor) -> Tensor:
    """Hidden states of clips of one length, (batch, states, frames, dim)."""
    states, mask = encoder.frame_states(waveform, lengths)
    return torch.stack(list(states), dim=1)[:, :, mask[0]]


def run_model(
    model: SpeechModel,
    waveforms: np.ndarray,
    lengths: np.ndarray,
    shift: np.ndarray | None = None,
    device: str = "cpu",
) -> ModelOutput:
    """Run a model that is on a device, with NumPy arrays in and out."""
    return TorchBackend(named_outputs(model), {"labels": model.head.config.labels}, device).run(
        waveforms, lengths, shift
    )


@torch.inference_mode()
def _started(
    run: Run, waveforms: np.ndarray, lengths: np.ndarray, shift: np.ndarray | None, device: torch.device
) -> dict[str, Tensor]:
    """Outputs for a padded batch on the device, which may still be computing them."""
    given = {"waveform": waveforms, "lengths": lengths} | ({} if shift is None else {"shift": shift[None]})
    inputs = {name: torch.from_numpy(values) for name, values in given.items()}
    if device.type == "cuda":
        inputs = {name: tensor.pin_memory() for name, tensor in inputs.items()}  # so that the host need not wait
    with full_precision(device.type):
        return run(**{name: tensor.to(device, non_blocking=True) for name, tensor in inputs.items()})


def named_outputs(model: SpeechModel) -> Run:
    """A model as a function with outputs by name."""
    return lambda **inputs: dict(zip(model.outputs, model(**inputs), strict=True))


def _finished(batch: list[int], outputs: dict[str, Tensor]) -> tuple[list[int], ModelOutput]:
    """The windows of a batch, and their outputs once the device has them."""
    known = {field.name for field in fields(ModelOutput)}
    return batch, ModelOutput(**{name: value.cpu().numpy() for name, value in outputs.items() if name in known})
