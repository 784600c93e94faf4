"""Encodes many clips: batches of like lengths or without padding at all, long clips in windows, the given order."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from genser.audio import SAMPLE_RATE
from genser.encoders.base import MIN_SAMPLES, SpeechEncoder
from genser.encoders.packed import PackedHubert, packable
from genser.encoders.packing import pack_clips
from genser.encoders.windows import split_windows
from genser.errors import AudioError, ConfigError

WINDOW_SECONDS = 30.0
AHEAD = 2  # batches that a GPU may have before it


@dataclass(frozen=True)
class Window:
    """One stretch of one clip, as the encoder gets it."""

    clip: int
    samples: np.ndarray


def encode(
    encoder: SpeechEncoder,
    waveforms: Sequence[np.ndarray],
    *,
    batch_seconds: float = 120.0,
    bf16: bool = False,
) -> np.ndarray:
    """Return the mean of every hidden state of every clip, Eq. (1).

    Clips are sorted by length and batched; a batch, padding included, holds at most `batch_seconds`, or one window.
    A clip of more than 30 s is cut into equal windows of at most 30 s, whose means are averaged by their lengths.
    The encoder stays on its device and in its mode. On a GPU the host prepares a batch while the one before it is
    computed; large models of HuBERT's kind take clips end to end, without padding, when they compute in bfloat16.

    Args:
        encoder: Any of this package's.
        waveforms: Mono at 16 kHz, each of shape (samples,), of 25 ms at least.
        batch_seconds: Sound in a batch, in seconds.
        bf16: Compute in bfloat16 where torch's autocast deems it safe; made for CUDA devices.

    Returns:
        Float32 array of shape (clips, states, dim), in the order given.

    Raises:
        AudioError: A clip is too short.
    """
    if not batch_seconds > 0:
        raise ConfigError(f"batch_seconds must be above 0, got {batch_seconds}.")
    windows = _windows(encoder, waveforms)
    sums = np.zeros((len(waveforms), encoder.states, encoder.dim))
    weights = np.zeros((len(waveforms), 1, 1))
    for batch, answers in _awaited(_answers(encoder, windows, batch_seconds * SAMPLE_RATE, bf16)):
        for window, means in zip(batch, answers, strict=True):
            sums[window.clip] += means * len(window.samples)
            weights[window.clip] += len(window.samples)
    return (sums / weights).astype(np.float32)


def _answers(
    encoder: SpeechEncoder, windows: list[Window], budget: float, bf16: bool
) -> Iterator[tuple[list[Window], Tensor]]:
    """Batches with the means of their windows, which a GPU may still be computing."""
    packed = _packed(encoder) if bf16 and encoder.device.type == "cuda" and packable(encoder) else None
    if packed is None:
        for batch in batches_of(windows, budget):
            yield batch, _run(encoder, batch, bf16)
        return
    waveforms = [window.samples for window in windows]
    for pack in pack_clips([len(waveform) for waveform in waveforms], packed.grid, int(budget // packed.grid.hop)):
        yield [windows[clip] for clip in pack.clips], packed(pack, waveforms)


def _awaited(answers: Iterator[tuple[list[Window], Tensor]]) -> Iterator[tuple[list[Window], np.ndarray]]:
    """Answers as arrays, fetched a few batches late."""
    waiting: deque[tuple[list[Window], Tensor]] = deque()
    for answer in answers:
        waiting.append(answer)
        if len(waiting) > AHEAD:
            batch, means = waiting.popleft()
            yield batch, means.double().cpu().numpy()
    for batch, means in waiting:
        yield batch, means.double().cpu().numpy()


_PACKED: WeakKeyDictionary[SpeechEncoder, PackedHubert] = WeakKeyDictionary()
"""Weights laid out for packs, kept as long as their encoder."""


def _packed(encoder: SpeechEncoder) -> PackedHubert:
    known = _PACKED.get(encoder)
    if known is None or known.device != encoder.device:
        known = _PACKED[encoder] = PackedHubert(encoder, torch.bfloat16, compiled=find_spec("triton") is not None)
    return known


def _windows(encoder: SpeechEncoder, waveforms: Sequence[np.ndarray]) -> list[Window]:
    longest = min(encoder.max_samples or np.inf, WINDOW_SECONDS * SAMPLE_RATE)
    windows = []
    for clip, waveform in enumerate(waveforms):
        if waveform.ndim != 1 or len(waveform) < MIN_SAMPLES:
            raise AudioError(
                f"Clip {clip} has the shape {waveform.shape}; an encoder needs (samples,) with at least {MIN_SAMPLES} "
                "samples, 25 ms at 16 kHz. Leave it out, or load it with genser.audio.load_audio."
            )
        windows += [Window(clip, waveform[part]) for part in split_windows(len(waveform), int(longest))]
    return windows


def batches_of(windows: Sequence[Window], budget: float) -> list[list[Window]]:
    """Windows of like length together, longest first; a batch, padding included, holds at most so many samples."""
    batches: list[list[Window]] = []
    for window in sorted(windows, key=lambda window: len(window.samples), reverse=True):
        # Sorted downwards, the first of a batch is its longest.
        if batches and len(batches[-1][0].samples) * (len(batches[-1]) + 1) <= budget:
            batches[-1].append(window)
        else:
            batches.append([window])
    return batches


@torch.inference_mode()
def _run(encoder: SpeechEncoder, batch: list[Window], bf16: bool) -> Tensor:
    device = encoder.device
    waveforms, lengths = padded(batch, pinned=device.type == "cuda")
    with torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext():
        return encoder(waveforms.to(device, non_blocking=True), lengths.to(device, non_blocking=True))


def padded(batch: Sequence[Window], *, pinned: bool = False) -> tuple[Tensor, Tensor]:
    """Waveforms (batch, samples) with zeros behind the shorter ones, and the length of each.

    Args:
        batch: The longest first.
        pinned: In memory from which a GPU can copy by itself.
    """
    waveforms = torch.zeros(len(batch), len(batch[0].samples), pin_memory=pinned)
    for row, window in zip(waveforms.numpy(), batch, strict=True):
        row[: len(window.samples)] = window.samples
    return waveforms, torch.tensor([len(window.samples) for window in batch], pin_memory=pinned)
