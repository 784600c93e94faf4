"""Sounds of any length as windows that a model takes at once, and their answers joined again."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from genser.audio import SAMPLE_RATE
from genser.runtime.backend import Backend, ModelOutput

WINDOW = 30 * SAMPLE_RATE  # samples that a model takes at most: Whisper has 1,500 positions of 20 ms
SHORTEST = 400  # samples that it takes at least: one window of every encoder
STEP = 320  # samples; windows begin on whole frames of 20 ms

Read = Callable[[ModelOutput], np.ndarray]
"""Picks from an output what is wanted of it, of shape (batch, …)."""


def windows_of(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Turn blocks of 30 s, of which the last may be shorter, into windows of at most 30 s.

    The last two share what is left evenly, so that no short rest remains, of which a model would make little.
    """
    held: np.ndarray | None = None
    for block in blocks:
        if held is None:
            held = block
        elif len(block) == WINDOW:
            yield held
            held = block
        else:
            yield from _halves(np.concatenate([held, block]))
            return
    if held is not None:
        yield held


def _halves(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    middle = -(-len(samples) // (2 * STEP)) * STEP
    return samples[:middle], samples[middle:]


def cut(waveform: np.ndarray) -> list[np.ndarray]:
    """Cut a waveform of shape (samples,) into windows as :func:`windows_of` does."""
    starts = range(0, max(len(waveform), 1), WINDOW)
    return list(windows_of(waveform[start : start + WINDOW] for start in starts))


def run_windows(backend: Backend, windows: Sequence[np.ndarray], batch_samples: float, read: Read) -> list[np.ndarray]:
    """Run windows in batches of like lengths; a batch, padding included, holds at most so many samples, or one window.

    Returns:
        What was read of each window, in the order given.
    """
    answers: list[np.ndarray] = [np.empty(0)] * len(windows)
    for batch in _batches([len(window) for window in windows], batch_samples if backend.together else 0):
        for index, answer in zip(batch, read(_run(backend, [windows[index] for index in batch])), strict=True):
            answers[index] = answer
    return answers


def _batches(lengths: Sequence[int], batch_samples: float) -> list[list[int]]:
    """Group indices, longest first, so that the first of a batch gives its padded length."""
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= batch_samples:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def _run(backend: Backend, batch: Sequence[np.ndarray]) -> ModelOutput:
    lengths = np.array([max(len(window), SHORTEST) for window in batch])
    padded = np.zeros((len(batch), lengths.max()), np.float32)
    for row, window in zip(padded, batch, strict=True):
        row[: len(window)] = window
    return backend.run(padded, lengths)


def mean_by_duration(answers: Sequence[np.ndarray], windows: Sequence[np.ndarray]) -> np.ndarray:
    """Average the answers for the windows of one clip, weighted by their lengths."""
    if len(answers) == 1:
        return answers[0]
    return np.average(answers, axis=0, weights=[len(window) for window in windows])
