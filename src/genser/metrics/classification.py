"""Scores computed from a confusion matrix: WA, UA, F1, precision and recall.

Rows are true classes. Columns are decided classes, plus one last column for utterances without an answer
(:data:`NO_ANSWER`: the input could not be read). Such an utterance lowers recall and accuracy like a wrong answer, but
it is a false positive of no class. Every score takes a stack of matrices of shape (…, classes, classes + 1), so
thousands of bootstrap resamples are scored in one call.
"""

from collections.abc import Callable

import numpy as np

from genser.errors import ConfigError, suggestion

NO_ANSWER = -1
"""Decision for an utterance without an answer."""


def decide(probabilities: np.ndarray) -> np.ndarray:
    """Choose the class with the highest probability.

    Args:
        probabilities: Shape (…, classes). A row of NaN stands for an input that failed.

    Returns:
        Class indices of shape (…); :data:`NO_ANSWER` for inputs that failed.
    """
    failed = np.isnan(probabilities).any(axis=-1)
    return np.where(failed, NO_ANSWER, np.nan_to_num(probabilities).argmax(axis=-1))


def confusion_matrix(labels: np.ndarray, decisions: np.ndarray, classes: int) -> np.ndarray:
    """Count how often each true class was decided as each class.

    Args:
        labels: True class indices, shape (n,), each in [0, classes).
        decisions: Decided class indices, shape (n,); :data:`NO_ANSWER` where there is no answer.
        classes: Number of classes.

    Returns:
        Integer counts of shape (classes, classes + 1); the last column counts the utterances without an answer.

    Raises:
        ConfigError: The shapes differ or an index is out of range.
    """
    labels, decisions = np.asarray(labels), np.asarray(decisions)
    check_labels(labels, classes)
    if decisions.shape != labels.shape:
        raise ConfigError(
            f"Decisions of shape {decisions.shape} do not fit labels of shape {labels.shape}. Give one per label."
        )
    if decisions.size and (decisions.min() < NO_ANSWER or decisions.max() >= classes):
        raise ConfigError(f"Decisions must lie in [-1, {classes}), got [{decisions.min()}, {decisions.max()}].")
    return np.bincount(cells(labels, decisions, classes), minlength=classes * (classes + 1)).reshape(classes, -1)


def confusion_matrices(labels: np.ndarray, decisions: np.ndarray, classes: int) -> np.ndarray:
    """Confusion matrix of each seed, shape (seeds, classes, classes + 1), for decisions of shape (seeds, n)."""
    return np.stack([confusion_matrix(labels, one, classes) for one in decisions])


def check_labels(labels: np.ndarray, classes: int) -> None:
    """Refuse labels that are not class indices.

    Raises:
        ConfigError: The labels are empty, not one-dimensional, no integers, or out of range.
    """
    if labels.ndim != 1 or not labels.size:
        raise ConfigError(f"Scores need labels of shape (n,) with n > 0, got shape {labels.shape}.")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ConfigError(f"Labels must be class indices, got {labels.dtype}. Map names to indices first.")
    if labels.min() < 0 or labels.max() >= classes:
        raise ConfigError(f"Labels must lie in [0, {classes}), got [{labels.min()}, {labels.max()}].")


def cells(labels: np.ndarray, decisions: np.ndarray, classes: int) -> np.ndarray:
    """Flat index of the cell of the confusion matrix that counts each utterance, for decisions of shape (…, n)."""
    return labels * (classes + 1) + np.where(decisions == NO_ANSWER, classes, decisions)


def recalls(confusion: np.ndarray) -> np.ndarray:
    """Recall of each class, shape (…, classes); NaN for a class without utterances."""
    return _ratio(_hits(confusion), confusion.sum(axis=-1))


def precisions(confusion: np.ndarray) -> np.ndarray:
    """Precision of each class, shape (…, classes); NaN for a class that was never decided."""
    return _ratio(_hits(confusion), confusion[..., :-1].sum(axis=-2))


def f1_scores(confusion: np.ndarray) -> np.ndarray:
    """F1 of each class, 2·TP / (2·TP + FP + FN), shape (…, classes); NaN for a class neither true nor decided."""
    return _ratio(2 * _hits(confusion), confusion.sum(axis=-1) + confusion[..., :-1].sum(axis=-2))


def weighted_accuracy(confusion: np.ndarray) -> np.ndarray:
    """WA: the share of correct decisions (the field's name for plain accuracy)."""
    return _hits(confusion).sum(axis=-1) / confusion.sum(axis=(-2, -1))


def unweighted_accuracy(confusion: np.ndarray) -> np.ndarray:
    """UA: the mean recall over the classes that occur in the labels (balanced accuracy)."""
    return _mean_defined(recalls(confusion))


def macro_f1(confusion: np.ndarray) -> np.ndarray:
    """Mean F1 over the classes that are true or decided at least once, as in scikit-learn and EmoBox."""
    return _mean_defined(f1_scores(confusion))


def weighted_f1(confusion: np.ndarray) -> np.ndarray:
    """Mean F1, weighted by the number of utterances of each class."""
    support = confusion.sum(axis=-1)
    return (np.nan_to_num(f1_scores(confusion)) * support).sum(axis=-1) / support.sum(axis=-1)


METRICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "wa": weighted_accuracy,
    "ua": unweighted_accuracy,
    "macro_f1": macro_f1,
    "weighted_f1": weighted_f1,
}
"""Name → score of a stack of confusion matrices."""


def metric_named(name: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return the score with the given name.

    Raises:
        ConfigError: There is no such score.
    """
    if name not in METRICS:
        raise ConfigError(f"There is no metric {name!r}. {suggestion(name, METRICS)}")
    return METRICS[name]


def _hits(confusion: np.ndarray) -> np.ndarray:
    return np.diagonal(confusion, axis1=-2, axis2=-1)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    undefined = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator > 0)


def _mean_defined(values: np.ndarray) -> np.ndarray:
    defined = ~np.isnan(values)
    return np.where(defined, values, 0.0).sum(axis=-1) / defined.sum(axis=-1)
