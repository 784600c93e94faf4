"""Cuts what is longer than an encoder takes; free of torch."""

import math

STEP = 320  # samples; windows begin on whole frames of 20 ms


def split_windows(samples: int, longest: int) -> list[slice]:
    """Cut a clip into the fewest windows of like length, none longer than `longest` samples.

    Equal windows leave no short rest, of which an encoder would make little. All but the last are whole frames.

    Args:
        samples: Length of the clip.
        longest: Longest window, a multiple of 320.

    Returns:
        Consecutive slices that cover the clip.
    """
    count = max(math.ceil(samples / longest), 1)
    size = min(math.ceil(samples / count / STEP) * STEP, longest)
    return [slice(begin, min(begin + size, samples)) for begin in range(0, samples, size)]
