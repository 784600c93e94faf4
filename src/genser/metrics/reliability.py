"""How far scores can be taken as probabilities: calibration error, Brier score, likelihood.

A confidence is calibrated when, of the utterances scored 0.8, 80 % are right. The expected calibration error (ECE;
Naeini et al. 2015, Guo et al. 2017) is the mean gap between confidence and accuracy over bins of like confidence,
weighted by their share of the utterances. How bins are cut decides what is seen, so three ways are offered:

- ``"width"``: equal widths, as in Guo et al. (15 bins). Confident models crowd the last bin.
- ``"mass"``: equal counts (Nguyen & O'Connor 2015; Nixon et al. 2019). The default here.
- ``"adaptive"``: equal counts, and as many bins as keep their accuracies rising (ECE-sweep, Roelofs et al. 2022), which
  has the least bias of the three on small test sets.
"""

from dataclasses import asdict, dataclass

import numpy as np

from genser.errors import ConfigError

SCHEMES = ("mass", "width", "adaptive")
LIKELIHOOD_FLOOR = 1e-12  # keeps the likelihood finite where a projection was clipped at 0


@dataclass(frozen=True)
class ReliabilityBin:
    """Utterances of like confidence.

    Attributes:
        low: Least confidence of the bin (its edge for equal widths).
        high: Greatest confidence of the bin (its edge for equal widths).
        count: Number of utterances.
        confidence: Their mean confidence.
        accuracy: Share of them that is right.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """Calibration of the answered utterances.

    Attributes:
        ece_mass: Expected calibration error over bins of equal count.
        ece_width: The same over bins of equal width.
        ece_adaptive: The same over as many equal-count bins as keep accuracies rising.
        brier: Mean of Σ_b (p_b − y_b)², in [0, 2] (Brier 1950).
        nll: Mean negative log-likelihood of the true class in nats, probabilities floored at 1e-12.
        bins: The reliability curve over bins of equal count.
    """

    ece_mass: float
    ece_width: float
    ece_adaptive: float
    brier: float
    nll: float
    bins: tuple[ReliabilityBin, ...]

    def to_dict(self) -> dict[str, object]:
        """Return the fields as plain values."""
        return asdict(self)


def calibrate(probabilities: np.ndarray, labels: np.ndarray, *, bins: int = 15) -> Calibration:
    """Measure the calibration of probabilities of shape (n, classes) against labels of shape (n,).

    Raises:
        ConfigError: If `bins` is less than 1.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    errors = {scheme: expected_calibration_error(confidence, correct, bins=bins, scheme=scheme) for scheme in SCHEMES}
    return Calibration(
        ece_mass=errors["mass"],
        ece_width=errors["width"],
        ece_adaptive=errors["adaptive"],
        brier=brier_score(probabilities, labels),
        nll=negative_log_likelihood(probabilities, labels),
        bins=reliability(confidence, correct, bins=bins),
    )


def expected_calibration_error(
    confidence: np.ndarray, correct: np.ndarray, *, bins: int = 15, scheme: str = "mass"
) -> float:
    """Mean gap |accuracy − confidence| over bins, weighted by count.

    Args:
        confidence: Probability of the decided class, shape (n,).
        correct: Whether the decision is right, shape (n,).
        bins: Number of bins; the adaptive scheme chooses its own.
        scheme: ``"mass"``, ``"width"`` or ``"adaptive"``; see the module.

    Raises:
        ConfigError: If `bins` is less than 1 or the scheme is unknown.
    """
    curve = reliability(confidence, correct, bins=bins, scheme=scheme)
    gaps = sum(one.count * abs(one.accuracy - one.confidence) for one in curve)
    return float(gaps / len(confidence))


def reliability(
    confidence: np.ndarray, correct: np.ndarray, *, bins: int = 15, scheme: str = "mass"
) -> tuple[ReliabilityBin, ...]:
    """Group utterances by confidence; empty bins are left out. See :func:`expected_calibration_error`."""
    if bins < 1 or scheme not in SCHEMES:
        raise ConfigError(f"calibration needs bins >= 1 and a scheme of {', '.join(SCHEMES)}; got {bins}, {scheme!r}")
    order = np.lexsort((correct, confidence))  # ties in a fixed order, so that the order of rows cannot matter
    confidence, correct = np.asarray(confidence, dtype=np.float64)[order], np.asarray(correct, dtype=np.float64)[order]
    if scheme == "width":
        return _equal_width(confidence, correct, bins)
    if scheme == "mass":
        return _equal_mass(confidence, correct, bins)
    return _sweep(confidence, correct)


def brier_score(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean of Σ_b (p_b − y_b)² over utterances, in [0, 2] (Brier 1950)."""
    truth = np.eye(probabilities.shape[1])[labels]
    return float(np.square(probabilities - truth).sum(axis=1).mean())


def negative_log_likelihood(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean −ln p(true class) in nats, with p floored at 1e-12."""
    likelihood = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(likelihood, LIKELIHOOD_FLOOR)).mean())


def _equal_width(confidence: np.ndarray, correct: np.ndarray, bins: int) -> tuple[ReliabilityBin, ...]:
    edges = np.linspace(0.0, 1.0, bins + 1)
    index = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)  # (low, high] as in Guo et al.
    return tuple(
        _bin(confidence[index == i], correct[index == i], float(edges[i]), float(edges[i + 1]))
        for i in np.unique(index)
    )


def _equal_mass(confidence: np.ndarray, correct: np.ndarray, bins: int) -> tuple[ReliabilityBin, ...]:
    parts = zip(np.array_split(confidence, bins), np.array_split(correct, bins), strict=True)
    return tuple(_bin(part, right, float(part[0]), float(part[-1])) for part, right in parts if part.size)


def _sweep(confidence: np.ndarray, correct: np.ndarray) -> tuple[ReliabilityBin, ...]:
    """Take one bin more as long as accuracies keep rising, as in Roelofs et al. 2022, algorithm 1."""
    count = len(confidence)
    if (np.diff(correct) >= 0).all():  # then no number of bins breaks the order: spare the quadratic search
        return _equal_mass(confidence, correct, count)
    hits = np.concatenate([[0.0], np.cumsum(correct)])
    bins = 1
    while (np.diff(_bin_accuracies(hits, bins + 1)) >= 0).all():
        bins += 1
    return _equal_mass(confidence, correct, bins)


def _bin_accuracies(hits: np.ndarray, bins: int) -> np.ndarray:
    """Accuracy of each equal-count bin, cut as numpy.array_split cuts, from cumulated hits of shape (n + 1,)."""
    size, longer = divmod(len(hits) - 1, bins)
    edges = np.cumsum(np.concatenate([[0], np.full(longer, size + 1), np.full(bins - longer, size)]))
    return np.diff(hits[edges]) / np.diff(edges)


def _bin(confidence: np.ndarray, correct: np.ndarray, low: float, high: float) -> ReliabilityBin:
    return ReliabilityBin(low, high, len(confidence), float(confidence.mean()), float(correct.mean()))
