"""Cuts long clips into windows, and groups and pads windows to batches; shared by encoders, inference and training."""

import math
from collections.abc import Sequence

import numpy as np

SHORTEST = 400
"""Samples that every encoder needs: 25 ms at 16 kHz."""

STEP = 320
"""Samples of a frame of 20 ms; windows begin on whole frames."""


def split_windows(samples: int, longest: int) -> list[slice]:
    """Cut a clip into the fewest windows of equal length, none longer than `longest` samples.

    Equal windows avoid a short rest, from which an encoder makes poor features. All but the last are whole frames.

    Args:
        samples: Length of the clip.
        longest: Longest window, a multiple of 320.

    Returns:
        Consecutive slices that cover the clip.
    """
    count = max(math.ceil(samples / longest), 1)
    size = min(math.ceil(samples / count / STEP) * STEP, longest)
    return [slice(begin, min(begin + size, samples)) for begin in range(0, samples, size)]


def batches_of(lengths: Sequence[int], batch_samples: float) -> list[list[int]]:
    """Group windows of similar length.

    Args:
        lengths: Samples of each window.
        batch_samples: Most samples of a batch, padding included; a longer window is a batch of its own.

    Returns:
        Indices of the windows of each batch, longest first.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        # sorted in descending order, so the first window of a batch is its longest
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= batch_samples:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def padded(windows: Sequence[np.ndarray], dtype: type[np.number] = np.float32) -> tuple[np.ndarray, np.ndarray]:
    """Join windows to one batch, with zeros behind the shorter ones.

    Args:
        windows: Each of shape (samples,).
        dtype: Of the batch.

    Returns:
        Waveforms (batch, samples), and the int64 length of each, at least 400 samples.
    """
    lengths = np.array([max(len(window), SHORTEST) for window in windows], np.int64)
    batch = np.zeros((len(windows), lengths.max()), dtype)
    for row, window in zip(batch, windows, strict=True):
        row[: len(window)] = window
    return batch, lengths
