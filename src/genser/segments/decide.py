"""Sights of the model become segments: smoothed over each speaker's time, labelled, and merged if asked."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

import numpy as np

from genser.errors import ConfigError
from genser.segments import smoothing
from genser.segments.chunking import Chunk
from genser.segments.options import SegmentOptions
from genser.segments.segment import Segment


@dataclass(frozen=True)
class ChunkScore:
    """A recognised stretch before smoothing: times in seconds, scores of shape (classes,)."""

    start: float
    end: float
    scores: np.ndarray
    evidence: float
    speaker: str | None
    is_speech: bool = True


class Sights:
    """What the model saw in pieces, one after another; where its speech gate hears nobody, it saw nothing.

    A given turn is seen all the same, for somebody said that it is one. Sound that a piece without speech shares with
    the next one has not counted yet, so that it counts there as new.
    """

    def __init__(self) -> None:
        self._uncounted = 0.0

    def take(self, piece: Chunk, scores: np.ndarray, is_speech: bool) -> ChunkScore | None:
        """Take the model's scores of the next piece, shape (classes,), and whether somebody speaks in it."""
        if not is_speech and piece.turn is None:
            self._uncounted += piece.evidence
            return None
        evidence, self._uncounted = min(piece.evidence + self._uncounted, 1.0), 0.0
        return ChunkScore(piece.start, piece.end, np.asarray(scores, float), evidence, piece.speaker, is_speech)


def decide(sights: Sequence[ChunkScore], labels: Sequence[str], options: SegmentOptions) -> list[Segment]:
    """Smooth what was seen along each speaker's time, decide the labels, and merge neighbours if asked.

    Sights without speech stay as they are, tell their neighbours nothing, and are never confident.
    """
    chains: dict[str | None, list[ChunkScore]] = defaultdict(list)
    for sight in sorted(sights, key=lambda sight: (sight.start, sight.end)):
        if sight.is_speech:
            chains[sight.speaker].append(sight)
    segments = [segment for chain in chains.values() for segment in _chain(chain, labels, options)]
    segments += [
        make_segment(sight, sight.scores, int(sight.scores.argmax()), labels, options.confidence)
        for sight in sights
        if not sight.is_speech
    ]
    return sorted(segments, key=lambda segment: (segment.start, segment.end))


def prior_of(labels: Sequence[str], options: SegmentOptions) -> np.ndarray:
    """The prior as an array of shape (classes,).

    Raises:
        ConfigError: The options name other labels than the model has, or a share that is not positive.
    """
    if options.prior is None:
        return np.full(len(labels), 1 / len(labels))
    if set(options.prior) != set(labels) or min(options.prior.values()) <= 0:
        raise ConfigError(f"The prior {dict(options.prior)} must give each of {', '.join(labels)} a share above 0.")
    shares = np.array([options.prior[label] for label in labels], float)
    return shares / shares.sum()


def duration_of(speaker: str | None, options: SegmentOptions) -> float:
    """Mean duration of an emotion in seconds: the option's, or what was measured on MELD."""
    measured = smoothing.ANY_DURATION if speaker is None else smoothing.SPEAKER_DURATION
    return options.emotion_duration or measured


def make_segment(
    sight: ChunkScore, scores: np.ndarray, winner: int, labels: Sequence[str], confidence: float
) -> Segment:
    """A segment from final scores of shape (classes,) and the index of its label."""
    named = dict(zip(labels, scores.tolist(), strict=True))
    is_confident = sight.is_speech and bool(scores[winner] >= confidence)
    return Segment(sight.start, sight.end, labels[winner], named, is_confident, sight.speaker)


def _chain(chain: list[ChunkScore], labels: Sequence[str], options: SegmentOptions) -> Iterator[Segment]:
    scores = np.array([sight.scores for sight in chain])
    winners = scores.argmax(axis=1)
    if options.smoothing != "none":
        times = np.array([(sight.start + sight.end) / 2 for sight in chain])
        evidence = np.array([sight.evidence for sight in chain])
        prior, duration = prior_of(labels, options), duration_of(chain[0].speaker, options)
        if options.emotion_duration is None and options.smoothing != "causal":
            duration = smoothing.fitted_duration(scores, times, prior, duration, evidence)
        arguments = (scores, times, prior, duration, evidence)
        scores = (smoothing.filtered if options.smoothing == "causal" else smoothing.smoothed)(*arguments)
        winners = smoothing.viterbi(*arguments) if options.smoothing == "viterbi" else scores.argmax(axis=1)
    segments = [
        make_segment(sight, row, int(winner), labels, options.confidence)
        for sight, row, winner in zip(chain, scores, winners, strict=True)
    ]
    return iter(segments) if options.merge is None else merged(segments, options.merge, options.confidence)


def merged(segments: Iterable[Segment], gap: float, confidence: float) -> Iterator[Segment]:
    """Join neighbours of one label that are at most `gap` seconds apart; scores are weighted by duration."""
    ordered = list(segments)
    apart = [one.label != two.label or two.start - one.end > gap for one, two in pairwise(ordered)]
    groups = np.concatenate([[0], np.cumsum(apart)]).astype(int).tolist() if ordered else []
    for _, members in groupby(zip(groups, ordered, strict=True), key=lambda pair: pair[0]):
        yield _union([segment for _, segment in members], confidence)


def _union(parts: list[Segment], confidence: float) -> Segment:
    weights = [part.duration for part in parts]
    rows = np.average([list(part.scores.values()) for part in parts], axis=0, weights=weights)
    scores = dict(zip(parts[0].scores, rows.tolist(), strict=True))
    first, end = parts[0], max(part.end for part in parts)
    return replace(first, end=end, scores=scores, confident=scores[first.label] >= confidence)
