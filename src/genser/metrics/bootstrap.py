"""Bootstrap intervals for scores and for paired differences between systems.

The percentile bootstrap (Efron 1979; Efron & Tibshirani 1993, chapter 13) resamples the test set and takes the interval
from the quantiles of the resampled scores. The choice of the resampled units matters most. A model that fails on one
voice fails on many clips of that voice, so resampling single clips would treat dependent clips as independent. If
speakers are known, whole speakers are drawn (the cluster bootstrap: Davison & Hinkley 1997, section 3.8; Field & Welsh
2007). The interval then answers: how would this score change with other speakers?

With few speakers or corpora percentile intervals are too narrow (Cameron, Gelbach & Miller 2008). Over these, the
quantiles are therefore those of the expanded percentile interval (Hesterberg 2015), which is wider, as Student's t is.
Below :data:`FEW_SPEAKERS` speakers (four in SAVEE, two in TESS) this does not suffice: 95 % intervals over two speakers
cover 59 %, over three 76 %, over four 89 %. So with fewer, or if speakers are unknown, clips are drawn within each
class, which keeps the class balance. Such an interval says nothing about other speakers;
:func:`genser.metrics.few.speaker_remark` is the sentence on it for a report.

A mean over corpora is resampled over corpora: how would it change with other corpora?

Two systems are compared on the same resamples (the paired bootstrap: Efron & Tibshirani 1993; Koehn 2004 for machine
translation), so the difficulty of the test set cancels. Several training seeds are averaged within each resample.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import TypeVar

import numpy as np

from genser.errors import ConfigError
from genser.metrics.classification import METRICS, cells, confusion_matrices, decide, metric_named

Name = TypeVar("Name")

FEW_SPEAKERS = 5
"""Number of speakers below which utterances are resampled."""

_CHUNK_CELLS = 4_000_000  # weights in memory at a time: 32 MB of float64, whatever the number of resamples


@dataclass(frozen=True)
class Resampling:
    """How a bootstrap is drawn.

    Attributes:
        resamples: Number of resampled test sets.
        level: Nominal coverage of the interval, in (0, 1).
        seed: Seed of the draws; the same seed draws the same test sets for every system.
        resample_seeds: Whether training seeds are resampled as well, so that the interval also covers training noise.

    Raises:
        ConfigError: A value is out of range.
    """

    resamples: int = 2000
    level: float = 0.95
    seed: int = 0
    resample_seeds: bool = False

    def __post_init__(self) -> None:
        if self.resamples < 1:
            raise ConfigError(f"resamples must be at least 1, got {self.resamples}. 2000 is usual.")
        if not 0 < self.level < 1:
            raise ConfigError(f"level must lie between 0 and 1, got {self.level}. 0.95 is usual.")


@dataclass(frozen=True)
class Units:
    """The units that the bootstrap resamples.

    Attributes:
        unit: ``"speaker"``, ``"utterance"`` or ``"corpus"``.
        of_row: Index of the unit that each row belongs to, shape (n,).
        strata: Indices of the units of each stratum; a unit is only replaced by units of its stratum.
    """

    unit: str
    of_row: np.ndarray
    strata: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, labels: np.ndarray, groups: np.ndarray | None) -> "Units":
        """The speakers in `groups` if there are :data:`FEW_SPEAKERS` or more, else the utterances within each class.

        Raises:
            ConfigError: The lengths differ.
        """
        if groups is not None and len(groups) != len(labels):
            raise ConfigError(f"{len(groups)} groups do not fit {len(labels)} utterances. Give one per utterance.")
        names, of_row = np.unique([] if groups is None else np.asarray(groups), return_inverse=True)
        if len(names) < FEW_SPEAKERS:
            strata = tuple(np.flatnonzero(labels == label) for label in np.unique(labels))
            return cls("utterance", np.arange(len(labels)), strata)
        return cls("speaker", of_row.reshape(-1), (np.arange(len(names)),))

    @classmethod
    def corpora(cls, count: int) -> "Units":
        """Corpora, each of which is one row."""
        return cls("corpus", np.arange(count), (np.arange(count),))

    @property
    def count(self) -> int:
        """Number of units."""
        return sum(len(stratum) for stratum in self.strata)

    def resample(self, rows: np.ndarray, resampling: Resampling) -> np.ndarray:
        """Sum `rows` (n, columns) over each resampled test set: (resamples, columns)."""
        totals = np.zeros((self.count, rows.shape[1]))
        np.add.at(totals, self.of_row, rows)
        random = np.random.default_rng(resampling.seed)
        chunk = max(1, _CHUNK_CELLS // self.count)
        sums = []
        for start in range(0, resampling.resamples, chunk):
            weights = np.empty((min(chunk, resampling.resamples - start), self.count))
            for stratum in self.strata:
                weights[:, stratum] = multiplicities(random, len(weights), len(stratum))
            sums.append(weights @ totals)
        return np.concatenate(sums)


def multiplicities(random: np.random.Generator, draws: int, units: int) -> np.ndarray:
    """Draw `units` of `units` with replacement, `draws` times, and count; much faster than a multinomial."""
    drawn = random.integers(0, units, size=(draws, units)) + units * np.arange(draws)[:, None]
    return np.bincount(drawn.ravel(), minlength=draws * units).reshape(draws, units)


@dataclass(frozen=True)
class Interval:
    """A score with its bootstrap percentile interval.

    Attributes:
        estimate: The score on the test set itself.
        low: Lower end of the interval.
        high: Upper end of the interval.
        level: Nominal coverage of the interval.
        unit: Resampled unit: ``"speaker"``, ``"utterance"`` or ``"corpus"``.
        units: Number of units.
    """

    estimate: float
    low: float
    high: float
    level: float
    unit: str
    units: int

    def to_dict(self) -> dict[str, float | str | int]:
        """Return the fields as plain values."""
        return asdict(self)

    @property
    def without_ends(self) -> "Interval":
        """The score alone, with NaN as ends: of too few clips, see :mod:`genser.metrics.few`."""
        return replace(self, low=float("nan"), high=float("nan"))

    @property
    def has_ends(self) -> bool:
        """Whether there is an interval around the score."""
        return self.low == self.low


@dataclass(frozen=True)
class PairedDifference:
    """How much better system `a` is than system `b` on the same utterances.

    Attributes:
        metric: The compared score.
        interval: The difference a − b with its interval.
        win_probability: Share of resamples in which `a` scores higher; ties count half.
    """

    metric: str
    interval: Interval
    win_probability: float


def score_intervals(
    predictions: np.ndarray,
    labels: np.ndarray,
    *,
    classes: int,
    groups: np.ndarray | None = None,
    metrics: tuple[str, ...] = tuple(METRICS),
    resampling: Resampling | None = None,
) -> dict[str, Interval]:
    """Intervals of the scores in :data:`genser.metrics.classification.METRICS`.

    Args:
        predictions: Decisions, integers of shape (n,) or (seeds, n), or probabilities, floats of shape (n, classes) or
            (seeds, n, classes); scores are averaged over seeds. A row of NaN is an utterance without an answer.
        labels: True class indices, shape (n,).
        classes: Number of classes.
        groups: Speaker of each utterance, shape (n,), or None. With five speakers or more speakers are resampled, else
            utterances in each class.
        metrics: Names of scores.
        resampling: How to draw.

    Raises:
        ConfigError: Shapes differ, an index is out of range, or a metric is unknown.
    """
    resampling = resampling or Resampling()
    decisions, labels = _stacked(predictions), np.asarray(labels)
    units = Units.of(labels, groups)
    observed = confusion_matrices(labels, decisions, classes)
    drawn = _resampled_confusions(decisions, labels, classes, units, resampling)
    return {
        name: _interval(
            float(metric_named(name)(observed).mean()),
            _seed_mean(metric_named(name)(drawn), resampling),
            units,
            resampling,
        )
        for name in metrics
    }


def paired_bootstrap(
    a: np.ndarray,
    b: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    classes: int,
    metric: str = "ua",
    resampling: Resampling | None = None,
) -> PairedDifference:
    """Compare two systems on the same resampled test sets.

    Args:
        a: Predictions of the first system, as for :func:`score_intervals`.
        b: Predictions of the second system, which may have another number of seeds.
        labels: True class indices, shape (n,).
        groups: Speaker of each utterance, shape (n,), or None, as for :func:`score_intervals`.
        classes: Number of classes.
        metric: The score to compare.
        resampling: How to draw.

    Raises:
        ConfigError: Shapes differ, an index is out of range, or the metric is unknown.
    """
    systems = {"a": a, "b": b}
    return paired_differences(systems, labels, groups, classes=classes, metric=metric, resampling=resampling)["a", "b"]


def paired_differences(
    systems: Mapping[Name, np.ndarray],
    labels: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    classes: int,
    metric: str = "ua",
    resampling: Resampling | None = None,
) -> dict[tuple[Name, Name], PairedDifference]:
    """Compare every ordered pair of systems on the same resampled test sets; see :func:`paired_bootstrap`."""
    resampling = resampling or Resampling()
    labels, score = np.asarray(labels), metric_named(metric)
    units = Units.of(labels, groups)
    estimates, drawn = {}, {}
    for name, predictions in systems.items():
        decisions = _stacked(predictions)
        estimates[name] = float(score(confusion_matrices(labels, decisions, classes)).mean())
        confusions = _resampled_confusions(decisions, labels, classes, units, resampling)
        drawn[name] = _seed_mean(score(confusions), resampling)
    return {
        (a, b): PairedDifference(
            metric,
            _interval(estimates[a] - estimates[b], drawn[a] - drawn[b], units, resampling),
            float(np.mean((drawn[a] > drawn[b]) + 0.5 * (drawn[a] == drawn[b]))),
        )
        for a in systems
        for b in systems
        if a != b
    }


def corpus_mean(scores: np.ndarray, resampling: Resampling) -> Interval:
    """The mean of the scores of two corpora or more, shape (corpora,), with its interval over corpora."""
    units = Units.corpora(len(scores))
    drawn = units.resample(scores[:, None], resampling)[:, 0] / len(scores)
    return _interval(float(scores.mean()), drawn, units, resampling)


def corpus_difference(a: np.ndarray, b: np.ndarray, metric: str, resampling: Resampling) -> PairedDifference:
    """How much better the mean of scores `a` of two corpora or more is than that of `b` on the same corpora."""
    units = Units.corpora(len(a))
    drawn = units.resample((a - b)[:, None], resampling)[:, 0] / len(a)
    interval = _interval(float((a - b).mean()), drawn, units, resampling)
    return PairedDifference(metric, interval, float(np.mean((drawn > 0) + 0.5 * (drawn == 0))))


def _stacked(predictions: np.ndarray) -> np.ndarray:
    """Decisions of shape (seeds, n) from decisions or probabilities, with or without seeds."""
    predictions = np.asarray(predictions)
    if np.issubdtype(predictions.dtype, np.floating):
        predictions = decide(predictions)
    return predictions[None] if predictions.ndim == 1 else predictions


def _resampled_confusions(
    decisions: np.ndarray, labels: np.ndarray, classes: int, units: Units, resampling: Resampling
) -> np.ndarray:
    """Confusion matrices of the resampled test sets, shape (resamples, seeds, classes, classes + 1)."""
    size = classes * (classes + 1)
    flat = cells(labels, decisions, classes) + size * np.arange(len(decisions))[:, None]
    rows = np.zeros((len(labels), len(decisions) * size), dtype=np.float32)
    rows[np.arange(len(labels)), flat] = 1.0
    return units.resample(rows, resampling).reshape(-1, len(decisions), classes, classes + 1)


def _seed_mean(scores: np.ndarray, resampling: Resampling) -> np.ndarray:
    """Average scores (resamples, seeds) over all seeds, or over seeds that are drawn in each resample."""
    if not resampling.resample_seeds:
        return scores.mean(axis=1)
    random = np.random.default_rng((resampling.seed, scores.shape[1]))
    return (scores * multiplicities(random, *scores.shape)).mean(axis=1)


def _interval(estimate: float, drawn: np.ndarray, units: Units, resampling: Resampling) -> Interval:
    tail = (1 - resampling.level) / 2
    if units.unit != "utterance":
        tail = _expanded_tail(tail, units.count)
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(estimate, float(low), float(high), resampling.level, units.unit, units.count)


def _expanded_tail(tail: float, units: int) -> float:
    """Tail of the expanded percentile interval, Φ(−√(n / (n − 1)) t), for the tail of a plain one (Hesterberg 2015).

    t is the quantile of Student's distribution with n − 1 degrees of freedom, by its expansion around the normal one
    (Abramowitz & Stegun 26.7.5), which is within 1 % from four degrees of freedom on.
    """
    normal, degrees = NormalDist(), units - 1
    z = -normal.inv_cdf(tail)
    t = z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
    t += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3)
    return normal.cdf(-math.sqrt(units / degrees) * t)
