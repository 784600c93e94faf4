"""What is known of a recording over time: segments, and the timeline that they make."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from genser.errors import ConfigError


@dataclass(frozen=True)
class Segment:
    """A stretch of a recording and the emotion recognised in it.

    Attributes:
        start: In seconds.
        end: In seconds.
        label: Class with the highest score (with Viterbi smoothing, that of the most probable sequence).
        scores: Probability of every class.
        confident: Whether the label's score reaches the threshold of the options; never where the model's speech gate
            hears nobody in a given turn.
        speaker: Who speaks, where turns say so.
    """

    start: float
    end: float
    label: str
    scores: Mapping[str, float]
    confident: bool
    speaker: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise ConfigError(f"A segment from {self.start} s to {self.end} s is empty or negative.")
        if self.label not in self.scores:
            raise ConfigError(f"A segment of {self.label!r} needs a score of it; there are {', '.join(self.scores)}.")

    @property
    def duration(self) -> float:
        """In seconds."""
        return self.end - self.start

    def to_dict(self) -> dict[str, object]:
        """Return the fields as plain values; times to the millisecond, scores to six digits."""
        return {
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "label": self.label,
            "confident": self.confident,
            "speaker": self.speaker,
            "scores": {label: round(score, 6) for label, score in self.scores.items()},
        }


@dataclass(frozen=True)
class Timeline:
    """What was recognised in a recording.

    Attributes:
        path: Name of the recording.
        duration: In seconds.
        labels: Class names.
        segments: In order of their start.
        envelope: Lowest and highest sample in equal steps of time, shape (steps, 2).
        error: Why there are no segments, None if all went well.
    """

    path: str
    duration: float
    labels: tuple[str, ...]
    segments: tuple[Segment, ...]
    envelope: np.ndarray
    error: str | None = None
