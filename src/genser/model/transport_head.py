"""Gen-SER: transport pooled speech features to class codes and read the class probabilities off the codes."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from genser.model.estimator import make_estimator
from genser.model.head import CodedHead, HeadConfig
from genser.model.ridge import RidgePrior
from genser.transport import Objective, Sampler
from genser.transport.codes import projections
from genser.transport.objective import TrainingExample, target_matching_loss

VARIANCE, VARIANCE_SCALE = 0.1, 10.0
"""Initial variance of the estimate of x_0, and the factor by which its logarithm learns faster than other parameters.
"""


class TransportHead(CodedHead):
    """The paper's head: the conditions X_c are all hidden states but the last, x_1 is the last (Eq. 1)."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__(config)
        self.estimator = make_estimator(config.estimator)
        if config.ridge_prior:
            self.ridge_prior = RidgePrior(config.estimator.conditions, config.estimator.dim, len(config.labels))
        if config.state == "posterior":
            self.log_variance = nn.Parameter(torch.tensor(VARIANCE).log() / VARIANCE_SCALE)

    @torch.no_grad()
    def fit(
        self,
        features: Float[Tensor, "rows states dim"],
        labels: Int[Tensor, " rows"],
        weights: Float[Tensor, " rows"] | None = None,
    ) -> None:
        """Fit the feature transform and, if there is one, the ridge prior."""
        super().fit(features, labels, weights)
        if self.config.ridge_prior:
            shares = nn.functional.one_hot(labels, len(self.config.labels)).double()
            self.ridge_prior.fit(self.ends(features)[1], shares, weights, self.config.ridge_prior)

    @property
    def variance(self) -> Tensor:
        """Mean square error, per dimension, of the estimate of x_0 from (x_1, X_c).

        A head with ``state="network"`` has it only with a ridge prior, and needs it only then.
        """
        if self.config.state == "posterior":
            return (VARIANCE_SCALE * self.log_variance).exp()
        return self.ridge_prior.variance

    def estimate(
        self, x_t: Float[Tensor, "batch dim"], X_c: Float[Tensor, "batch conditions dim"], t: Float[Tensor, "#batch"]
    ) -> Float[Tensor, "batch dim"]:
        """x_θ(x_t, X_c, t): the network, plus the ridge prior and the posterior mean if the head has them.

        From few data a network cannot learn how much to trust x_t at each time, and every step then amplifies its own
        error. The path gives the right weight in closed form.
        """
        path = self.config.path
        if self.config.state == "posterior":
            prior = self.prior(X_c, torch.full_like(t, path.T))
            return path.posterior_mean(prior, x_t, X_c[:, -1], t, self.variance)
        estimate = self.estimator(x_t, X_c, t)
        if not self.config.ridge_prior:
            return estimate
        return estimate + path.posterior_mean(self.ridge_prior(X_c) @ self.codes, x_t, X_c[:, -1], t, self.variance)

    def prior(
        self, X_c: Float[Tensor, "batch conditions dim"], T: Float[Tensor, "#batch"]
    ) -> Float[Tensor, "batch dim"]:
        """With ``state="posterior"``: the estimate of x_0 from speech alone, for which T is the latest time."""
        ridge = self.ridge_prior(X_c) @ self.codes if self.config.ridge_prior else 0.0
        return ridge + self.estimator(X_c[:, -1], X_c, T)

    def ends(self, features: Float[Tensor, "batch states dim"]) -> tuple[Tensor, Tensor]:
        """Transformed (x_1, X_c) of pooled hidden states."""
        return self.config.feature_transform.ends(self.feature_transform(features))

    def example(
        self,
        x_1: Float[Tensor, "batch dim"],
        X_c: Float[Tensor, "batch given dim"],
        target: Float[Tensor, "batch classes"],
        objective: Objective,
    ) -> TrainingExample:
        """Training inputs for transformed features and class shares; x_0 is the mixture of codes of the shares."""
        X_c = self.config.feature_transform.conditions(x_1, X_c)
        return objective.example(self.config.path, x_1, X_c, target @ self.codes)

    def loss(self, *example: Tensor) -> Float[Tensor, ""]:
        """Eq. (8) for the fields of a training example."""
        return target_matching_loss(self.estimate, TrainingExample(*example))

    def coordinates(
        self, features: Float[Tensor, "batch states dim"], sampler: Sampler | None = None
    ) -> Float[Tensor, "batch classes"]:
        """Projections of the transported features onto the class codes (Eq. 12)."""
        x_1, X_c = self.ends(features)
        x_0 = (sampler or self.config.sampler)(self.estimate, self.config.path, x_1, X_c)
        return projections(x_0, self.codes)
