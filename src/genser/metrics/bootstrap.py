"""Bootstrap intervals for scores and for paired differences between systems.

The percentile bootstrap (Efron 1979; Efron & Tibshirani 1993, chapter 13) resamples the test set and reads the
interval off the quantiles of the resampled scores. What is resampled matters more than the formula. Utterances of one
speaker are alike: a model that fails on a voice fails on many of its clips at once, so that resampling single clips
pretends to more independent evidence than there is. Where speakers are known, whole speakers are drawn (the cluster
bootstrap: Davison & Hinkley 1997, section 3.8; Field & Welsh 2007), which answers "how would this score move with other
speakers?". Without speakers, clips are drawn inside each class, so that every resample keeps the class balance that UA
conditions on. With few clusters (four speakers in SAVEE, two in TESS) percentile intervals come out too narrow
(Cameron, Gelbach & Miller 2008); `Interval.units` therefore says how many units were drawn from.

Two systems are compared on the same resamples (the paired bootstrap: Efron & Tibshirani 1993; for machine translation
Koehn 2004), which cancels the difficulty of the test set. Runs with several training seeds are averaged inside each
resample.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np

from genser.errors import ConfigError
from genser.metrics.classification import METRICS, cells, confusion_matrix, decide, metric_named

_CHUNK_CELLS = 4_000_000  # weights held at once: 16 MB of float32, whatever the number of resamples


@dataclass(frozen=True)
class Resampling:
    """How a bootstrap is drawn.

    Attributes:
        resamples: Number of resampled test sets.
        level: Coverage of the interval, in (0, 1).
        seed: Seed of the draws; the same seed draws the same test sets for every system.
        resample_seeds: Whether training seeds are drawn as well, so that the interval also covers training noise.
    """

    resamples: int = 2000
    level: float = 0.95
    seed: int = 0
    resample_seeds: bool = False

    def __post_init__(self) -> None:
        if self.resamples < 1:
            raise ConfigError(f"resamples must be at least 1, got {self.resamples}: 2000 is a good number")
        if not 0 < self.level < 1:
            raise ConfigError(f"level must lie between 0 and 1, got {self.level}: 0.95 is usual")


@dataclass(frozen=True)
class Units:
    """What is drawn.

    Attributes:
        unit: ``"speaker"`` or ``"utterance"``.
        of_row: Index of the unit that each row belongs to, shape (n,).
        strata: Indices of the units that are drawn among each other.
    """

    unit: str
    of_row: np.ndarray
    strata: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, rows: int, groups: np.ndarray | None, strata: np.ndarray | None) -> "Units":
        """Units of `rows` utterances: their groups where given, else the utterances inside each stratum.

        Raises:
            ConfigError: If lengths differ or there is only one group.
        """
        for name, given in (("groups", groups), ("strata", strata)):
            if given is not None and len(given) != rows:
                raise ConfigError(f"{len(given)} {name} do not fit {rows} utterances: give one each")
        if groups is None:
            inverse = np.zeros(rows, dtype=np.int64) if strata is None else _codes(strata)
            return cls(
                "utterance", np.arange(rows), tuple(np.flatnonzero(inverse == s) for s in range(inverse.max() + 1))
            )
        of_row = _codes(groups)
        if of_row.max() == 0:
            raise ConfigError(f"{str(groups[0])!r} is the only speaker: leave groups out to resample clips instead")
        return cls("speaker", of_row, (np.arange(of_row.max() + 1),))

    @property
    def count(self) -> int:
        """How many units there are."""
        return sum(len(stratum) for stratum in self.strata)

    def resample(self, rows: np.ndarray, resampling: Resampling) -> np.ndarray:
        """Sum `rows` (n, columns) over each resampled test set: (resamples, columns)."""
        totals = np.zeros((self.count, rows.shape[1]))
        np.add.at(totals, self.of_row, rows)
        return np.concatenate([weights @ totals for weights in self._weights(resampling)])

    def _weights(self, resampling: Resampling) -> Iterator[np.ndarray]:
        """How often each unit is drawn, in chunks of shape (resamples, units)."""
        random = np.random.default_rng(resampling.seed)
        chunk = max(1, _CHUNK_CELLS // self.count)
        for start in range(0, resampling.resamples, chunk):
            weights = np.empty((min(chunk, resampling.resamples - start), self.count))
            for stratum in self.strata:
                weights[:, stratum] = multiplicities(random, len(weights), len(stratum))
            yield weights


def _codes(names: np.ndarray) -> np.ndarray:
    return np.unique(np.asarray(names), return_inverse=True)[1].reshape(-1)


def multiplicities(random: np.random.Generator, draws: int, units: int) -> np.ndarray:
    """Draw `units` of `units` with replacement, `draws` times, and count: far quicker than a multinomial."""
    drawn = random.integers(0, units, size=(draws, units)) + units * np.arange(draws)[:, None]
    return np.bincount(drawn.ravel(), minlength=draws * units).reshape(draws, units)


@dataclass(frozen=True)
class Interval:
    """A score with its bootstrap percentile interval.

    Attributes:
        estimate: The score on the test set itself.
        low: Lower end of the interval.
        high: Upper end of the interval.
        level: Coverage that the interval aims at.
        unit: What was drawn: ``"speaker"`` or ``"utterance"``.
        units: How many of these there are.
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


@dataclass(frozen=True)
class PairedDifference:
    """How much better system `a` is than system `b` on the same utterances.

    Attributes:
        metric: Score that is compared.
        interval: The difference a − b with its interval.
        win_probability: Share of resamples in which `a` scores higher; ties count half.
    """

    metric: str
    interval: Interval
    win_probability: float

    def to_dict(self) -> dict[str, object]:
        """Return the fields as plain values."""
        return asdict(self)


def bootstrap_interval(
    values: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    strata: np.ndarray | None = None,
    resampling: Resampling | None = None,
) -> Interval:
    """Interval of the mean of one value an utterance.

    Args:
        values: Shape (n,), finite.
        groups: Cluster (speaker) of each value, shape (n,); whole clusters are drawn when given.
        strata: Stratum of each value, shape (n,); ignored where groups are drawn.
        resampling: How to draw.

    Raises:
        ConfigError: If shapes differ, a value is not finite, or there is only one cluster.
    """
    resampling = resampling or Resampling()
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise ConfigError(f"an interval needs finite values of shape (n,) with n > 0, got shape {values.shape}")
    units = Units.of(len(values), groups, strata)
    sums = units.resample(np.stack([values, np.ones_like(values)], axis=1), resampling)
    return _interval(float(values.mean()), sums[:, 0] / sums[:, 1], units, resampling)


def score_intervals(
    predictions: np.ndarray,
    labels: np.ndarray,
    *,
    classes: int,
    groups: np.ndarray | None = None,
    metrics: tuple[str, ...] = tuple(METRICS),
    resampling: Resampling | None = None,
) -> dict[str, Interval]:
    """Intervals of scores that a confusion matrix determines.

    Args:
        predictions: Decisions, integers of shape (n,) or (seeds, n), or probabilities, floats of shape (n, classes) or
            (seeds, n, classes); scores are averaged over seeds. A row of NaN is an utterance without an answer.
        labels: True class indices, shape (n,).
        classes: Number of classes.
        groups: Speaker of each utterance, shape (n,); whole speakers are drawn when given, else clips in each class.
        metrics: Names in :data:`genser.metrics.classification.METRICS`.
        resampling: How to draw.

    Raises:
        ConfigError: If shapes differ, an index is out of range, a metric is unknown, or there is only one speaker.
    """
    resampling = resampling or Resampling()
    decisions = _stacked(predictions)
    units = Units.of(len(labels), groups, labels)
    whole = _confusions(decisions, np.asarray(labels), classes)
    drawn = _resampled_confusions(decisions, np.asarray(labels), classes, units, resampling)
    return {
        name: _interval(
            float(metric_named(name)(whole).mean()),
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
        b: Predictions of the second; it may have another number of seeds.
        labels: True class indices, shape (n,).
        groups: Speaker of each utterance, shape (n,), or None to draw clips inside each class.
        classes: Number of classes.
        metric: Score to compare.
        resampling: How to draw.

    Raises:
        ConfigError: If shapes differ, an index is out of range, the metric is unknown, or there is only one speaker.
    """
    systems = {"a": a, "b": b}
    return paired_differences(systems, labels, groups, classes=classes, metric=metric, resampling=resampling)["a", "b"]


def paired_differences(
    systems: Mapping[str, np.ndarray],
    labels: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    classes: int,
    metric: str = "ua",
    resampling: Resampling | None = None,
) -> dict[tuple[str, str], PairedDifference]:
    """Compare every ordered pair of systems on the same resampled test sets; see :func:`paired_bootstrap`."""
    resampling = resampling or Resampling()
    labels, score = np.asarray(labels), metric_named(metric)
    units = Units.of(len(labels), groups, labels)
    estimates, drawn = {}, {}
    for name, predictions in systems.items():
        decisions = _stacked(predictions)
        estimates[name] = float(score(_confusions(decisions, labels, classes)).mean())
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


def _stacked(predictions: np.ndarray) -> np.ndarray:
    """Decisions of shape (seeds, n) from decisions or probabilities, with or without seeds."""
    predictions = np.asarray(predictions)
    if np.issubdtype(predictions.dtype, np.floating):
        predictions = decide(predictions)
    return predictions[None] if predictions.ndim == 1 else predictions


def _confusions(decisions: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """One confusion matrix a seed, shape (seeds, classes, classes + 1)."""
    return np.stack([confusion_matrix(labels, one, classes) for one in decisions])


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
    """Average scores (resamples, seeds) over all seeds, or over seeds drawn anew in each resample."""
    if not resampling.resample_seeds:
        return scores.mean(axis=1)
    random = np.random.default_rng((resampling.seed, scores.shape[1]))
    return (scores * multiplicities(random, *scores.shape)).mean(axis=1)


def _interval(estimate: float, drawn: np.ndarray, units: Units, resampling: Resampling) -> Interval:
    tail = (1 - resampling.level) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(estimate, float(low), float(high), resampling.level, units.unit, units.count)
