"""Sounds of any length as windows that a model takes at once, and their answers joined again."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from genser.audio import SAMPLE_RATE
from genser.inference.backend import Backend, ModelOutput

BLOCK = 10 * SAMPLE_RATE  # samples of a window of a long sound
WINDOW = 3 * BLOCK  # samples that a model takes at most: Whisper has 1,500 positions of 20 ms
STEP = 320  # samples; windows begin on whole frames of 20 ms

Read = Callable[[ModelOutput], np.ndarray]
"""Picks from an output what is wanted of it, of shape (batch, …)."""


def windows_of(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Turn blocks of 10 s, of which the last may be shorter, into windows.

    A sound of 30 s or less is one window. A longer one becomes windows of 10 s, nearer to the clips that models learn
    from, quicker, and with a ninth of the memory; the last two share what is left evenly, so that no short rest
    remains, of which a model would make little.
    """
    held: list[np.ndarray] = []
    is_long = False
    for block in blocks:
        held.append(block)
        is_long = is_long or len(held) * BLOCK > WINDOW
        while is_long and len(held) > 2:
            yield held.pop(0)
    if is_long:
        yield from _halves(np.concatenate(held))
    elif held:
        yield np.concatenate(held)


def _halves(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    middle = -(-len(samples) // (2 * STEP)) * STEP
    return samples[:middle], samples[middle:]


def cut(waveform: np.ndarray) -> list[np.ndarray]:
    """Cut a waveform of shape (samples,) into windows as :func:`windows_of` does."""
    return list(windows_of(waveform[start : start + BLOCK] for start in range(0, len(waveform), BLOCK)))


def run_windows(backend: Backend, windows: Sequence[np.ndarray], batch_samples: float, read: Read) -> list[np.ndarray]:
    """Run windows, at most so many samples at once, padding included.

    Returns:
        What was read of each window, in the order given.
    """
    answers: list[np.ndarray] = [np.empty(0)] * len(windows)
    for positions, output in backend.outputs(windows, batch_samples):
        for position, answer in zip(positions, read(output), strict=True):
            answers[position] = answer
    return answers


def mean_by_duration(answers: Sequence[np.ndarray], windows: Sequence[np.ndarray]) -> np.ndarray:
    """Average the answers for the windows of one clip, weighted by their lengths."""
    if len(answers) == 1:
        return answers[0]
    return np.average(answers, axis=0, weights=[len(window) for window in windows])
