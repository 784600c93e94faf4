"""Compute every score of one set of predictions: :func:`evaluate`.

An utterance whose input could not be read has a row of NaN. It counts as wrong, and the number of such utterances is
reported. Calibration is measured on the answered utterances.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from genser.errors import ConfigError
from genser.metrics.bootstrap import Interval, Resampling
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
from genser.metrics.few import intervals_of
from genser.metrics.reliability import Calibration, calibrate

_SUM_TOLERANCE = 1e-3  # allows for float16 scores of a few dozen classes


@dataclass(frozen=True)
class Predictions:
    """Class probabilities of some utterances, with their true labels.

    Attributes:
        probabilities: Shape (n, classes), rows sum to 1; a row of NaN is an utterance that failed.
        labels: True class indices, shape (n,).
        classes: Class names in the order of the columns.
        speakers: Speaker of each utterance, shape (n,), or None if unknown.

    Raises:
        ConfigError: Shapes differ, an index is out of range, or a row holds no probabilities.
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
                raise ConfigError(
                    f"Speakers of shape {self.speakers.shape} do not fit labels of shape {self.labels.shape}."
                )

    @classmethod
    def named(
        cls,
        probabilities: np.ndarray,
        labels: Sequence[str],
        classes: Sequence[str],
        speakers: Sequence[str] | None = None,
    ) -> "Predictions":
        """Make predictions from class names instead of class indices.

        Raises:
            ConfigError: A label is not one of the classes.
        """
        unknown = sorted(set(labels) - set(classes))
        if unknown:
            raise ConfigError(f"Labels {', '.join(map(repr, unknown))} are not among the classes {', '.join(classes)}.")
        index = {name: position for position, name in enumerate(classes)}
        indices = np.array([index[label] for label in labels], dtype=np.int64)
        return cls(probabilities, indices, tuple(classes), None if speakers is None else np.asarray(speakers))


@dataclass(frozen=True)
class ClassScore:
    """Scores of one class.

    Attributes:
        name: The class.
        support: Number of its utterances.
        precision: Share of correct decisions among the decisions for it; NaN if it was never decided.
        recall: Share of its utterances that were decided correctly; NaN if it has no utterances.
        f1: Harmonic mean of both; NaN if it was neither true nor decided.
    """

    name: str
    support: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Evaluation:
    """All scores of one set of predictions; shares lie in [0, 1].

    Attributes:
        classes: Class names.
        utterances: Number of utterances.
        failed: Number of utterances without an answer; they count as wrong.
        wa: Accuracy.
        ua: Mean recall over the classes that occur in the labels.
        macro_f1: Mean F1 over the classes that are true or decided at least once.
        weighted_f1: Mean F1 weighted by support.
        floor_wa: Accuracy of always deciding the most frequent class ("always neutral" on MELD).
        floor_ua: UA of the same decision: one over the number of classes that occur.
        per_class: Scores of each class.
        confusion: Counts; one row per true class, one column per decided class and a last column for no answer.
        calibration: Calibration of the answered utterances; None if none was answered.
        intervals: Bootstrap intervals of the four scores, without those that would mislead; empty if not requested.
        interval_remarks: One sentence for each limit of the intervals, see :func:`genser.metrics.few.intervals_of`.
    """

    classes: tuple[str, ...]
    utterances: int
    failed: int
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
    interval_remarks: tuple[str, ...]


def evaluate(predictions: Predictions, *, resampling: Resampling | None = None) -> Evaluation:
    """Score predictions.

    Args:
        predictions: Probabilities, labels, classes and, if known, speakers.
        resampling: How bootstrap intervals are drawn; None computes none.
    """
    decisions = decide(predictions.probabilities)
    answered = decisions != NO_ANSWER
    confusion = confusion_matrix(predictions.labels, decisions, len(predictions.classes))
    support = confusion.sum(axis=1)
    columns = (predictions.classes, support, precisions(confusion), recalls(confusion), f1_scores(confusion))
    intervals, remarks = {}, ()
    if resampling is not None:
        intervals, remarks = intervals_of(
            decisions, predictions.labels, predictions.classes, predictions.speakers, resampling
        )
    return Evaluation(
        classes=predictions.classes,
        utterances=len(decisions),
        failed=int((~answered).sum()),
        **{name: float(score(confusion)) for name, score in METRICS.items()},
        floor_wa=float(support.max() / support.sum()),
        floor_ua=float(1 / np.count_nonzero(support)),
        per_class=tuple(
            ClassScore(name, int(count), *map(float, scores)) for name, count, *scores in zip(*columns, strict=True)
        ),
        confusion=tuple(map(tuple, confusion.tolist())),
        calibration=calibrate(predictions.probabilities[answered], predictions.labels[answered])
        if answered.any()
        else None,
        intervals=intervals,
        interval_remarks=remarks,
    )


def check_probabilities(probabilities: np.ndarray, shape: tuple[int, ...]) -> None:
    """Refuse arrays that hold no probabilities; rows of NaN pass.

    Raises:
        ConfigError: The shape differs, a row is partly NaN, a value is negative, or a row does not sum to 1.
    """
    if probabilities.shape != shape:
        raise ConfigError(f"Probabilities have shape {probabilities.shape}, but labels and classes require {shape}.")
    undefined = np.isnan(probabilities)
    answered = probabilities[~undefined.all(axis=-1)]
    if np.isnan(answered).any():
        raise ConfigError(
            "A row of probabilities has NaN in some columns only. A clip that failed needs NaN in all of them."
        )
    wrong = (answered < 0).any(axis=-1) | (np.abs(answered.sum(axis=-1) - 1) > _SUM_TOLERANCE)
    if wrong.any():
        raise ConfigError(f"Scores {answered[wrong][0]} are not probabilities. Rows must be >= 0 and sum to 1.")
