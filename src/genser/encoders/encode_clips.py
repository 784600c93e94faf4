"""Encodes many clips: long ones in windows, windows of similar length in batches, results in the given order."""

from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor

from genser.audio import SAMPLE_RATE
from genser.encoders.base import SpeechEncoder
from genser.encoders.batches import SHORTEST, batches_of, padded, split_windows
from genser.errors import AudioError, ConfigError

WINDOW_SECONDS = 30.0
AHEAD = 2
"""Batches that wait for a GPU while the host prepares the next one."""


def has_fast_bf16(device: torch.device | str) -> bool:
    """Whether a device computes in bfloat16 itself; a CPU without the instructions takes 7 times as long as float32."""
    return torch.device(device).type == "cuda" or bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def encode(
    encoder: SpeechEncoder,
    waveforms: Sequence[np.ndarray],
    *,
    batch_seconds: float = 120.0,
    bf16: bool = False,
) -> np.ndarray:
    """Return the features of every clip: the mean of every hidden state, Eq. (1), or what the encoder's pooling gives.

    A clip of more than 30 s is cut into equal windows of at most 30 s, whose features are averaged, weighted by their
    lengths. The encoder stays on its device and in its mode. On a GPU, the host prepares a batch while the one before
    it is computed.

    Args:
        encoder: Any encoder of this package.
        waveforms: Mono at 16 kHz, each of shape (samples,), of at least 25 ms.
        batch_seconds: Audio in a batch in seconds, padding included; a longer window is a batch of its own.
        bf16: Whether to compute in bfloat16 where torch's autocast does; meant for CUDA devices.

    Returns:
        float32 array of shape (clips, states, dim), in the given order.

    Raises:
        AudioError: A clip is too short.
        ConfigError: ``batch_seconds`` is not a number above 0.
    """
    if not 0 < batch_seconds < np.inf:
        raise ConfigError(f"batch_seconds must be a number above 0, got {batch_seconds}.")
    clips, windows = _windows(encoder, waveforms)
    sums = np.zeros((len(waveforms), encoder.states, encoder.dim))
    weights = np.zeros((len(waveforms), 1, 1))
    waiting: deque[tuple[list[int], Tensor]] = deque()

    def add_oldest() -> None:
        batch, features = waiting.popleft()
        for index, feature in zip(batch, features.double().cpu().numpy(), strict=True):
            sums[clips[index]] += feature * len(windows[index])
            weights[clips[index]] += len(windows[index])

    for batch in batches_of([len(window) for window in windows], batch_seconds * SAMPLE_RATE):
        waiting.append((batch, _run(encoder, [windows[index] for index in batch], bf16)))
        if len(waiting) > AHEAD:
            add_oldest()
    while waiting:
        add_oldest()
    return (sums / weights).astype(np.float32)


def _windows(encoder: SpeechEncoder, waveforms: Sequence[np.ndarray]) -> tuple[list[int], list[np.ndarray]]:
    """All windows of all clips, and the clip of each."""
    longest = min(encoder.max_samples or np.inf, WINDOW_SECONDS * SAMPLE_RATE)
    clips, windows = [], []
    for clip, waveform in enumerate(waveforms):
        if waveform.ndim != 1 or len(waveform) < SHORTEST:
            raise AudioError(
                f"Clip {clip} has the shape {waveform.shape}; an encoder needs (samples,) with at least {SHORTEST} "
                "samples, 25 ms at 16 kHz. Omit it, or load it with genser.audio.load_audio."
            )
        parts = split_windows(len(waveform), int(longest))
        clips += [clip] * len(parts)
        windows += [waveform[part] for part in parts]
    return clips, windows


@torch.inference_mode()
def _run(encoder: SpeechEncoder, windows: list[np.ndarray], bf16: bool) -> Tensor:
    """Features of a batch, (batch, states, dim), which a GPU may still be computing."""
    device = encoder.device
    inputs = [torch.from_numpy(array) for array in padded(windows)]
    if device.type == "cuda":
        inputs = [tensor.pin_memory() for tensor in inputs]  # so that the GPU copies while the host goes on
    with torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext():
        return encoder(*(tensor.to(device, non_blocking=True) for tensor in inputs))
