"""A bench result summed up: scores over seeds with intervals, paired comparisons, ablations, calibration, cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from genser.bench.pool_runs import Pooled, System, pool
from genser.bench.runs import BenchResult, Protocol
from genser.errors import ConfigError
from genser.metrics.bootstrap import Interval, PairedDifference, Resampling, paired_differences, score_intervals
from genser.metrics.classification import METRICS, confusion_matrix, decide, recalls
from genser.metrics.reliability import Calibration, ReliabilityBin, calibrate, reliability

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


@dataclass(frozen=True)
class CostSummary:
    """Mean cost of a run.

    Attributes:
        parameters: Parameters of the head.
        train_seconds: Training time of one fold with one seed, in seconds.
        predict_milliseconds: Time of the head for one utterance, in milliseconds.
        device: Where it ran.
    """

    parameters: int
    train_seconds: float
    predict_milliseconds: float
    device: str


@dataclass(frozen=True)
class SystemSummary:
    """Everything measured of one system on one protocol; shares lie in [0, 1].

    Attributes:
        system: The system.
        seeds: The seeds that are averaged.
        incomplete: Seeds left out because a fold is missing.
        scores: Each of WA, UA, macro and weighted F1 over the whole corpus.
        fold_mean: The same scores computed on each fold and then averaged, as leaderboards do.
        recall: Class → recall, averaged over seeds.
        confusion: Counts summed over seeds; the last column has those without an answer.
        calibration: Averaged over seeds; its bins hold all seeds together. None where nothing was answered.
        steps: N → metric → score.
        cost: What it costs.
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
    """One value of a varied setting, and how much better it is than the head's default (None without one)."""

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
    """Everything measured on one protocol.

    Attributes:
        protocol: The protocol.
        classes: Class names.
        support: Utterances of each class.
        speakers: Number of test speakers; 0 where unknown.
        systems: The main comparison, best UA first.
        pairs: (a, b) → how much better `a` is than `b` in UA, for every ordered pair of `systems`.
        seed_pairs: The same with training seeds drawn anew in each resample, as they are a sample too.
        folds: The main comparison on every fold by itself, where there are few.
        ablations: One entry a varied setting.
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

    @property
    def floor_wa(self) -> float:
        """Accuracy of always answering the most frequent class."""
        return max(self.support) / sum(self.support)

    @property
    def floor_ua(self) -> float:
        """UA of always answering one class."""
        return 1 / np.count_nonzero(self.support)


def summarize(result: BenchResult, *, resampling: Resampling | None = None) -> tuple[ProtocolSummary, ...]:
    """Sum up a bench, one entry a protocol in order of appearance.

    Raises:
        ConfigError: If runs do not fit together (see :func:`genser.bench.pool_runs.pool`), systems of one protocol
            were tested on different utterances, or no seed of any system is complete.
    """
    pooled = pool(result.runs)
    if not pooled:
        raise ConfigError(f"none of {len(result.runs)} runs completes a seed: let the bench finish its folds first")
    protocols = dict.fromkeys(one.protocol for one in pooled)
    return tuple(
        _protocol([one for one in pooled if one.protocol == protocol], resampling or Resampling())
        for protocol in protocols
    )


def _protocol(pooled: list[Pooled], resampling: Resampling) -> ProtocolSummary:
    first = pooled[0]
    for other in pooled[1:]:
        if first.classes != other.classes or not np.array_equal(first.utterances, other.utterances):
            raise ConfigError(
                f"{first.system.head} and {other.system.head} were tested on different utterances or classes of "
                f"{first.protocol.name}: only runs on the same test set can be compared"
            )
    main = [one for one in pooled if not one.system.factor]
    summaries = {one.system: summarize_system(one, resampling) for one in pooled}
    systems = sorted((summaries[one.system] for one in main), key=lambda one: -one.scores["ua"].mean)
    return ProtocolSummary(
        protocol=first.protocol,
        classes=first.classes,
        support=tuple(np.bincount(first.labels, minlength=len(first.classes)).tolist()),
        speakers=0 if first.speakers is None else len(set(first.speakers.tolist())),
        systems=tuple(systems),
        pairs=pairs(main, resampling),
        seed_pairs=pairs(main, replace(resampling, resample_seeds=True)),
        folds=by_fold(main, resampling),
        ablations=_ablations(pooled, summaries, resampling),
    )


def summarize_system(pooled: Pooled, resampling: Resampling) -> SystemSummary:
    """Sum up one system."""
    decisions = decide(pooled.probabilities)
    confusions = np.stack([confusion_matrix(pooled.labels, one, len(pooled.classes)) for one in decisions])
    recall = recalls(confusions).mean(axis=0).tolist()
    return SystemSummary(
        system=pooled.system,
        seeds=pooled.seeds,
        incomplete=pooled.incomplete,
        scores=scores(pooled, pooled.probabilities, resampling),
        fold_mean=_fold_mean(pooled, decisions),
        recall=dict(zip(pooled.classes, recall, strict=True)),
        confusion=confusions.sum(axis=0),
        calibration=_calibration(pooled),
        steps={count: scores(pooled, values, resampling) for count, values in pooled.steps.items()},
        cost=_cost(pooled),
    )


def _fold_mean(pooled: Pooled, decisions: np.ndarray) -> dict[str, float]:
    rows = [pooled.folds == fold for fold in np.unique(pooled.folds)]
    confusions = np.stack(
        [confusion_matrix(pooled.labels[row], one[row], len(pooled.classes)) for one in decisions for row in rows]
    )
    return {name: float(score(confusions).mean()) for name, score in METRICS.items()}


def _calibration(pooled: Pooled) -> Calibration | None:
    answered = ~np.isnan(pooled.probabilities).any(axis=-1)
    if not answered.any(axis=1).all():
        return None
    seeds = [
        calibrate(probabilities[kept], pooled.labels[kept])
        for probabilities, kept in zip(pooled.probabilities, answered, strict=True)
    ]
    names = ("ece_mass", "ece_width", "ece_adaptive", "brier", "nll")
    means = {name: float(np.mean([getattr(seed, name) for seed in seeds])) for name in names}
    return Calibration(**means, bins=_pooled_bins(pooled.probabilities, pooled.labels, answered))


def _pooled_bins(probabilities: np.ndarray, labels: np.ndarray, answered: np.ndarray) -> tuple[ReliabilityBin, ...]:
    correct = probabilities.argmax(axis=-1) == labels
    return reliability(probabilities.max(axis=-1)[answered], correct[answered])


def _cost(pooled: Pooled) -> CostSummary:
    costs = [run.cost for run in pooled.runs]
    seconds = sum(cost.predict_seconds for cost in costs)
    return CostSummary(
        parameters=max(cost.parameters for cost in costs),
        train_seconds=float(np.mean([cost.train_seconds for cost in costs])),
        predict_milliseconds=1000 * seconds / (len(pooled.seeds) * len(pooled.labels)),
        device=", ".join(sorted({cost.device for cost in costs})),
    )


def _ablations(
    pooled: list[Pooled], summaries: Mapping[System, SystemSummary], resampling: Resampling
) -> tuple[Ablation, ...]:
    varied = [one for one in pooled if one.system.factor]
    keys = dict.fromkeys((one.system.head, one.system.encoder, one.system.factor) for one in varied)
    ablations = []
    for head, encoder, factor in keys:
        rows = [
            one for one in varied if (one.system.head, one.system.encoder, one.system.factor) == (head, encoder, factor)
        ]
        default = next((one for one in pooled if one.system == System(head, encoder)), None)
        differences = pairs([default, *rows], resampling) if default else {}
        default_system = default.system if default else None
        ablations.append(
            Ablation(
                head,
                encoder,
                factor,
                tuple(
                    AblationRow(row.system.value, summaries[row.system], differences.get((row.system, default_system)))
                    for row in rows
                ),
            )
        )
    return tuple(ablations)
