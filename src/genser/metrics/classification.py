"""Scores that a confusion matrix determines: WA, UA, F1, precision and recall.

Rows are true classes; columns are decided classes, plus one last column for utterances that got no answer
(:data:`NO_ANSWER`: an input that failed, or an abstention). An utterance without an answer lowers recall and accuracy
as a wrong one does, but is no false positive of any class. Every score takes a stack of matrices,
shape (…, classes, classes + 1), so that thousands of bootstrap resamples are scored in one call.
"""

from collections.abc import Callable

import numpy as np

from genser.errors import ConfigError

NO_ANSWER = -1


def decide(probabilities: np.ndarray, *, abstain_below: float = 0.0) -> np.ndarray:
    """Choose the class of the highest probability.

    Args:
        probabilities: Shape (…, classes). A row of NaN stands for an input that failed.
        abstain_below: Confidence under which no answer is given.

    Returns:
        Class indices of shape (…); :data:`NO_ANSWER` for failures and abstentions.
    """
    failed = np.isnan(probabilities).any(axis=-1)
    known = np.where(failed[..., None], 0.0, probabilities)
    silent = failed | (known.max(axis=-1) < abstain_below)
    return np.where(silent, NO_ANSWER, known.argmax(axis=-1))


def confusion_matrix(labels: np.ndarray, decisions: np.ndarray, classes: int) -> np.ndarray:
    """Count how often each true class was decided as each class.

    Args:
        labels: True class indices, shape (n,), each in [0, classes).
        decisions: Decided class indices, shape (n,); :data:`NO_ANSWER` where there is none.
        classes: Number of classes.

    Returns:
        Integer counts of shape (classes, classes + 1); the last column counts the utterances without an answer.

    Raises:
        ConfigError: If the shapes differ or an index is out of range.
    """
    labels, decisions = np.asarray(labels), np.asarray(decisions)
    check_labels(labels, classes)
    if decisions.shape != labels.shape:
        raise ConfigError(f"{decisions.shape} decisions do not fit {labels.shape} labels: give one decision a label")
    if decisions.size and (decisions.min() < NO_ANSWER or decisions.max() >= classes):
        raise ConfigError(f"decisions must lie in [-1, {classes}), got [{decisions.min()}, {decisions.max()}]")
    return np.bincount(cells(labels, decisions, classes), minlength=classes * (classes + 1)).reshape(classes, -1)


def check_labels(labels: np.ndarray, classes: int) -> None:
    """Refuse labels that are not class indices.

    Raises:
        ConfigError: If there are none, they are no integers, not one-dimensional, or out of range.
    """
    if labels.ndim != 1 or not labels.size:
        raise ConfigError(f"scores need labels of shape (n,) with n > 0, got shape {labels.shape}")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ConfigError(f"labels must be class indices, got {labels.dtype}: map names to indices first")
    if labels.min() < 0 or labels.max() >= classes:
        raise ConfigError(f"labels must lie in [0, {classes}), got [{labels.min()}, {labels.max()}]")


def cells(labels: np.ndarray, decisions: np.ndarray, classes: int) -> np.ndarray:
    """Flat index of the confusion matrix' cell that each utterance falls into, for decisions of shape (…, n)."""
    columns = np.where(decisions == NO_ANSWER, classes, decisions)
    return labels * (classes + 1) + columns


def recalls(confusion: np.ndarray) -> np.ndarray:
    """Recall of each class, shape (…, classes); NaN where a class has no utterance."""
    return _ratio(_hits(confusion), confusion.sum(axis=-1))


def precisions(confusion: np.ndarray) -> np.ndarray:
    """Precision of each class, shape (…, classes); NaN where a class was never decided."""
    return _ratio(_hits(confusion), confusion[..., :-1].sum(axis=-2))


def f1_scores(confusion: np.ndarray) -> np.ndarray:
    """F1 of each class, 2·TP / (2·TP + FP + FN), shape (…, classes); NaN where a class is neither true nor decided."""
    return _ratio(2 * _hits(confusion), confusion.sum(axis=-1) + confusion[..., :-1].sum(axis=-2))


def weighted_accuracy(confusion: np.ndarray) -> np.ndarray:
    """WA, the share of utterances that were decided rightly (the field's name for plain accuracy)."""
    return _hits(confusion).sum(axis=-1) / confusion.sum(axis=(-2, -1))


def unweighted_accuracy(confusion: np.ndarray) -> np.ndarray:
    """UA, the mean recall over the classes that are present among the labels (balanced accuracy)."""
    return _mean_defined(recalls(confusion))


def macro_f1(confusion: np.ndarray) -> np.ndarray:
    """Mean F1 over the classes that are true or decided somewhere, as scikit-learn (and so EmoBox) averages it."""
    return _mean_defined(f1_scores(confusion))


def weighted_f1(confusion: np.ndarray) -> np.ndarray:
    """Mean F1 weighted by how often each class is true."""
    support = confusion.sum(axis=-1)
    return (np.nan_to_num(f1_scores(confusion)) * support).sum(axis=-1) / support.sum(axis=-1)


METRICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "wa": weighted_accuracy,
    "ua": unweighted_accuracy,
    "macro_f1": macro_f1,
    "weighted_f1": weighted_f1,
}


def metric_named(name: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return the score called `name`.

    Raises:
        ConfigError: If there is none; the message lists the known ones.
    """
    if name not in METRICS:
        raise ConfigError(f"unknown metric {name!r}: choose from {', '.join(METRICS)}")
    return METRICS[name]


def _hits(confusion: np.ndarray) -> np.ndarray:
    return np.diagonal(confusion, axis1=-2, axis2=-1)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    undefined = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator > 0)


def _mean_defined(values: np.ndarray) -> np.ndarray:
    defined = ~np.isnan(values)
    return np.where(defined, values, 0.0).sum(axis=-1) / defined.sum(axis=-1)
