"""Runs a model folder with torch, on a CPU or a GPU."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genser.encoders import EncoderConfig
from genser.encoders.batches import batches_of, padded
from genser.encoders.load import check_device
from genser.errors import ConfigError
from genser.inference.backend import MOST_THREADS, ModelOutput
from genser.model.folder import load_model, load_speech_model
from genser.model.speech_model import SpeechModel


class TorchBackend:
    """A model folder.

    Args:
        folder: Written by ``genser train``.
        threads: Number of torch threads, for the whole process; None does not change it.
        device: Such as ``"cuda"``.
        encoder: Present source of the encoder, if it was moved, see :func:`genser.model.folder.load_speech_model`.

    Raises:
        ModelError: The folder or its encoder does not load.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        threads: int | None = None,
        device: str = "cpu",
        encoder: EncoderConfig | str | None = None,
    ) -> None:
        if threads is not None and not 1 <= threads <= MOST_THREADS:
            raise ConfigError(f"threads must lie in [1, {MOST_THREADS}], got {threads}.")
        check_device(device)
        if threads is not None:
            torch.set_num_threads(threads)
        model = load_model(Path(folder))
        self.labels = model.head.config.labels
        self.metadata: dict[str, Any] = model.description
        self._model = load_speech_model(model, encoder, device)
        self._device = device

    def outputs(
        self, windows: Sequence[np.ndarray], batch_samples: float, shift: np.ndarray | None = None
    ) -> Iterator[tuple[list[int], ModelOutput]]:
        """Run on windows in batches of similar length, see :class:`genser.inference.backend.Backend`."""
        for batch in batches_of([len(window) for window in windows], batch_samples):
            inputs = padded([windows[index] for index in batch])
            yield batch, run_model(self._model, *inputs, shift, self._device)


@torch.inference_mode()
def run_model(
    model: SpeechModel,
    waveforms: np.ndarray,
    lengths: np.ndarray,
    shift: np.ndarray | None = None,
    device: str = "cpu",
) -> ModelOutput:
    """Run a model that is on a device, with NumPy arrays in and out."""
    given = (waveforms, lengths) if shift is None else (waveforms, lengths, shift[None])
    inputs = (torch.from_numpy(values).to(device) for values in given)
    outputs = (output.cpu().numpy() for output in model(*inputs))
    return ModelOutput(**dict(zip(model.outputs, outputs, strict=True)))
