"""Turns scored chunks into segments: smoothing for each speaker, labels, and merging."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

import numpy as np

from genser.segments import smoothing
from genser.segments.chunking import Chunk
from genser.segments.options import SegmentOptions
from genser.segments.segment import Segment, mean_familiar


@dataclass(frozen=True)
class ChunkScore:
    """Scores of a chunk before smoothing.

    Attributes:
        start: In seconds.
        end: In seconds.
        scores: Class probabilities, shape (classes,).
        evidence: Share of the chunk that is in no earlier chunk with speech.
        speaker: Speaker of the turn, if known.
        is_speech: False for a turn in which the speech gate finds no speech.
        familiar: In-domain score; None if the model has none.
    """

    start: float
    end: float
    scores: np.ndarray
    evidence: float
    speaker: str | None
    is_speech: bool = True
    familiar: float | None = None


class SpeechFilter:
    """Drops chunks in which the model's speech gate finds no speech, except turns, which the user has supplied.

    Audio of a dropped chunk that overlaps the next chunk counts as new evidence there.
    """

    def __init__(self) -> None:
        self._uncounted = 0.0

    def take(
        self, chunk: Chunk, scores: np.ndarray, is_speech: bool, familiar: float | None = None
    ) -> ChunkScore | None:
        """Take the scores of the next chunk, shape (classes,), and whether it holds speech; return None to drop it."""
        if not is_speech and chunk.turn is None:
            self._uncounted += chunk.evidence
            return None
        evidence, self._uncounted = min(chunk.evidence + self._uncounted, 1.0), 0.0
        scores = np.asarray(scores, float)
        return ChunkScore(chunk.start, chunk.end, scores, evidence, chunk.speaker, is_speech, familiar)


def decide(
    scored: Sequence[ChunkScore], labels: Sequence[str], prior: np.ndarray, options: SegmentOptions
) -> list[Segment]:
    """Smooth the scores of each speaker over time, decide the labels, and merge neighbours if the options ask for it.

    Chunks without speech keep their scores, do not affect their neighbours, and are never confident.

    Args:
        scored: Chunks in any order.
        labels: Class names in the order of the scores.
        prior: Shares of the classes that the scores assume, shape (classes,).
        options: How to smooth and merge.
    """
    chains: dict[str | None, list[ChunkScore]] = defaultdict(list)
    for one in sorted(scored, key=lambda one: (one.start, one.end)):
        if one.is_speech:
            chains[one.speaker].append(one)
    segments = [segment for chain in chains.values() for segment in _chain(chain, labels, prior, options)]
    segments += [
        make_segment(one, one.scores, int(one.scores.argmax()), labels, options.confidence)
        for one in scored
        if not one.is_speech
    ]
    return sorted(segments, key=lambda segment: (segment.start, segment.end))


def duration_of(speaker: str | None, options: SegmentOptions) -> float:
    """Mean duration of an emotion in seconds: of the options, else as measured on MELD."""
    measured = smoothing.ANY_DURATION if speaker is None else smoothing.SPEAKER_DURATION
    return options.emotion_duration or measured


def make_segment(one: ChunkScore, scores: np.ndarray, winner: int, labels: Sequence[str], confidence: float) -> Segment:
    """A segment with final scores of shape (classes,) and the label of this index."""
    named = dict(zip(labels, scores.tolist(), strict=True))
    is_confident = one.is_speech and bool(scores[winner] >= confidence)
    return Segment(one.start, one.end, labels[winner], named, is_confident, one.speaker, familiar=one.familiar)


def _chain(
    chain: list[ChunkScore], labels: Sequence[str], prior: np.ndarray, options: SegmentOptions
) -> Iterator[Segment]:
    scores = np.array([one.scores for one in chain])
    winners = scores.argmax(axis=1)
    if options.smoothing != "none":
        times = np.array([(one.start + one.end) / 2 for one in chain])
        evidence = np.array([one.evidence for one in chain])
        duration = duration_of(chain[0].speaker, options)
        if options.emotion_duration is None and options.smoothing != "causal":
            duration = smoothing.fitted_duration(scores, times, prior, duration, evidence)
        arguments = (scores, times, prior, duration, evidence)
        scores = (smoothing.filtered if options.smoothing == "causal" else smoothing.smoothed)(*arguments)
        winners = smoothing.viterbi(*arguments) if options.smoothing == "viterbi" else scores.argmax(axis=1)
    segments = [
        make_segment(one, row, int(winner), labels, options.confidence)
        for one, row, winner in zip(chain, scores, winners, strict=True)
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
    familiar = mean_familiar([(part.familiar, part.duration) for part in parts])
    return replace(first, end=end, scores=scores, confident=scores[first.label] >= confidence, familiar=familiar)
