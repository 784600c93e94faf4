"""Heads and encoders as scikit-learn estimators, for its pipelines, cross-validation and searches."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from genser.errors import AudioError, MissingExtraError

try:
    import torch
    from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data  # pyrefly: ignore[missing-module-attribute]
except ImportError as error:
    raise MissingExtraError("sklearn", "genser.sklearn") from error

from genser.audio import describe
from genser.config import build, override
from genser.inference.load import load
from genser.inference.recognizer import Recognizer
from genser.model.heads import make_head
from genser.training.batches import TrainingData
from genser.training.recipe import TrainConfig
from genser.training.train import train

SETTINGS: Mapping[str, Any] = {
    "network": {"width": 128, "depth": 1, "heads": 4},
    "feature_transform": {"repeat": True},
    "ridge_prior": 16.0,
    "optimizer": {"lr": 1e-3, "weight_decay": 0.01, "ema": 0.9},
    "evaluate_every": 10**9,
}
"""Keys of a recipe unless `settings` has others: a small network, which suits a few hundred rows."""


class HeadClassifier(ClassifierMixin, BaseEstimator):
    """A head of genser, trained on rows of features.

    Args:
        head: Kind of head, a key of :data:`genser.model.heads.HEADS`, such as "transport", "ridge" or "mlp".
        states: Hidden states in a row of X, whose columns are (states, dim) flattened; the last one is x_1.
        steps: Optimiser steps; a ridge regression takes none.
        settings: Further keys of a recipe, such as ``{"optimizer.lr": 1e-4}``, see
            :class:`genser.training.recipe.TrainConfig`.
        random_state: Seed of the weights and the batches.

    Attributes:
        classes_: The classes, sorted.
        head_: The trained head, in double precision.
        n_features_in_: Columns of X.
    """

    def __init__(
        self,
        head: str = "transport",
        *,
        states: int = 1,
        steps: int = 300,
        settings: Mapping[str, Any] | None = None,
        random_state: Any = None,
    ) -> None:
        self.head, self.states, self.steps, self.settings = head, states, steps, settings
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Self:
        """Train the head.

        Args:
            X: Features, shape (rows, states · dim).
            y: Class of each row.

        Raises:
            ValueError: X or y is not usable, or there are fewer than two classes.
            ConfigError: A setting is unknown or cannot be used with these features.
        """
        X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"A classifier needs two classes or more, got one class: {self.classes_[0]!r}.")
        mapping = {**SETTINGS, "head": self.head, "steps": self.steps}
        mapping["seed"] = int(check_random_state(self.random_state).randint(2**31 - 1))
        for key, value in (self.settings or {}).items():
            mapping = override(mapping, key, value)
        config = build(TrainConfig, mapping, "settings")
        features = self._tensor(X)
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            names = tuple(map(str, range(len(self.classes_))))
            head = make_head(config.head_config(names, *features.shape[1:]))
        train(head, TrainingData(features, torch.from_numpy(labels)), config)
        self.head_ = head.double().eval()
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes, shape (rows, classes)."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        with torch.inference_mode():
            return self.head_(self._tensor(X).double()).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row."""
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]

    def _tensor(self, X: np.ndarray) -> torch.Tensor:
        """Features of shape (rows, states, dim), with zeros where the codes of the classes need more dimensions."""
        if X.shape[1] % self.states:
            raise ValueError(f"X has {X.shape[1]} columns, which are no multiple of {self.states} states.")
        features = torch.from_numpy(np.ascontiguousarray(X)).unflatten(1, (self.states, -1))
        missing = 2 * len(self.classes_) + 2 - features.shape[-1]
        return torch.nn.functional.pad(features, (0, max(missing, 0)))


class SpeechEmbedder(TransformerMixin, BaseEstimator):
    """Clips as rows of features of a model's encoder, for any estimator.

    Args:
        model: As for :func:`genser.load`, or a recogniser.
        device: As for :func:`genser.load`.
    """

    def __init__(self, model: Any = "base", *, device: str = "cpu") -> None:
        self.model, self.device = model, device

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002
        """Learn nothing: the encoder is trained."""
        return self

    def transform(self, X: Sequence[Any]) -> np.ndarray:
        """Features of clips, see :meth:`genser.Recognizer.embed`.

        Args:
            X: Sources as for :meth:`genser.Recognizer.predict_many`.

        Returns:
            float32, shape (clips, states · dim).

        Raises:
            AudioError: Some clips cannot be read.
        """
        recognizer = self.model if isinstance(self.model, Recognizer) else load(self.model, device=self.device)
        features = recognizer.embed(X)
        lost = [describe(X[int(index)]) for index in np.flatnonzero(np.isnan(features).any(axis=(1, 2)))]
        if lost:
            raise AudioError(f"These clips cannot be read: {', '.join(lost)}. recognizer.predict says why.")
        return features.reshape(len(features), -1)

    def __sklearn_is_fitted__(self) -> bool:
        return True
