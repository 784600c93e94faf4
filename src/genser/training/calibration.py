"""How sure a head may be: fitted to clips of speakers that it never heard, and of corpora."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from genser.model.head import Head
from genser.model.in_domain import InDomainScore
from genser.training.batches import TrainingData, balance_weights
from genser.transport.codes import probabilities

EXPONENTS = np.round(np.geomspace(0.5, 6.0, 60), 3)
"""Exponents that are tried."""

FEWEST = 50
"""Clips from which an exponent can be told at all."""

PART = 4096
"""Rows that are scored at once."""

DIRECTIONS = 8
"""By which familiarity is told. From 8 to 128, a corpus left out was told from unheard speakers equally well."""


@torch.no_grad()
def calibrate(head: Head, held_out: TrainingData) -> None:
    """Give a head the exponent under which it is as confident as it is right on speakers it has not learned from.

    With fewer than :data:`FEWEST` clips it keeps the one that it has. The order of classes does not change.
    """
    if len(held_out) < FEWEST:
        return
    device = next(head.parameters()).device
    rows = [head.eval().coordinates(part.to(device).float()).cpu() for part in held_out.features.split(PART)]
    exponent = fit_exponent(torch.cat(rows).numpy(), held_out.labels.numpy())
    head.config = replace(head.config, exponent=exponent)


def fit_exponent(coordinates: np.ndarray, labels: np.ndarray, corpora: np.ndarray | None = None) -> float:
    """Exponent of the clipped coordinates under which the answers are as confident as they are right.

    Mean confidence is matched to accuracy over held-out speakers, classes counting alike: a single exponent can do no
    more than move all confidences together, and this is the part of the calibration error that it can remove.

    Args:
        coordinates: Projections on the class codes from heads that never heard the speaker, shape (rows, classes).
        labels: Class indices, shape (rows,).
        corpora: What else counts alike, shape (rows,): first these, then the classes inside each. None for one corpus.
    """
    weights = _weights(labels, corpora)
    accuracy = weights @ (coordinates.argmax(1) == labels)
    confidences = [weights @ probabilities(coordinates, float(exponent)).max(1) for exponent in EXPONENTS]
    return float(EXPONENTS[np.abs(np.array(confidences) - accuracy).argmin()])


def _weights(labels: np.ndarray, corpora: np.ndarray | None) -> np.ndarray:
    outer = [""] * len(labels) if corpora is None else corpora.tolist()
    return balance_weights(list(zip(outer, map(str, labels.tolist()), strict=True))).numpy()


@torch.no_grad()
def fit_in_domain_score(head: Head, features: Float[Tensor, "rows states dim"], corpora: Iterable[str]) -> None:
    """Have a head tell recordings like the given ones, corpora counting alike; see :class:`InDomainScore`."""
    front = head.config.feature_transform
    weights = balance_weights([(name,) for name in corpora])
    head.in_domain = InDomainScore(front.states, front.dim, DIRECTIONS).fit(features, weights)
    head.config = replace(head.config, in_domain_components=DIRECTIONS)


@dataclass(frozen=True)
class HeldOutPredictions:
    """Clips as they were heard by heads that know nobody in them.

    Attributes:
        rows: What tells the clips from each other, shape (rows,).
        coordinates: Projections on the class codes, shape (rows, classes).
        distances: From what the head learned from, see :meth:`InDomainScore.distance`; shape (rows,).
        labels: Class indices, shape (rows,).
        corpora: Names, shape (rows,).
    """

    rows: np.ndarray
    coordinates: np.ndarray
    distances: np.ndarray
    labels: np.ndarray
    corpora: np.ndarray

    @classmethod
    def joined(cls, parts: Iterable["HeldOutPredictions"]) -> "HeldOutPredictions":
        """One after the other."""
        parts = list(parts)
        return cls(*(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(cls)))

    def where(self, chosen: np.ndarray) -> "HeldOutPredictions":
        """Those of the clips that a mask names."""
        return HeldOutPredictions(*(getattr(self, one.name)[chosen] for one in fields(self)))


@dataclass(frozen=True)
class Calibration:
    """Two exponents, and where one ends and the other begins.

    Strangers from a known corpus are understood better than their coordinates say, those from other rooms and
    languages worse. With one exponent for both a model is too unsure of the first and too sure of the second.

    Attributes:
        exponent: Exponent of familiar clips.
        out_of_domain_exponent: That of the others.
        boundary: Distance at which a clip is as likely the one as the other.
        slope: How steeply the odds fall with the distance.
    """

    exponent: float
    out_of_domain_exponent: float
    boundary: float
    slope: float

    @classmethod
    def fitted(cls, familiar: HeldOutPredictions, foreign: HeldOutPredictions) -> "Calibration":
        """Fit to both kinds; classes count alike inside a corpus, and corpora count alike.

        The boundary lies between two normal distributions of one width.
        """
        kinds = familiar, foreign
        weights = [_weights(kind.labels, kind.corpora) for kind in kinds]
        means = [weight @ kind.distances for weight, kind in zip(weights, kinds, strict=True)]
        spreads = [w @ (k.distances - mean) ** 2 for w, k, mean in zip(weights, kinds, means, strict=True)]
        exponents = [fit_exponent(kind.coordinates, kind.labels, kind.corpora) for kind in kinds]
        slope = max(float(means[1] - means[0]), 0.0) / max(float(np.mean(spreads)), 1e-12)
        return cls(*exponents, float(np.mean(means)), slope)

    def in_domain(self, distances: np.ndarray) -> np.ndarray:
        """Probability of being familiar."""
        return 1 / (1 + np.exp(np.clip(self.slope * (distances - self.boundary), -50, 50)))

    def scores(self, heard: HeldOutPredictions) -> np.ndarray:
        """Calibrated class probabilities, shape (rows, classes)."""
        share = self.in_domain(heard.distances)[:, None]
        return probabilities(
            heard.coordinates, self.out_of_domain_exponent + (self.exponent - self.out_of_domain_exponent) * share
        )

    @torch.no_grad()
    def give_to(self, head: Head) -> None:
        """Calibrate a head that has learned familiarity."""
        head.config = replace(head.config, exponent=self.exponent, out_of_domain_exponent=self.out_of_domain_exponent)
        head.in_domain.boundary.fill_(self.boundary)
        head.in_domain.slope.fill_(self.slope)
