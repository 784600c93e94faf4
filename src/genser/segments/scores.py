"""What a model says about the chunks of a recording."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np


class GatedScores(NamedTuple):
    """Scores of waveforms, and what else the model says about them.

    Attributes:
        scores: Class probabilities, shape (n, classes).
        is_speech: Whether the speech gate finds speech, shape (n,).
        familiar: In-domain scores, shape (n,); NaN if the model has none.
    """

    scores: np.ndarray
    is_speech: np.ndarray
    familiar: np.ndarray

    def rows(self) -> Iterator[tuple[np.ndarray, bool, float | None]]:
        """The three for each waveform; an in-domain score that the model does not have is None."""
        for scores, is_speech, familiar in zip(*self, strict=True):
            yield scores, bool(is_speech), None if np.isnan(familiar) else float(familiar)
