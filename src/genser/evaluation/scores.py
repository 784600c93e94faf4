"""Scores of pooled systems over seeds, their paired differences, and both on every fold by itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from genser.evaluation.confusion import METRICS, confusion_matrix, decide
from genser.evaluation.intervals import Interval, PairedDifference, paired_differences, score_intervals
from genser.evaluation.pooling import Pooled, System
from genser.evaluation.resampling import Resampling

MOST_FOLDS = 10
"""Folds beyond which nobody reads a table of them, as where every speaker is left out in turn."""


@dataclass(frozen=True)
class Score:
    """A score over seeds: its mean, its deviation between seeds (NaN for one seed), its interval over the test set."""

    mean: float
    deviation: float
    interval: Interval


@dataclass(frozen=True)
class FoldScores:
    """What every system reaches on the test side of one fold.

    Attributes:
        fold: Its name.
        utterances: Clips of its test side.
        ua: System → UA.
        pairs: (a, b) → how much better `a` is than `b` in UA.
    """

    fold: str
    utterances: int
    ua: Mapping[System, Score]
    pairs: Mapping[tuple[System, System], PairedDifference]


def scores(pooled: Pooled, probabilities: np.ndarray, resampling: Resampling) -> dict[str, Score]:
    """Each of WA, UA, macro and weighted F1 of a system's seeds, from probabilities of shape (seeds, n, classes)."""
    intervals = score_intervals(
        probabilities, pooled.labels, classes=len(pooled.classes), groups=_groups(pooled), resampling=resampling
    )
    decisions = decide(probabilities)
    confusions = np.stack([confusion_matrix(pooled.labels, one, len(pooled.classes)) for one in decisions])
    found = {}
    for name, interval in intervals.items():
        values = METRICS[name](confusions)
        deviation = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
        found[name] = Score(float(values.mean()), deviation, interval)
    return found


def pairs(pooled: Sequence[Pooled], resampling: Resampling) -> dict[tuple[System, System], PairedDifference]:
    """Differences in UA of every ordered pair of systems that were tested on the same utterances."""
    if not pooled:
        return {}
    first = pooled[0]
    systems = {one.system: one.probabilities for one in pooled}
    return paired_differences(systems, first.labels, _groups(first), classes=len(first.classes), resampling=resampling)


def by_fold(pooled: Sequence[Pooled], resampling: Resampling) -> tuple[FoldScores, ...]:
    """The same on every fold by itself; nothing for one fold, or for more than :data:`MOST_FOLDS`."""
    names = sorted(set(pooled[0].folds.tolist())) if pooled else []
    if not 1 < len(names) <= MOST_FOLDS:
        return ()
    found = []
    for name in names:
        parts = [one.part(one.folds == name) for one in pooled]
        ua = {one.system: scores(one, one.probabilities, resampling)["ua"] for one in parts}
        found.append(FoldScores(name, len(parts[0].labels), ua, pairs(parts, resampling)))
    return tuple(found)


def _groups(pooled: Pooled) -> np.ndarray | None:
    """Speakers where several are known, else None: single clips are drawn then."""
    several = pooled.speakers is not None and len(set(pooled.speakers.tolist())) > 1
    return pooled.speakers if several else None
