"""Calibrate a head on held-out predictions: exponents of the scores, and the boundary of the in-domain score."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from genser.metrics.classification import confusion_matrix, unweighted_accuracy
from genser.model.head import Head
from genser.model.in_domain import InDomainScore
from genser.training.batches import TrainingData, balance_weights
from genser.transport.codes import probabilities

EXPONENTS = np.round(np.geomspace(0.5, 6.0, 60), 3)
"""Candidate exponents."""

FEWEST = 50
"""Clips that fitting an exponent needs at least."""

PART = 4096
"""Rows that are scored at once."""

COMPONENTS = 8
"""Principal components of the in-domain score. From 8 to 128, they separate held-out corpora equally well."""


def fit_exponent(coordinates: np.ndarray, labels: np.ndarray, corpora: np.ndarray | None = None) -> float:
    """Fit the exponent of the clipped coordinates under which the mean confidence equals the accuracy.

    An exponent raises or lowers all confidences together, so it can remove this part of the calibration error only. It
    does not change the order of the classes.

    Args:
        coordinates: Held-out evidence for each class, see :meth:`Head.coordinates`, shape (rows, classes).
        labels: Class indices, shape (rows,); classes count alike.
        corpora: Corpus of each row, shape (rows,): corpora count alike, and classes within each. None is one corpus.
    """
    names = np.zeros(len(labels)) if corpora is None else corpora
    parts = [names == name for name in np.unique(names)]
    return best_exponent([overconfidence(coordinates[part], labels[part]) for part in parts])


def overconfidence(coordinates: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean confidence minus accuracy on one corpus with each of :data:`EXPONENTS`; classes count alike."""
    weights = _weights(labels, None)
    accuracy = weights @ (coordinates.argmax(1) == labels)
    return np.array([weights @ probabilities(coordinates, float(one)).max(1) for one in EXPONENTS]) - accuracy


def best_exponent(corpora: Sequence[np.ndarray]) -> float:
    """The exponent at which the mean :func:`overconfidence` of some corpora is closest to 0."""
    return float(EXPONENTS[np.abs(np.mean(corpora, axis=0)).argmin()])


def _weights(labels: np.ndarray, corpora: np.ndarray | None) -> np.ndarray:
    outer = [""] * len(labels) if corpora is None else corpora.tolist()
    return balance_weights(list(zip(outer, map(str, labels.tolist()), strict=True))).numpy()


@torch.no_grad()
def fit_in_domain_score(head: Head, features: Float[Tensor, "rows states dim"], corpora: Iterable[str]) -> None:
    """Give a head the in-domain score of its training rows, corpora counting alike; see :class:`InDomainScore`."""
    rows, states, dim = features.shape
    components = min(COMPONENTS, states * dim - 1, rows - 1)
    weights = balance_weights([(name,) for name in corpora]).to(head.device)
    head.in_domain = InDomainScore(states, dim, components).to(head.device).fit(features.to(head.device), weights)
    head.config = replace(head.config, in_domain_components=components)


def drop_in_domain_score(head: Head) -> None:
    """Remove the in-domain score of a head, if it has one."""
    if head.config.in_domain_components:
        del head.in_domain
        head.config = replace(head.config, in_domain_components=0)


@dataclass(frozen=True)
class HeldOutPredictions:
    """Predictions of clips by heads that were not trained on their speakers, or not on their corpora.

    Attributes:
        rows: Indices of the clips, shape (rows,).
        coordinates: Evidence for each class before calibration, shape (rows, classes).
        distances: Distance from the training rows, see :meth:`InDomainScore.distance`, shape (rows,); 0 without an
            in-domain score.
        labels: Class indices, shape (rows,).
        corpora: Names, shape (rows,).
    """

    rows: np.ndarray
    coordinates: np.ndarray
    distances: np.ndarray
    labels: np.ndarray
    corpora: np.ndarray

    @classmethod
    @torch.inference_mode()
    def of(cls, head: Head, rows: np.ndarray, data: TrainingData, corpora: np.ndarray) -> "HeldOutPredictions":
        """Predict some rows.

        Args:
            head: In evaluation mode.
            rows: Indices of the rows.
            data: Their features and labels.
            corpora: Their corpora.
        """
        device = head.device
        parts = [part.to(device).float() for part in data.features.split(PART)]
        coordinates = torch.cat([head.coordinates(part) for part in parts]).cpu().numpy()
        distances = np.zeros(len(rows))
        if head.config.in_domain_components:
            distances = torch.cat([head.in_domain.distance(part) for part in parts]).cpu().numpy()
        return cls(rows, coordinates, distances, data.labels.numpy(), corpora)

    @property
    def ua(self) -> float:
        """Unweighted accuracy."""
        confusion = confusion_matrix(self.labels, self.coordinates.argmax(1), self.coordinates.shape[1])
        return float(unweighted_accuracy(confusion))

    @property
    def by_corpus(self) -> dict[str, "HeldOutPredictions"]:
        """The predictions of each corpus by itself."""
        return {name: self.where(self.corpora == name) for name in sorted(set(self.corpora.tolist()))}

    @classmethod
    def joined(cls, parts: Iterable["HeldOutPredictions"]) -> "HeldOutPredictions":
        """Concatenate predictions."""
        parts = list(parts)
        return cls(*(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(cls)))

    def where(self, chosen: np.ndarray) -> "HeldOutPredictions":
        """Predictions of the clips for which a mask is true."""
        return HeldOutPredictions(*(getattr(self, one.name)[chosen] for one in fields(self)))


@dataclass(frozen=True)
class Calibration:
    """Exponents for in-domain and out-of-domain clips, and the boundary between them.

    Unseen speakers of a training corpus score higher than their confidence suggests, clips of other rooms and languages
    lower. With one exponent for both a model is underconfident on the first and overconfident on the second.

    Attributes:
        exponent: Exponent of in-domain clips.
        out_of_domain_exponent: Exponent of out-of-domain clips.
        boundary: Distance at which a clip is as likely in-domain as out-of-domain.
        slope: How steeply the odds fall with the distance.
    """

    exponent: float
    out_of_domain_exponent: float
    boundary: float
    slope: float

    @classmethod
    def fitted(cls, inside: HeldOutPredictions, outside: HeldOutPredictions) -> "Calibration":
        """Fit to in-domain and out-of-domain predictions.

        Corpora count alike, and classes within each. The boundary separates two normal distributions of one width.
        """
        kinds = inside, outside
        weights = [_weights(kind.labels, kind.corpora) for kind in kinds]
        means = [weight @ kind.distances for weight, kind in zip(weights, kinds, strict=True)]
        spreads = [w @ (k.distances - mean) ** 2 for w, k, mean in zip(weights, kinds, means, strict=True)]
        inner, outer = (fit_exponent(kind.coordinates, kind.labels, kind.corpora) for kind in kinds)
        slope = max(float(means[1] - means[0]), 0.0) / max(float(np.mean(spreads)), 1e-12)
        return cls(inner, outer, float(np.mean(means)), slope)

    def in_domain(self, distances: np.ndarray) -> np.ndarray:
        """Probability of being in-domain."""
        return 1 / (1 + np.exp(np.clip(self.slope * (distances - self.boundary), -50, 50)))

    def scores(self, predictions: HeldOutPredictions) -> np.ndarray:
        """Calibrated class probabilities, shape (rows, classes)."""
        share = self.in_domain(predictions.distances)[:, None]
        exponents = self.out_of_domain_exponent + (self.exponent - self.out_of_domain_exponent) * share
        return probabilities(predictions.coordinates, exponents)

    @torch.no_grad()
    def apply(self, head: Head) -> None:
        """Calibrate a head that has an in-domain score."""
        head.config = replace(head.config, exponent=self.exponent, out_of_domain_exponent=self.out_of_domain_exponent)
        head.in_domain.boundary.fill_(self.boundary)
        head.in_domain.slope.fill_(self.slope)


def calibrate(head: Head, inside: HeldOutPredictions, outside: HeldOutPredictions | None = None) -> Calibration | None:
    """Calibrate a head on held-out predictions.

    Args:
        head: Changed in place. With ``outside`` it has an in-domain score.
        inside: Predictions of unseen speakers of the training corpora. With fewer than :data:`FEWEST` the head stays
            as it is.
        outside: Predictions of unseen corpora; None fits one exponent for all clips.

    Returns:
        The calibration with ``outside``, else None.
    """
    if len(inside.rows) < FEWEST:
        return None
    if outside is None or len(outside.rows) < FEWEST:
        head.config = replace(head.config, exponent=fit_exponent(inside.coordinates, inside.labels, inside.corpora))
        return None
    calibration = Calibration.fitted(inside, outside)
    calibration.apply(head)
    return calibration
