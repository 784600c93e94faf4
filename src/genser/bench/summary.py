"""Summarise the runs of a bench: scores over seeds, paired differences, folds, ablations, calibration and cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from genser.bench.across_corpora import AcrossCorpora, summarize_across_corpora
from genser.bench.pool_runs import Pooled, System, pool
from genser.bench.runs import BenchResult, Protocol
from genser.errors import ConfigError
from genser.metrics.bootstrap import Interval, PairedDifference, Resampling, paired_differences, score_intervals
from genser.metrics.classification import METRICS, NO_ANSWER, confusion_matrices, decide, recalls
from genser.metrics.few import are_alike, without_interval
from genser.metrics.reliability import Calibration, calibrate, reliability

MAX_FOLDS = 10
"""Number of folds above which they are not listed one by one, as in leave-one-speaker-out."""


@dataclass(frozen=True)
class Score:
    """A score over seeds: its mean, its standard deviation between seeds (NaN for one seed), its interval.

    An interval of too few clips has NaN as ends, see :mod:`genser.metrics.few`.
    """

    mean: float
    deviation: float
    interval: Interval


@dataclass(frozen=True)
class FoldScores:
    """Scores of every system on the test side of one fold.

    Attributes:
        fold: Name of the fold.
        utterances: Number of test clips.
        speakers: Number of test speakers; 0 if unknown.
        ua: System → UA.
        pairs: (a, b) → how much better `a` is than `b` in UA.
    """

    fold: str
    utterances: int
    speakers: int
    ua: Mapping[System, Score]
    pairs: Mapping[tuple[System, System], PairedDifference]


@dataclass(frozen=True)
class CostSummary:
    """Mean cost of a run.

    Attributes:
        parameters: Parameters of the head.
        train_seconds: Training time of one fold with one seed, in seconds.
        predict_milliseconds: Time of the head for one utterance, in milliseconds.
        device: Device of the training.
    """

    parameters: int
    train_seconds: float
    predict_milliseconds: float
    device: str


@dataclass(frozen=True)
class SystemSummary:
    """All scores of one system on one protocol; shares lie in [0, 1].

    Attributes:
        system: The system.
        seeds: The averaged seeds.
        incomplete: Seeds omitted because a fold is missing.
        scores: Each of WA, UA, macro and weighted F1 over the whole corpus.
        fold_mean: The same scores computed on each fold and then averaged, as leaderboards do.
        recall: Class → recall, averaged over seeds.
        confusion: Counts summed over seeds; the last column counts the utterances without an answer.
        calibration: Averaged over seeds, with bins over all seeds together. None if a seed answered nothing.
        steps: N → metric → score.
        cost: Its cost.
    """

    system: System
    seeds: tuple[int, ...]
    incomplete: tuple[int, ...]
    scores: Mapping[str, Score]
    fold_mean: Mapping[str, float]
    recall: Mapping[str, float]
    confusion: np.ndarray
    calibration: Calibration | None
    steps: Mapping[int, Mapping[str, Score]]
    cost: CostSummary


@dataclass(frozen=True)
class AblationRow:
    """One value of a varied setting, and how much better it is than the head's default (None without a default)."""

    value: str
    summary: SystemSummary
    difference: PairedDifference | None


@dataclass(frozen=True)
class Ablation:
    """One setting of one system varied."""

    head: str
    encoder: str
    factor: str
    rows: tuple[AblationRow, ...]


@dataclass(frozen=True)
class ProtocolSummary:
    """All results on one protocol.

    Attributes:
        protocol: The protocol.
        classes: Class names.
        support: Number of utterances of each class.
        speakers: Number of test speakers; 0 if unknown.
        systems: The main comparison, best UA first.
        pairs: (a, b) → how much better `a` is than `b` in UA, for every ordered pair of `systems`.
        seed_pairs: The same with training seeds resampled as well, since they are a sample too.
        folds: The main comparison on every single fold, if there are few.
        ablations: One entry for each varied setting.
        across_corpora: Every held-out corpus with and without adaptation; None if the protocol holds out no corpora.
    """

    protocol: Protocol
    classes: tuple[str, ...]
    support: tuple[int, ...]
    speakers: int
    systems: tuple[SystemSummary, ...]
    pairs: Mapping[tuple[System, System], PairedDifference]
    seed_pairs: Mapping[tuple[System, System], PairedDifference]
    folds: tuple[FoldScores, ...]
    ablations: tuple[Ablation, ...]
    across_corpora: AcrossCorpora | None = None

    @property
    def floor_wa(self) -> float:
        """Accuracy of always deciding the most frequent class."""
        return max(self.support) / sum(self.support)

    @property
    def floor_ua(self) -> float:
        """UA of always deciding one class."""
        return 1 / np.count_nonzero(self.support)


def summarize(result: BenchResult, *, resampling: Resampling | None = None) -> tuple[ProtocolSummary, ...]:
    """Summarise a bench, one entry per protocol in order of appearance.

    Raises:
        ConfigError: The runs do not fit together (see :func:`genser.bench.pool_runs.pool`), systems of one protocol
            were tested on different utterances, or no seed of any system is complete.
    """
    pooled = pool(result.runs)
    if not pooled:
        raise ConfigError(
            f"No seed is complete in the finished runs ({len(result.runs)}). Run the bench again, which continues."
        )
    protocols = dict.fromkeys(one.protocol for one in pooled)
    return tuple(
        _summarize_protocol([one for one in pooled if one.protocol == protocol], resampling or Resampling())
        for protocol in protocols
    )


def _summarize_protocol(pooled: list[Pooled], resampling: Resampling) -> ProtocolSummary:
    first = pooled[0]
    for other in pooled[1:]:
        if first.classes != other.classes or not np.array_equal(first.utterances, other.utterances):
            raise ConfigError(
                f"{first.system.head} and {other.system.head} were tested on different utterances or classes of "
                f"{first.protocol.name}. Only runs on the same test set can be compared."
            )
    main = [one for one in pooled if not one.system.factor]
    summaries = {one.system: _summarize_system(one, resampling) for one in pooled}
    return ProtocolSummary(
        protocol=first.protocol,
        classes=first.classes,
        support=tuple(first.support.tolist()),
        speakers=first.speaker_count,
        systems=tuple(sorted((summaries[one.system] for one in main), key=lambda one: -one.scores["ua"].mean)),
        pairs=_pairs(main, resampling),
        seed_pairs=_pairs(main, replace(resampling, resample_seeds=True)),
        folds=_by_fold(main, resampling),
        ablations=_ablations(pooled, summaries, resampling),
        across_corpora=summarize_across_corpora(main, resampling),
    )


def _summarize_system(pooled: Pooled, resampling: Resampling) -> SystemSummary:
    decisions = decide(pooled.probabilities)
    classes, masks = len(pooled.classes), _fold_masks(pooled).values()
    confusions = confusion_matrices(pooled.labels, decisions, classes)
    folds = [confusion_matrices(pooled.labels[rows], decisions[:, rows], classes) for rows in masks]
    costs = [run.cost for run in pooled.runs]
    seconds = sum(cost.predict_seconds for cost in costs)
    return SystemSummary(
        system=pooled.system,
        seeds=pooled.seeds,
        incomplete=pooled.incomplete,
        scores=_scores(pooled, pooled.probabilities, resampling),
        fold_mean={name: float(score(np.stack(folds)).mean()) for name, score in METRICS.items()},
        recall=dict(zip(pooled.classes, recalls(confusions).mean(axis=0).tolist(), strict=True)),
        confusion=confusions.sum(axis=0),
        calibration=_calibration(pooled),
        steps={count: _scores(pooled, values, resampling) for count, values in pooled.steps.items()},
        cost=CostSummary(
            parameters=max(cost.parameters for cost in costs),
            train_seconds=float(np.mean([cost.train_seconds for cost in costs])),
            predict_milliseconds=1000 * seconds / (len(pooled.seeds) * len(pooled.labels)),
            device=", ".join(sorted({cost.device for cost in costs})),
        ),
    )


def _scores(pooled: Pooled, probabilities: np.ndarray, resampling: Resampling) -> dict[str, Score]:
    """Each of WA, UA, macro and weighted F1, from probabilities of shape (seeds, n, classes)."""
    classes, speakers = len(pooled.classes), pooled.speakers
    intervals = score_intervals(probabilities, pooled.labels, classes=classes, groups=speakers, resampling=resampling)
    decisions = decide(probabilities)
    confusions = confusion_matrices(pooled.labels, decisions, classes)
    lacking = METRICS if are_alike(decisions == pooled.labels) else without_interval(pooled.support)
    scores = {}
    for name, interval in intervals.items():
        values = METRICS[name](confusions)
        deviation = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
        shown = interval.without_ends if name in lacking else interval
        scores[name] = Score(float(values.mean()), deviation, shown)
    return scores


def _fold_masks(pooled: Pooled) -> dict[str, np.ndarray]:
    return {str(fold): pooled.folds == fold for fold in np.unique(pooled.folds)}


def _pairs(pooled: Sequence[Pooled], resampling: Resampling) -> dict[tuple[System, System], PairedDifference]:
    """Differences in UA of every ordered pair of systems that were tested on the same utterances."""
    if not pooled:
        return {}
    first, systems = pooled[0], {one.system: one.probabilities for one in pooled}
    classes = len(first.classes)
    found = paired_differences(systems, first.labels, first.speakers, classes=classes, resampling=resampling)
    if "ua" not in without_interval(first.support):
        return found
    return {names: replace(one, interval=one.interval.without_ends) for names, one in found.items()}


def _by_fold(pooled: Sequence[Pooled], resampling: Resampling) -> tuple[FoldScores, ...]:
    """The comparison on every single fold; empty for one fold or for more than :data:`MAX_FOLDS`."""
    masks = _fold_masks(pooled[0]) if pooled else {}
    if not 1 < len(masks) <= MAX_FOLDS:
        return ()
    found = []
    for name in masks:
        parts = [one.part(one.folds == name) for one in pooled]
        ua = {one.system: _scores(one, one.probabilities, resampling)["ua"] for one in parts}
        found.append(FoldScores(name, len(parts[0].labels), parts[0].speaker_count, ua, _pairs(parts, resampling)))
    return tuple(found)


def _calibration(pooled: Pooled) -> Calibration | None:
    """Calibration averaged over seeds; its bins hold the predictions of all seeds. None without probabilities."""
    answered = decide(pooled.probabilities) != NO_ANSWER
    if not all(run.spec.settings.get("scores", True) for run in pooled.runs):
        return None  # a peer that only names a class
    if not answered.any(axis=1).all():
        return None
    seeds = [
        calibrate(probabilities[kept], pooled.labels[kept])
        for probabilities, kept in zip(pooled.probabilities, answered, strict=True)
    ]
    names = ("ece_mass", "ece_width", "ece_adaptive", "brier", "nll")
    means = {name: float(np.mean([getattr(seed, name) for seed in seeds])) for name in names}
    correct = pooled.probabilities.argmax(axis=-1) == pooled.labels
    return Calibration(**means, bins=reliability(pooled.probabilities.max(axis=-1)[answered], correct[answered]))


def _ablations(
    pooled: list[Pooled], summaries: Mapping[System, SystemSummary], resampling: Resampling
) -> tuple[Ablation, ...]:
    groups: dict[tuple[str, str, str], list[Pooled]] = {}
    for one in pooled:
        if one.system.factor:
            groups.setdefault((one.system.head, one.system.encoder, one.system.factor), []).append(one)
    ablations = []
    for (head, encoder, factor), varied in groups.items():
        default = System(head, encoder)
        compared = [one for one in pooled if one.system == default]
        differences = _pairs([*compared, *varied], resampling) if compared else {}
        rows = tuple(
            AblationRow(one.system.value, summaries[one.system], differences.get((one.system, default)))
            for one in varied
        )
        ablations.append(Ablation(head, encoder, factor, rows))
    return tuple(ablations)
