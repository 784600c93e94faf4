"""The result of recognising one clip."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from genser.data.labels import NO_SPEECH


@dataclass(frozen=True)
class Prediction:
    """Label and scores of one clip, or the reason why there are none.

    Attributes:
        path: The input as it was given; "standard input" for "-", and a description if the clip was in memory.
        label: Class with the largest score, :data:`NO_SPEECH` if the clip holds no speech, None if the input failed.
        scores: Class → probability; empty if the input failed. For a clip without speech they mean nothing.
        error: Why the input failed; None if it did not.
        duration: Length of the recording in seconds as its header states it, else of what was decoded; None if the
            input failed.
        speech: Probability that the clip holds speech, of a long clip the maximum over its windows; None if the model
            has no speech gate.
        familiar: Probability that the clip is in-domain: similar to the training recordings in speaker, language, room
            and microphone; None if the model has no in-domain score. Scores are calibrated for both kinds of clips, but
            errors are more frequent on out-of-domain clips.
        heard: Seconds that were decoded and recognised; None if the input failed.
        channel: Number of the channel from 1; None if the channels were mixed.
        remark: What was unusual about the input, such as that the file is cut off, or that different channels were
            mixed; None if nothing was.
        mixed: Number of different channels that were mixed to one; 0 if none were.
    """

    path: str
    label: str | None
    scores: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None
    duration: float | None = None
    speech: float | None = None
    familiar: float | None = None
    heard: float | None = None
    channel: int | None = None
    remark: str | None = None
    mixed: int = 0

    @property
    def score(self) -> float | None:
        """Probability of the label: its class score, or 1 − P(speech) for "no speech"; None if the input failed."""
        if self.label == NO_SPEECH:
            return None if self.speech is None else 1 - self.speech
        return None if self.label is None else self.scores[self.label]

    @property
    def is_out_of_domain(self) -> bool:
        """Whether the clip holds speech that is unlike the training recordings; False without an in-domain score."""
        return self.familiar is not None and self.familiar < 0.5 and self.label not in (None, NO_SPEECH)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "path": self.path,
            "channel": self.channel,
            "label": self.label,
            "score": self.score,
            "scores": dict(self.scores),
            "error": self.error,
            "duration": self.duration,
            "heard": self.heard,
            "speech": self.speech,
            "familiar": self.familiar,
            "remark": self.remark,
        }
