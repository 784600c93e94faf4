"""Which classes can occur in recordings and how often: scores become the posterior over these classes (Bayes)."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from genser.config import is_number
from genser.errors import ConfigError, suggestion
from genser.inference.prediction import NO_SPEECH, Prediction

Classes = Sequence[str] | str | None
Shares = Mapping[str, float] | str | None


@dataclass(frozen=True)
class ClassPrior:
    """The classes that can occur, and their shares.

    A model's scores p(b | sound) assume that all its classes are equally frequent. With the shares π of the recordings,
    Bayes' rule gives p'(b | sound) = π_b·p(b | sound) / Σ π·p.

    Attributes:
        labels: Classes that can occur, in the model's order.
        indices: Their positions among the model's classes.
        shares: Their shares, shape (classes,), which sum to 1.
    """

    labels: tuple[str, ...]
    indices: np.ndarray
    shares: np.ndarray

    @classmethod
    def of(cls, labels: Sequence[str], classes: Classes = None, prior: Shares = None) -> "ClassPrior":
        """Check classes and shares against those of a model.

        Args:
            labels: All classes of the model.
            classes: Classes that can occur, in any order, also as text: ``"anger,neutral"``; None means those of the
                prior, or all.
            prior: Class → share, relative to the others, also as text: ``"anger=0.2,neutral=0.8"``; None means equal
                shares. It must name every class that can occur, and no other.

        Raises:
            ConfigError: A class is unknown or given twice, fewer than two are left, or a share is missing or not a
                positive number.
        """
        classes = _parts(classes) if isinstance(classes, str) else classes
        prior = _parsed_shares(prior) if isinstance(prior, str) else prior
        chosen = list(classes if classes is not None else prior or labels)
        for name in (*chosen, *(prior or ())):
            if name not in labels:
                raise ConfigError(f"The model has no class {name!r}. {suggestion(name, labels)}")
        is_chosen = classes is not None or prior is not None
        if is_chosen and (len(set(chosen)) < len(chosen) or len(chosen) < 2):
            raise ConfigError(
                f"Name two or more different classes that can occur, got {', '.join(chosen) or 'none'}. A prior names "
                "every class that can occur, such as anger=0.2,neutral=0.8."
            )
        kept = tuple(label for label in labels if label in chosen)
        if prior is not None and set(prior) != set(kept):
            missing, further = sorted(set(kept) - set(prior)), sorted(set(prior) - set(kept))
            wrong = f"{', '.join(missing)} has no share" if missing else f"{', '.join(further)} is not one of them"
            raise ConfigError(f"The prior must give a share to each of {', '.join(kept)} and to no other: {wrong}.")
        given = {label: 1.0 if prior is None else prior[label] for label in kept}
        if not all(is_number(share) and 0 < share <= sys.float_info.max for share in given.values()):
            raise ConfigError(f"The shares of the prior must be numbers above 0, got {given}.")
        shares = np.array(list(given.values()), float)
        shares /= shares.max()  # their sum may be beyond the largest number
        return cls(kept, np.array([labels.index(label) for label in kept]), shares / shares.sum())

    def posterior(self, scores: np.ndarray) -> np.ndarray:
        """Scores under this prior.

        Args:
            scores: The model's probabilities, shape (..., all classes). NaN stays NaN.

        Returns:
            Shape (..., classes that can occur), every row sums to 1. Where the model excludes all of them, the shares.
        """
        if len(self.indices) == scores.shape[-1] and np.ptp(self.shares) == 0:
            return scores
        joint = scores[..., self.indices] * self.shares
        total = joint.sum(-1, keepdims=True)
        return np.where(total > 0, joint / np.where(total > 0, total, 1), joint + self.shares).astype(scores.dtype)

    def applied(self, prediction: Prediction) -> Prediction:
        """A prediction of all classes of the model under this prior; a failed one stays as it is."""
        if prediction.error is not None:
            return prediction
        scores = self.posterior(np.array(list(prediction.scores.values())))
        label = prediction.label if prediction.label == NO_SPEECH else self.labels[int(scores.argmax())]
        return replace(prediction, label=label, scores=dict(zip(self.labels, scores.tolist(), strict=True)))


def _parsed_shares(text: str) -> dict[str, float]:
    shares: dict[str, float] = {}
    for part in _parts(text):
        name, sign, value = (word.strip() for word in part.partition("="))
        try:
            share = float(value)
        except ValueError:
            sign, share = "", 0.0
        if not sign or name in shares:
            raise ConfigError(f"The prior has the part {part!r}. Write each class once, such as anger=0.2,neutral=0.8.")
        shares[name] = share
    return shares


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
