"""Baseline heads, trained by the same code on the same rows with the same mix-up and noise as the transport head.

They show what the transport adds. :class:`LinearHead` and :class:`MlpHead` are classification layers over learned
layer weights (Table 1's "CLS"). :class:`RidgeHead` is the ridge prior of the transport head alone. :class:`NetworkHead`
is the estimator's own network trained by cross-entropy. :class:`RegressionHead` is the same network regressed to the
codes without a path.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from genser.model.estimator import Ensemble, make_estimator
from genser.model.head import CodedHead, Head, HeadConfig
from genser.model.ridge import RidgePrior
from genser.transport import Objective, Sampler
from genser.transport.codes import projections


class Classifier(Head):
    """A head that gives one logit per class and is trained by cross-entropy with class shares as the target."""

    def logits(self, states: Tensor) -> Tensor:
        """Logits (batch, classes) of transformed hidden states (batch, states, dim)."""
        raise NotImplementedError

    def example(self, x_1: Tensor, X_c: Tensor, target: Tensor, objective: Objective) -> tuple[Tensor, ...]:  # noqa: ARG002
        """All hidden states and the class shares."""
        return torch.cat([X_c, x_1[:, None]], dim=1), target

    def loss(self, *example: Tensor) -> Tensor:
        """Cross-entropy."""
        states, target = example
        return functional.cross_entropy(self.logits(states), target)

    def coordinates(self, features: Tensor, sampler: Sampler | None = None) -> Tensor:  # noqa: ARG002
        """Softmax probabilities."""
        return self.logits(self.feature_transform(features)).softmax(-1)


class MajorityHead(Classifier):
    """Always the most frequent class of the training rows: the least that a head must beat."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__(config)
        self.bias = nn.Parameter(torch.zeros(len(config.labels)))

    def logits(self, states: Tensor) -> Tensor:
        """The same logits for every row."""
        return self.bias.expand(states.shape[0], -1)


class LinearHead(Classifier):
    """One linear layer over a learned weighting of the hidden states, as in SUPERB and in the paper's baselines."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__(config)
        self.layer_logits = nn.Parameter(torch.zeros(config.feature_transform.given[0]))
        self.out = nn.Linear(config.estimator.dim, len(config.labels))

    def logits(self, states: Tensor) -> Tensor:
        """Linear in the weighted mean of the layers."""
        return self.out(torch.einsum("s,bsd->bd", self.layer_logits.softmax(0), states))


class FlatHead(Classifier):
    """One linear layer over all hidden states, concatenated: softmax regression with separate weights per state."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__(config)
        size = config.estimator
        self.dropout = nn.Dropout(size.dropout)
        self.out = nn.Linear(config.feature_transform.given[0] * size.dim, len(config.labels))

    def logits(self, states: Tensor) -> Tensor:
        """Linear in all states."""
        return self.out(self.dropout(states.flatten(1)))


class RidgeHead(Head):
    """Ridge regression from all hidden states to class shares, in closed form; ``ridge_prior`` is its penalty.

    Its evidence for a class is the estimate of the share of the class. It is what :class:`RidgePrior` gives the
    transport head, so the difference between the two is what the network and the transport add.
    """

    is_closed_form = True

    def __init__(self, config: HeadConfig) -> None:
        super().__init__(config)
        self.ridge = RidgePrior(*config.feature_transform.given, len(config.labels))

    @torch.no_grad()
    def fit(
        self,
        features: Float[Tensor, "rows states dim"],
        labels: Int[Tensor, " rows"],
        weights: Float[Tensor, " rows"] | None = None,
    ) -> None:
        """Fit the feature transform and the regression."""
        super().fit(features, labels, weights)
        shares = functional.one_hot(labels, len(self.config.labels)).double()
        self.ridge.fit(self.feature_transform(features), shares, weights, self.config.ridge_prior)

    def coordinates(self, features: Tensor, sampler: Sampler | None = None) -> Tensor:  # noqa: ARG002
        """Estimated class shares, which may be negative or above 1."""
        return self.ridge(self.feature_transform(features))


class MlpHead(Classifier):
    """One hidden layer of GELU units with dropout over the weighted mean of the layers, or an ensemble of such."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__(config)
        size, classes = config.estimator, len(config.labels)
        self.layer_logits = nn.Parameter(torch.zeros(config.feature_transform.given[0]))

        def layers() -> nn.Module:
            hidden = (nn.Linear(size.dim, size.inner), nn.GELU(), nn.Dropout(size.dropout))
            return nn.Sequential(*hidden, nn.Linear(size.inner, classes))

        self.out = layers() if size.ensemble == 1 else Ensemble(layers, size.ensemble)

    def logits(self, states: Tensor) -> Tensor:
        """An MLP of the weighted mean of the layers."""
        return self.out(torch.einsum("s,bsd->bd", self.layer_logits.softmax(0), states))


class NetworkHead(Classifier):
    """The estimator's network at t = T on the clean features, with a linear classifier and cross-entropy."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__(config)
        self.network = make_estimator(config.estimator)
        self.out = nn.Linear(config.estimator.dim, len(config.labels))

    def logits(self, states: Tensor) -> Tensor:
        """Linear in the network's output."""
        x_1, X_c = self.config.feature_transform.ends(states)
        return self.out(self.network(x_1, X_c, x_1.new_full(x_1.shape[:1], self.config.path.T)))


class RegressionHead(CodedHead):
    """The estimator's network regressed to the codes from x_1 at t = T: transport without a path."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__(config)
        self.network = make_estimator(config.estimator)

    def example(self, x_1: Tensor, X_c: Tensor, target: Tensor, objective: Objective) -> tuple[Tensor, ...]:  # noqa: ARG002
        """Features and the mixture of codes."""
        return x_1, self.config.feature_transform.conditions(x_1, X_c), target @ self.codes

    def loss(self, *example: Tensor) -> Tensor:
        """Mean square distance to the code."""
        x_1, X_c, x_0 = example
        return (self._estimate(x_1, X_c) - x_0).square().mean()

    def coordinates(self, features: Tensor, sampler: Sampler | None = None) -> Tensor:  # noqa: ARG002
        """Projections of the estimate onto the class codes."""
        x_1, X_c = self.config.feature_transform.ends(self.feature_transform(features))
        return projections(self._estimate(x_1, X_c), self.codes)

    def _estimate(self, x_1: Tensor, X_c: Tensor) -> Tensor:
        return self.network(x_1, X_c, x_1.new_full(x_1.shape[:1], self.config.path.T))
