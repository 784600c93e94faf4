"""Segments of a recording, and the timeline that holds them."""

from collections.abc import Mapping, Sequence
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
        confident: Whether the score of the label reaches the threshold of the options; False for a given turn without
            speech.
        speaker: Speaker of the turn, if known.
        channel: Number of the channel from 1; None if the channels were mixed.
        familiar: Probability that it resembles the training recordings; None if the model has no in-domain score.
    """

    start: float
    end: float
    label: str
    scores: Mapping[str, float]
    confident: bool
    speaker: str | None = None
    channel: int | None = None
    familiar: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise ConfigError(
                f"A segment from {self.start} s to {self.end} s is empty or negative. Choose 0 <= start < end."
            )
        if self.label not in self.scores:
            raise ConfigError(f"A segment of {self.label!r} needs a score of it; there are {', '.join(self.scores)}.")

    @property
    def duration(self) -> float:
        """In seconds."""
        return self.end - self.start

    @property
    def voice(self) -> str | None:
        """Speaker and channel as one name, as far as they are known, such as "anna (channel 2)"."""
        return voice_name(self.speaker, self.channel)

    def to_dict(self) -> dict[str, object]:
        """Return the fields as plain values; times to the millisecond, scores to six digits."""
        return {
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "label": self.label,
            "confident": self.confident,
            "speaker": self.speaker,
            "channel": self.channel,
            "familiar": None if self.familiar is None else round(self.familiar, 6),
            "scores": {label: round(score, 6) for label, score in self.scores.items()},
        }


@dataclass(frozen=True)
class Timeline:
    """The segments of a recording.

    Attributes:
        path: Name of the recording.
        duration: In seconds as the header states it, else of what was decoded.
        labels: Class names.
        segments: In order of their start.
        envelope: Outline of the waveform: lowest and highest sample in equal steps, shape (steps, 2).
        error: Why recognition failed; None if it did not.
        problems: Sentences on turns behind the end of the recording, which have no segment.
        heard: Seconds that were decoded and recognised; the envelope spans them. None if recognition failed.
        remark: What was unusual about the recording, such as that it is cut off, or that different channels were
            mixed; None if nothing was.
        channels: Numbers of the channels that were recognised apart, also of those without segments; empty if they
            were mixed.
        mixed: Number of different channels that were mixed to one; 0 if none were.
    """

    path: str
    duration: float
    labels: tuple[str, ...]
    segments: tuple[Segment, ...]
    envelope: np.ndarray
    error: str | None = None
    problems: tuple[str, ...] = ()
    heard: float | None = None
    remark: str | None = None
    channels: tuple[int, ...] = ()
    mixed: int = 0

    @property
    def end(self) -> float:
        """End of what was recognised in seconds; the duration if that is unknown."""
        return self.duration if self.heard is None else self.heard

    @property
    def familiar(self) -> float | None:
        """Mean over the segments, weighted by duration; None without segments or without an in-domain score."""
        return mean_familiar([(segment.familiar, segment.duration) for segment in self.segments])

    @property
    def is_unfamiliar(self) -> bool:
        """Whether its speech is unlike the training recordings; False without an in-domain score."""
        return self.familiar is not None and self.familiar < 0.5


def by_voice(
    segments: Sequence[Segment], channels: Sequence[int] = ()
) -> dict[tuple[int | None, str | None], list[Segment]]:
    """The segments of each voice, which is a channel and a speaker, in order of their start.

    Args:
        segments: Of one recording, in any order.
        channels: Numbers of channels that were recognised; one without segments is also a voice.

    Returns:
        In order of the channels, and on one channel in order of the first segment; at least one voice.
    """
    voices: dict[tuple[int | None, str | None], list[Segment]] = {}
    for one in sorted(segments, key=lambda one: (one.start, one.end)):
        voices.setdefault((one.channel, one.speaker), []).append(one)
    known = {channel for channel, _ in voices}
    voices |= {(channel, None): [] for channel in channels if channel not in known}
    return dict(sorted((voices or {(None, None): []}).items(), key=lambda item: item[0][0] or 0))


def voice_name(speaker: str | None, channel: int | None) -> str | None:
    """Speaker and channel as one name, as far as they are known, such as "anna (channel 2)"."""
    shown = None if channel is None else f"channel {channel}"
    return f"{speaker} ({shown})" if speaker and shown else speaker or shown


def mean_familiar(parts: Sequence[tuple[float | None, float]]) -> float | None:
    """Mean of in-domain scores with their durations; None unless all parts have one."""
    known = [(value, duration) for value, duration in parts if value is not None]
    if not known or len(known) < len(parts):
        return None
    return sum(value * duration for value, duration in known) / sum(duration for _, duration in known)
