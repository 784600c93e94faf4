"""Everything that is measured of one set of predictions, as one value: :func:`evaluate`.

Utterances without an answer are told apart and never lost: *failed* ones (a row of NaN: the input could not be read)
and *abstentions* (confidence under a threshold). By default both count as wrong; ``missing="drop"`` scores the answered
ones alone. Either way the counts stand beside the scores. Calibration is always that of the answered utterances.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from genser.errors import ConfigError
from genser.metrics.bootstrap import Interval, Resampling, score_intervals
from genser.metrics.classification import (
    METRICS,
    NO_ANSWER,
    check_labels,
    confusion_matrix,
    decide,
    f1_scores,
    precisions,
    recalls,
)
from genser.metrics.reliability import Calibration, calibrate

MISSING = ("wrong", "drop")
_SUM_TOLERANCE = 1e-3  # room for float16 scores of a few dozen classes


@dataclass(frozen=True)
class Predictions:
    """Class probabilities of some utterances, with the truth.

    Attributes:
        probabilities: Shape (n, classes), rows that sum to 1; a row of NaN is an utterance that failed.
        labels: True class indices, shape (n,).
        classes: Class names in the order of the columns.
        speakers: Speaker of each utterance, shape (n,), or None where unknown.
    """

    probabilities: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    speakers: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name in ("probabilities", "labels"):
            object.__setattr__(self, name, np.asarray(getattr(self, name)))
        object.__setattr__(self, "classes", tuple(self.classes))
        check_labels(self.labels, len(self.classes))
        check_probabilities(self.probabilities, (len(self.labels), len(self.classes)))
        if self.speakers is not None:
            object.__setattr__(self, "speakers", np.asarray(self.speakers))
            if self.speakers.shape != self.labels.shape:
                raise ConfigError(f"{self.speakers.shape} speakers do not fit {self.labels.shape} labels")

    @classmethod
    def named(
        cls,
        probabilities: np.ndarray,
        labels: Sequence[str],
        classes: Sequence[str],
        speakers: Sequence[str] | None = None,
    ) -> "Predictions":
        """Build from label names.

        Raises:
            ConfigError: If a label is none of the classes; the message names it.
        """
        unknown = sorted(set(labels) - set(classes))
        if unknown:
            raise ConfigError(f"labels {', '.join(map(repr, unknown))} are none of the classes {', '.join(classes)}")
        index = {name: position for position, name in enumerate(classes)}
        indices = np.array([index[label] for label in labels], dtype=np.int64)
        return cls(probabilities, indices, tuple(classes), None if speakers is None else np.asarray(speakers))


@dataclass(frozen=True)
class ClassScore:
    """Scores of one class.

    Attributes:
        name: The class.
        support: Number of its utterances.
        precision: Share of the decisions for it that is right; NaN where it was never decided.
        recall: Share of its utterances that was found; NaN where it has none.
        f1: Harmonic mean of both; NaN where it was neither true nor decided.
    """

    name: str
    support: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Evaluation:
    """What was measured; shares lie in [0, 1].

    Attributes:
        classes: Class names.
        utterances: Utterances that were scored.
        failed: Utterances whose input failed.
        abstained: Utterances that got no answer for lack of confidence.
        missing: Whether those count as ``"wrong"`` or were ``"drop"``-ped from the scores.
        wa: Accuracy.
        ua: Mean recall over the classes present in the labels.
        macro_f1: Mean F1 over the classes that are true or decided somewhere.
        weighted_f1: Mean F1 weighted by support.
        floor_wa: Accuracy of always answering the most frequent class ("always neutral" on MELD).
        floor_ua: UA of the same answer, one over the number of present classes.
        per_class: Scores of each class.
        confusion: Counts, a row a true class, a column a decided class and one more for no answer.
        calibration: Calibration of the answered utterances; None where nothing was answered.
        intervals: Bootstrap interval of each of the four scores; empty if not asked for.
    """

    classes: tuple[str, ...]
    utterances: int
    failed: int
    abstained: int
    missing: str
    wa: float
    ua: float
    macro_f1: float
    weighted_f1: float
    floor_wa: float
    floor_ua: float
    per_class: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]
    calibration: Calibration | None
    intervals: Mapping[str, Interval]

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON; undefined scores (NaN) become None."""
        return _finite(asdict(self))


def evaluate(
    predictions: Predictions,
    *,
    abstain_below: float = 0.0,
    missing: str = "wrong",
    resampling: Resampling | None = None,
) -> Evaluation:
    """Score predictions.

    Args:
        predictions: Probabilities, labels, classes and, if known, speakers.
        abstain_below: Confidence under which the answer is withheld.
        missing: Whether utterances without an answer count as ``"wrong"`` or are left out (``"drop"``).
        resampling: How bootstrap intervals are drawn (by speaker where known); None computes none.

    Raises:
        ConfigError: If `missing` is unknown, or nothing is left to score.
    """
    if missing not in MISSING:
        raise ConfigError(f"missing must be one of {', '.join(MISSING)}, got {missing!r}")
    decisions = decide(predictions.probabilities, abstain_below=abstain_below)
    failed = np.isnan(predictions.probabilities).any(axis=1)
    silent = decisions == NO_ANSWER
    kept = ~silent if missing == "drop" else np.ones_like(silent)
    if not kept.any():
        raise ConfigError(f"none of {len(silent)} utterances was answered: lower abstain_below or count them as wrong")
    return Evaluation(
        classes=predictions.classes,
        utterances=int(kept.sum()),
        failed=int(failed.sum()),
        abstained=int((silent & ~failed).sum()),
        missing=missing,
        calibration=_calibration(predictions, ~silent),
        intervals=_intervals(predictions, decisions, kept, resampling),
        **_scores(predictions, decisions, kept),
    )


def evaluate_steps(
    probabilities: Mapping[int, np.ndarray], predictions: Predictions, *, resampling: Resampling | None = None
) -> dict[int, Evaluation]:
    """Evaluate several numbers of transport steps N (the paper's Table 3).

    Args:
        probabilities: N → probabilities of shape (n, classes) for the utterances of `predictions`.
        predictions: Labels, classes and speakers of these utterances.
        resampling: How bootstrap intervals are drawn; None computes none.
    """
    truth = (predictions.labels, predictions.classes, predictions.speakers)
    return {
        steps: evaluate(Predictions(probabilities[steps], *truth), resampling=resampling)
        for steps in sorted(probabilities)
    }


def check_probabilities(probabilities: np.ndarray, shape: tuple[int, ...]) -> None:
    """Refuse what are no probabilities; rows of NaN pass.

    Raises:
        ConfigError: If the shape differs, a row is partly NaN, a value is negative, or a row does not sum to 1.
    """
    if probabilities.shape != shape:
        raise ConfigError(f"probabilities have shape {probabilities.shape}, but labels and classes ask for {shape}")
    undefined = np.isnan(probabilities)
    answered = probabilities[~undefined.all(axis=-1)]
    if np.isnan(answered).any():
        raise ConfigError("a row of probabilities is partly NaN: an utterance that failed has NaN in every column")
    wrong = (answered < 0).any(axis=-1) | (np.abs(answered.sum(axis=-1) - 1) > _SUM_TOLERANCE)
    if wrong.any():
        raise ConfigError(f"scores {answered[wrong][0]} are no probabilities: rows must be >= 0 and sum to 1")


def _scores(predictions: Predictions, decisions: np.ndarray, kept: np.ndarray) -> dict[str, object]:
    confusion = confusion_matrix(predictions.labels[kept], decisions[kept], len(predictions.classes))
    support = confusion.sum(axis=1)
    columns = zip(
        predictions.classes,
        support.tolist(),
        precisions(confusion).tolist(),
        recalls(confusion).tolist(),
        f1_scores(confusion).tolist(),
        strict=True,
    )
    return {
        **{name: float(score(confusion)) for name, score in METRICS.items()},
        "floor_wa": float(support.max() / support.sum()),
        "floor_ua": float(1 / np.count_nonzero(support)),
        "per_class": tuple(ClassScore(*column) for column in columns),
        "confusion": tuple(tuple(row) for row in confusion.tolist()),
    }


def _calibration(predictions: Predictions, answered: np.ndarray) -> Calibration | None:
    if not answered.any():
        return None
    return calibrate(predictions.probabilities[answered], predictions.labels[answered])


def _intervals(
    predictions: Predictions, decisions: np.ndarray, kept: np.ndarray, resampling: Resampling | None
) -> dict[str, Interval]:
    if resampling is None:
        return {}
    speakers = None if predictions.speakers is None else predictions.speakers[kept]
    several = speakers is not None and len(set(speakers.tolist())) > 1
    return score_intervals(
        decisions[kept],
        predictions.labels[kept],
        classes=len(predictions.classes),
        groups=speakers if several else None,
        resampling=resampling,
    )


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
