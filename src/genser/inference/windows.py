"""Windows of a clip: how a long clip is cut, and how the model's outputs for its windows are combined.

A clip of 10 s or less is one window. A longer one is cut into windows of 10 s, which are closer to the training clips,
faster, and need a ninth of the attention memory of 30 s. On 226 recordings of 12 to 30 s, each of one speaker and one
emotion, windows had a UA of 74.4 % and took 0.70 to 0.88 of the time of one window, which had 73.8 %
(``benchmarks/window_length.py``).

The clip holds speech if any window does, so P(speech) of a clip is the maximum over its windows. All other outputs are
averaged over the windows that hold speech, weighted by the expected amount of speech: length × P(speech). Pauses
therefore change neither the label nor the scores.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from genser.audio import SAMPLE_RATE

WINDOW = 10 * SAMPLE_RATE  # samples in a window of a longer clip
LONGEST = 3 * WINDOW  # samples that a model takes at most: Whisper has 1,500 positions of 20 ms
STEP = 320  # samples; windows start on a multiple of 20 ms, the frame of the encoders


def windows_of(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Turn consecutive blocks of 10 s, the last of which may be shorter, into windows.

    The last two windows of a long clip share the remaining samples evenly, so no window is shorter than 5 s.
    """
    waiting: list[np.ndarray] = []
    for block in blocks:
        waiting.append(block)
        if len(waiting) > 2:
            yield waiting.pop(0)
    if len(waiting) < 2:
        yield from waiting
        return
    samples = np.concatenate(waiting)
    middle = -(-len(samples) // (2 * STEP)) * STEP
    yield from (samples[:middle], samples[middle:])


def cut(waveform: np.ndarray, longest: int = WINDOW) -> list[np.ndarray]:
    """Cut a waveform of shape (samples,) into windows as :func:`windows_of` does, if it has more samples than that."""
    if len(waveform) <= longest:
        return [waveform]
    return list(windows_of(waveform[start : start + WINDOW] for start in range(0, len(waveform), WINDOW)))


def window_weights(
    lengths: Sequence[int], speech: Sequence[float] | np.ndarray | None = None, threshold: float | None = None
) -> np.ndarray:
    """Weights with which the outputs for the windows of one clip are averaged.

    Args:
        lengths: Samples in each window.
        speech: P(speech) of each window; None or NaN if the model has no speech gate.
        threshold: P(speech) from which a window holds speech; None if the model has no speech gate.

    Returns:
        Shape (windows,), non-negative, sums to 1: length × P(speech) over the windows that hold speech. Without a
        speech gate, or if no window holds speech, the length alone.
    """
    durations = np.asarray(lengths, float)
    if speech is None:
        return durations / durations.sum()
    speech = np.asarray(speech, float)
    spoken = durations * np.where(speech >= (threshold or 0.0), speech, 0.0)  # NaN is not above any threshold
    return spoken / spoken.sum() if spoken.any() else durations / durations.sum()
