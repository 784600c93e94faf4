"""Which classes can occur in recordings and how often: scores become the posterior over these classes (Bayes)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from genser.errors import ConfigError, suggestion


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
    def of(
        cls, labels: Sequence[str], classes: Sequence[str] | None = None, prior: Mapping[str, float] | None = None
    ) -> "ClassPrior":
        """Check classes and shares against those of a model.

        Args:
            labels: All classes of the model.
            classes: Classes that can occur, in any order; None means those of the prior, or all.
            prior: Class → share, relative to the others; None means equal shares. It must name every class that can
                occur, and no other.

        Raises:
            ConfigError: A class is unknown or given twice, fewer than two are left, or a share is missing or not a
                positive number.
        """
        chosen = list(classes if classes is not None else prior or labels)
        for name in (*chosen, *(prior or ())):
            if name not in labels:
                raise ConfigError(f"The model has no class {name!r}. {suggestion(name, labels)}")
        if len(set(chosen)) < len(chosen) or len(chosen) < 2:
            raise ConfigError(f"Name two or more different classes, got {', '.join(chosen) or 'none'}.")
        kept = tuple(label for label in labels if label in chosen)
        shares = np.array([1.0 if prior is None else prior.get(label, np.nan) for label in kept], float)
        if prior is not None and set(prior) != set(kept):
            wrong = sorted(set(prior) ^ set(kept))
            raise ConfigError(
                f"The prior must give a share to each of {', '.join(kept)} and to no other class; {', '.join(wrong)} "
                "differs."
            )
        if not (np.isfinite(shares).all() and (shares > 0).all()):
            raise ConfigError(f"The shares of the prior must be numbers above 0, got {dict(prior or {})}.")
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


def parse_classes(text: str) -> list[str]:
    """Class names of a text such as ``anger,neutral``."""
    return [name.strip() for name in text.split(",") if name.strip()]


def parse_shares(text: str) -> dict[str, float]:
    """Class → share of a text such as ``anger=0.2,neutral=0.8``.

    Raises:
        ConfigError: A part is not a class and a number, or a class is given twice.
    """
    shares: dict[str, float] = {}
    for part in parse_classes(text):
        name, sign, value = (word.strip() for word in part.partition("="))
        try:
            share = float(value)
        except ValueError:
            sign = ""
        if not sign or name in shares:
            raise ConfigError(f"The prior has the part {part!r}. Write each class once, such as anger=0.2,neutral=0.8.")
        shares[name] = share
    return shares
