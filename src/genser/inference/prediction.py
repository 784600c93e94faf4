"""What a model says of one input."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NO_SPEECH = "no speech"
"""Label of a sound in which a model with a speech gate hears nobody speak."""

TOLD = ("speech", "familiar")
"""What a model may tell of a whole sound besides scores."""


@dataclass(frozen=True)
class Prediction:
    """Answer for one input, or the reason why there is none.

    Attributes:
        path: The input as it was named; a description for sound in memory.
        label: Class with the largest score, :data:`NO_SPEECH` where nobody speaks, None where the input failed.
        scores: Class → probability; empty where the input failed. Where nobody speaks they say what the voice would
            be like, were it one.
        error: Why the input failed, None if it did not.
        duration: Length of the sound in seconds, None where the input failed.
        speech: Probability that somebody speaks, None if the model does not tell.
        familiar: Probability that the sound is of the kind that the model learned from, by its voices, language, room
            and microphone; None if the model does not tell. Scores are calibrated for both kinds, and mistakes are
            more frequent in sounds unlike them.
    """

    path: str
    label: str | None
    scores: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None
    duration: float | None = None
    speech: float | None = None
    familiar: float | None = None

    @property
    def score(self) -> float | None:
        """Largest score, None where the input failed."""
        return max(self.scores.values(), default=None)

    @property
    def is_strange(self) -> bool:
        """Whether somebody speaks, but unlike all that the model learned from; False where it does not tell."""
        return self.familiar is not None and self.familiar < 0.5 and self.label not in (None, NO_SPEECH)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "path": self.path,
            "label": self.label,
            "scores": dict(self.scores),
            "error": self.error,
            "duration": self.duration,
            "speech": self.speech,
            "familiar": self.familiar,
        }
