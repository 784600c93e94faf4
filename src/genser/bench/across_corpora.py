"""Summarise leave-one-corpus-out: every system on every held-out corpus, with and without adaptation.

The calibration is nested. The exponent of a held-out corpus is fitted to the held-out predictions of the other corpora
alone, for each adaptation by itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from genser.bench.pool_runs import Pooled, System
from genser.bench.runs import ADAPTATIONS
from genser.inference.class_prior import ClassPrior
from genser.metrics.bootstrap import (
    Interval,
    PairedDifference,
    Resampling,
    corpus_difference,
    corpus_mean,
    score_intervals,
)
from genser.metrics.classification import NO_ANSWER, decide
from genser.metrics.few import are_alike, without_interval
from genser.metrics.reliability import expected_calibration_error
from genser.training.calibration import best_exponent, overconfidence
from genser.transport.codes import probabilities

RIDGE = "ridge"
"""The kind of head that all others are compared with."""


@dataclass(frozen=True)
class Condition:
    """How a corpus is recognised.

    Attributes:
        adaptation: One of :data:`genser.bench.runs.ADAPTATIONS`, or ``"none"``.
        own_classes: Whether only the classes of the corpus can be answered.
    """

    adaptation: str
    own_classes: bool


CONDITIONS = tuple(Condition(name, own) for own, name in product((False, True), ("none", *ADAPTATIONS)))


@dataclass(frozen=True)
class CorpusScores:
    """Scores on one held-out corpus, or their means over corpora; shares lie in [0, 1].

    Attributes:
        ua: UA, averaged over seeds, with its interval over speakers or clips, see :mod:`genser.metrics.bootstrap`. The
            interval of a mean is over corpora.
        most_frequent: Share of the clips that get the most frequent answer, averaged over seeds.
        ece: Expected calibration error over bins of equal count after nested calibration, averaged over seeds; NaN if
            a seed answered nothing.
    """

    ua: Interval
    most_frequent: float
    ece: float


@dataclass(frozen=True)
class HeldOutCorpus:
    """A held-out corpus and the scores of every system on it.

    Attributes:
        name: Its name.
        utterances: Number of clips.
        speakers: Number of speakers; 0 if unknown.
        classes: Its own classes.
        most_frequent: Share of its most frequent class.
        scores: System → condition → scores.
    """

    name: str
    utterances: int
    speakers: int
    classes: tuple[str, ...]
    most_frequent: float
    scores: Mapping[System, Mapping[Condition, CorpusScores]]


@dataclass(frozen=True)
class AcrossCorpora:
    """All results of leave-one-corpus-out.

    Attributes:
        corpora: The held-out corpora.
        means: System → condition → mean over corpora.
        differences: (system, ridge) → condition → how much better the mean UA of the system is than that of the ridge
            on the same encoder. Empty without such a ridge.
    """

    corpora: tuple[HeldOutCorpus, ...]
    means: Mapping[System, Mapping[Condition, CorpusScores]]
    differences: Mapping[tuple[System, System], Mapping[Condition, PairedDifference]]


def summarize_across_corpora(pooled: Sequence[Pooled], resampling: Resampling) -> AcrossCorpora | None:
    """Summarise the systems of one protocol, ablations excluded; None if no system has adapted predictions."""
    pooled = [one for one in pooled if len(one.adapted) == len(ADAPTATIONS)]
    if not pooled:
        return None
    exponents = {one.system: _nested_exponents(one) for one in pooled}
    folds = np.unique(pooled[0].folds)
    corpora = []
    for fold in folds:
        parts = [replace(one.part(one.folds == fold), speakers=_speakers(one, fold)) for one in pooled]
        scores = {one.system: _corpus_scores(one, exponents[one.system][str(fold)], resampling) for one in parts}
        first, counts = parts[0], np.bincount(parts[0].labels, minlength=len(parts[0].classes))
        own = tuple(name for name, count in zip(first.classes, counts, strict=True) if count)
        size, share = (len(first.labels), first.speaker_count), float(counts.max() / counts.sum())
        corpora.append(HeldOutCorpus(fold.removeprefix("loco "), *size, own, share, scores))
    means = {one.system: _means([corpus.scores[one.system] for corpus in corpora], resampling) for one in pooled}
    return AcrossCorpora(tuple(corpora), means, _differences(pooled, corpora, resampling))


def _speakers(pooled: Pooled, fold: str) -> np.ndarray | None:
    """Speakers of one fold, whether or not those of the other folds are known."""
    run = next(run for run in pooled.runs if run.spec.fold == fold)
    return None if run.speakers is None else run.speakers[np.argsort(run.utterances)]


def _predictions(pooled: Pooled) -> dict[str, np.ndarray]:
    """Adaptation → probabilities (seeds, n, classes)."""
    return {"none": pooled.probabilities, **pooled.adapted}


def _nested_exponents(pooled: Pooled) -> dict[str, dict[str, list[float]]]:
    """Fold → adaptation → exponent of every seed, from the other folds alone."""
    found: dict[str, dict[str, list[float]]] = {str(fold): {} for fold in np.unique(pooled.folds)}
    for adaptation, scores in _predictions(pooled).items():
        gaps = {}
        for fold in found:
            rows = pooled.folds == fold
            gaps[fold] = [_answered_overconfidence(one[rows], pooled.labels[rows]) for one in scores]
        for fold in found:
            others = zip(*(gaps[other] for other in found if other != fold), strict=True)
            found[fold][adaptation] = [best_exponent(one) for one in others]
    return found


def _answered_overconfidence(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    answered = decide(scores) != NO_ANSWER
    return overconfidence(scores[answered], labels[answered])


def _corpus_scores(
    pooled: Pooled, exponents: Mapping[str, Sequence[float]], resampling: Resampling
) -> dict[Condition, CorpusScores]:
    """Scores of one system on one corpus in every condition."""
    own, labels = np.unique(pooled.labels, return_inverse=True)
    prior = ClassPrior(tuple(pooled.classes[index] for index in own), own, np.full(len(own), 1 / len(own)))
    found = {}
    for condition in CONDITIONS:
        scores = _predictions(pooled)[condition.adaptation]
        powers = np.array(exponents[condition.adaptation])[:, None, None]
        calibrated, true, classes = probabilities(scores, powers), pooled.labels, len(pooled.classes)
        if condition.own_classes:
            scores, calibrated = prior.posterior(scores), prior.posterior(calibrated)
            true, classes = labels, len(own)
        options = {"classes": classes, "groups": pooled.speakers, "metrics": ("ua",), "resampling": resampling}
        ua = score_intervals(scores, true, **options)["ua"]
        is_shown = "ua" not in without_interval(pooled.support) and not are_alike(decide(scores) == true)
        found[condition] = CorpusScores(
            ua if is_shown else ua.without_ends,
            float(np.mean([np.bincount(one[one != NO_ANSWER]).max(initial=0) / len(one) for one in decide(scores)])),
            float(np.mean([_calibration_error(one, true) for one in calibrated])),
        )
    return found


def _calibration_error(scores: np.ndarray, labels: np.ndarray) -> float:
    """Calibration error of the answered clips; NaN if there are none."""
    decisions = decide(scores)
    answered = decisions != NO_ANSWER
    if not answered.any():
        return float("nan")
    return expected_calibration_error(scores[answered].max(axis=-1), (decisions == labels)[answered])


def _means(scores: Sequence[Mapping[Condition, CorpusScores]], resampling: Resampling) -> dict[Condition, CorpusScores]:
    """Means over corpora."""
    return {
        condition: CorpusScores(
            corpus_mean(np.array([one[condition].ua.estimate for one in scores]), resampling),
            float(np.mean([one[condition].most_frequent for one in scores])),
            float(np.mean([one[condition].ece for one in scores])),
        )
        for condition in CONDITIONS
    }


def _differences(
    pooled: Sequence[Pooled], corpora: Sequence[HeldOutCorpus], resampling: Resampling
) -> dict[tuple[System, System], dict[Condition, PairedDifference]]:
    """Every system against the ridge on the same encoder, on the same resampled corpora."""
    ridges = {one.system.encoder: one.system for one in pooled if one.runs[0].spec.settings.get("head") == RIDGE}
    found = {}
    for system in (one.system for one in pooled):
        ridge = ridges.get(system.encoder, system)
        if ridge != system:
            found[system, ridge] = {
                one: corpus_difference(
                    _accuracies(corpora, system, one), _accuracies(corpora, ridge, one), "ua", resampling
                )
                for one in CONDITIONS
            }
    return found


def _accuracies(corpora: Sequence[HeldOutCorpus], system: System, condition: Condition) -> np.ndarray:
    return np.array([corpus.scores[system][condition].ua.estimate for corpus in corpora])
