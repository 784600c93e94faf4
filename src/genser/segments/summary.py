"""Sums up the segments of a recording: one summary per voice, which is a speaker on a channel."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from genser.segments.segment import Segment, Timeline, by_voice, mean_familiar, voice_name

LONGEST_PAUSE = 2.0
"""Longest pause in seconds within a stretch of one emotion."""


@dataclass(frozen=True)
class VoiceSummary:
    """What one voice of a recording says, summed up over its segments.

    Attributes:
        speaker: Speaker of the turns, if known.
        channel: Number of the channel from 1; None if the channels were mixed.
        segments: Number of segments.
        speech: Seconds in which there is a segment.
        label: Class with the largest share; None without speech.
        confident: Share of the time whose segments are confident; None without speech.
        familiar: Mean in-domain score, weighted by duration; None without speech or without an in-domain score.
        shares: Class → share of the time of all segments that the segments of this label take; they sum to 1. Empty
            without speech, like the other mappings.
        scores: Class → mean score, weighted by duration; they sum to 1.
        longest: Class → length in seconds of the longest stretch of this label: neighbouring segments without another
            label between them and without a pause over 2 s. 0 if there is none.
        longest_start: Class → start of that stretch in seconds; None if there is none.
        changes: Class → mean score in the last third of the recording minus that in the first third; None if one of
            these thirds has no speech.
    """

    speaker: str | None
    channel: int | None
    segments: int
    speech: float
    label: str | None
    confident: float | None
    familiar: float | None
    shares: Mapping[str, float]
    scores: Mapping[str, float]
    longest: Mapping[str, float]
    longest_start: Mapping[str, float | None]
    changes: Mapping[str, float | None]

    @property
    def voice(self) -> str | None:
        """Speaker and channel as one name, such as "anna (channel 2)"; None if both are unknown."""
        return voice_name(self.speaker, self.channel)

    def to_dict(self) -> dict[str, object]:
        """Return the fields as plain values; times to the millisecond, shares and scores to six digits."""
        return {
            "speaker": self.speaker,
            "channel": self.channel,
            "segments": self.segments,
            "speech": round(self.speech, 3),
            "label": self.label,
            "confident": _rounded(self.confident, 6),
            "familiar": _rounded(self.familiar, 6),
            "shares": {label: round(share, 6) for label, share in self.shares.items()},
            "scores": {label: round(score, 6) for label, score in self.scores.items()},
            "longest": {label: round(seconds, 3) for label, seconds in self.longest.items()},
            "longest_start": {label: _rounded(start, 3) for label, start in self.longest_start.items()},
            "changes": {label: _rounded(change, 6) for label, change in self.changes.items()},
        }


def summarize(segments: Sequence[Segment], duration: float, channels: Sequence[int] = ()) -> list[VoiceSummary]:
    """Sum up the segments of a recording, one summary per voice.

    A voice is a speaker on a channel. Segments without a speaker are one voice per channel, and segments without
    either are one voice. The result depends on nothing but the arguments.

    Args:
        segments: Of one recording, in any order, such as from :meth:`genser.inference.recognizer.Recognizer.segments`.
        duration: Length of the recording in seconds, which decides what its first and its last third are.
        channels: Numbers of channels that were recognised; one without segments also gets a summary, without speech.

    Returns:
        Summaries in order of the channels, and on one channel in order of the first segment; at least one, which is
        without speech if there are no segments.
    """
    voices = by_voice(segments, channels)
    return [_summary(speaker, channel, mine, duration) for (channel, speaker), mine in voices.items()]


def summarize_timeline(timeline: Timeline) -> list[VoiceSummary]:
    """Sum up the segments of a timeline, see :func:`summarize`."""
    return summarize(timeline.segments, timeline.end, timeline.channels)


def _summary(speaker: str | None, channel: int | None, segments: list[Segment], duration: float) -> VoiceSummary:
    """The summary of one voice, from its segments in order of their start."""
    if not segments:
        return VoiceSummary(speaker, channel, 0, 0.0, None, None, None, {}, {}, {}, {}, {})
    labels = tuple(segments[0].scores)
    starts, ends = np.array([(one.start, one.end) for one in segments]).T
    scores = np.array([[one.scores[label] for label in labels] for one in segments])
    lengths = ends - starts
    is_label = np.array([[one.label == label for label in labels] for one in segments])
    shares = np.average(is_label, axis=0, weights=lengths)
    first = _mean_within(scores, starts, ends, 0, duration / 3)
    last = _mean_within(scores, starts, ends, duration * 2 / 3, np.inf)
    changes = [None] * len(labels) if first is None or last is None else (last - first).tolist()
    longest: dict[str, tuple[float, float | None]] = dict.fromkeys(labels, (0.0, None))
    for label, start, end in _stretches(segments):
        if end - start > longest[label][0]:
            longest[label] = end - start, start
    return VoiceSummary(
        speaker,
        channel,
        segments=len(segments),
        speech=_covered(starts, ends),
        label=labels[int(np.argmax(shares))],
        confident=float(np.average([one.confident for one in segments], weights=lengths)),
        familiar=mean_familiar([(one.familiar, one.duration) for one in segments]),
        shares=dict(zip(labels, shares.tolist(), strict=True)),
        scores=dict(zip(labels, np.average(scores, axis=0, weights=lengths).tolist(), strict=True)),
        longest={label: seconds for label, (seconds, _) in longest.items()},
        longest_start={label: start for label, (_, start) in longest.items()},
        changes=dict(zip(labels, changes, strict=True)),
    )


def _mean_within(
    scores: np.ndarray, starts: np.ndarray, ends: np.ndarray, begin: float, stop: float
) -> np.ndarray | None:
    """Mean scores, shape (classes,), weighted by the time that each segment has between two times; None if none has."""
    weights = np.clip(np.minimum(ends, stop) - np.maximum(starts, begin), 0, None)
    return np.average(scores, axis=0, weights=weights) if weights.any() else None


def _covered(starts: np.ndarray, ends: np.ndarray) -> float:
    """Seconds in which at least one segment is; the starts ascend."""
    before = np.concatenate([[0.0], np.maximum.accumulate(ends)[:-1]])
    return float(np.clip(ends - np.maximum(starts, before), 0, None).sum())


def _stretches(segments: list[Segment]) -> Iterator[tuple[str, float, float]]:
    """Label, start and end of each stretch of one label, for segments in order of their start."""
    label, start, end = segments[0].label, segments[0].start, segments[0].end
    for one in segments[1:]:
        if one.label == label and one.start - end <= LONGEST_PAUSE:
            end = max(end, one.end)
            continue
        yield label, start, end
        label, start, end = one.label, one.start, one.end
    yield label, start, end


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
