"""From pooled hidden states to class probabilities: standardise, transport, read off the codes."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from genser.errors import ConfigError
from genser.model.estimator import EstimatorConfig, make_estimator
from genser.model.features import FeatureTransformConfig, make_feature_transform
from genser.model.in_domain import InDomainScore
from genser.model.ridge import RidgePrior
from genser.transport import BridgePath, Objective, Sampler
from genser.transport.codes import class_codes, probabilities, projections
from genser.transport.objective import TrainingExample, target_matching_loss

STATES = ("network", "posterior")
VARIANCE, VARIANCE_SCALE = 0.1, 10.0
"""Variance of a fresh estimate of x_0, and how many times faster than other parameters its logarithm learns."""


@dataclass(frozen=True)
class HeadConfig:
    """Everything that turns features into class probabilities.

    Attributes:
        labels: Class names, in the order of their indices.
        estimator: Network.
        path: Probability path.
        sampler: Steps and read-out used unless asked otherwise.
        code: Kind of class code.
        exponent: Exponent of the calibration, see :func:`genser.transport.codes.probabilities`.
        out_of_domain_exponent: The same for clips unlike those that the model learned from; it counts where there is a
            ``familiarity``, and the exponent of a clip lies between both as that says.
        in_domain_components: Directions of :class:`InDomainScore`; 0 has none.
        floor: Even share of the calibration.
        state: How the state x_t enters the estimate: ``"network"`` gives it to the network, as the paper does;
            ``"posterior"`` has the network estimate x_0 from speech alone, and moves that by what the state is worth
            on the path, see :meth:`genser.transport.BridgePath.posterior_mean`.
        ridge_prior: Penalty of a ridge regression that the estimator starts from, see :class:`RidgePrior`; 0 has none.
        feature_transform: What happens to features first; None standardises states of the estimator's own shape.
    """

    labels: tuple[str, ...]
    estimator: EstimatorConfig = field(default_factory=EstimatorConfig)
    path: BridgePath = field(default_factory=BridgePath)
    sampler: Sampler = field(default_factory=Sampler)
    code: str = "sinusoidal"
    exponent: float = 1.0
    out_of_domain_exponent: float = 1.0
    in_domain_components: int = 0
    floor: float = 0.0
    state: str = "network"
    ridge_prior: float = 0.0
    feature_transform: FeatureTransformConfig | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))
        size = (self.estimator.conditions, self.estimator.dim)
        if self.feature_transform is None:
            object.__setattr__(self, "feature_transform", FeatureTransformConfig(size[0] + 1, size[1]))
        if self.feature_transform.shape != size:
            raise ConfigError(
                f"The estimator takes {size} conditions and width; "
                f"the feature transform gives {self.feature_transform.shape}."
            )
        if len(set(self.labels)) != len(self.labels) or not self.labels:
            raise ConfigError(f"Labels must be named, and named once: {list(self.labels)}.")
        if self.state not in STATES:
            raise ConfigError(f"Unknown state {self.state!r}: use one of {', '.join(STATES)}.")
        if self.state == "posterior" and not self.feature_transform.repeats:
            raise ConfigError("state='posterior' needs x_1 among the conditions: set feature_transform.repeat.")
        if self.ridge_prior < 0 or (self.ridge_prior and not self.feature_transform.repeats):
            raise ConfigError(
                "A ridge prior needs a positive penalty, and x_1 among the conditions: set feature_transform.repeat."
            )
        if self.exponent <= 0 or self.out_of_domain_exponent <= 0 or not 0 <= self.floor < 1:
            raise ConfigError(
                "Calibration needs exponents > 0 and floor in [0, 1), got "
                f"{self.exponent}, {self.out_of_domain_exponent} and "
                f"{self.floor}."
            )
        if not 0 <= self.in_domain_components < self.feature_transform.states * self.feature_transform.dim:
            raise ConfigError(
                f"in_domain_components is a number of directions among the features', got {self.in_domain}."
            )


class TransportHead(nn.Module):
    """Gen-SER on pooled features: conditions X_c = all hidden states but the last, x_1 = the last (Eq. 1)."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        self.standardizer = make_feature_transform(config.feature_transform)
        self.estimator = make_estimator(config.estimator)
        codes = torch.from_numpy(class_codes(len(config.labels), config.estimator.dim, config.code))
        self.register_buffer("codes", codes, persistent=False)
        if config.ridge_prior:
            self.ridge_prior = RidgePrior(config.estimator.conditions, config.estimator.dim, len(config.labels))
        if config.in_domain_components:
            self.in_domain = InDomainScore(
                config.feature_transform.states, config.feature_transform.dim, config.in_domain_components
            )
        if config.state == "posterior":
            self.log_variance = nn.Parameter(torch.tensor(VARIANCE).log() / VARIANCE_SCALE)

    @torch.no_grad()
    def fit(
        self,
        features: Float[Tensor, "rows states dim"],
        labels: Int[Tensor, " rows"],
        weights: Float[Tensor, " rows"] | None = None,
    ) -> None:
        """Learn what needs no gradient from training rows: the front and, where there is one, the anchor."""
        self.standardizer.fit(features, weights)
        if self.config.ridge_prior:
            shares = nn.functional.one_hot(labels, len(self.config.labels)).double()
            self.ridge_prior.fit(self.ends(features)[1], shares, weights, self.config.ridge_prior)

    @property
    def variance(self) -> Tensor | None:
        """Mean square error, per dimension, of what is known of x_0 without its state; None where nothing is."""
        if self.config.state == "posterior":
            return (VARIANCE_SCALE * self.log_variance).exp()
        return self.ridge_prior.variance if self.config.ridge_prior else None

    def estimate(
        self, x_t: Float[Tensor, "batch dim"], X_c: Float[Tensor, "batch conditions dim"], t: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch dim"]:
        """x_θ(x_t, X_c, t): the network, on top of what the anchor and the state say where the head is so made.

        A network would have to learn from few data how much to trust x_t at which time; where it does not, every step
        of the transport amplifies its own error. The path itself knows.
        """
        prior = self.ridge_prior(X_c) @ self.codes if self.config.ridge_prior else 0.0
        if self.config.state == "posterior":
            prior = prior + self.estimator(X_c[:, -1], X_c, torch.full_like(t, self.config.path.T))
            return self.config.path.posterior_mean(prior, x_t, X_c[:, -1], t, self.variance)
        estimate = self.estimator(x_t, X_c, t)
        if not self.config.ridge_prior:
            return estimate
        return estimate + self.config.path.posterior_mean(prior, x_t, X_c[:, -1], t, self.variance)

    def ends(self, features: Float[Tensor, "batch states dim"]) -> tuple[Tensor, Tensor]:
        """Standardised (x_1, X_c) of pooled hidden states."""
        states = self.standardizer(features)
        x_1 = states[:, -1]
        return x_1, self.config.feature_transform.conditions(x_1, states[:, :-1])

    def example(
        self,
        x_1: Float[Tensor, "batch dim"],
        X_c: Float[Tensor, "batch given dim"],
        target: Float[Tensor, "batch classes"],
        objective: Objective,
    ) -> TrainingExample:
        """Training inputs for standardised features and class shares; the path ends at their mixture of codes."""
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

    def familiar(self, features: Float[Tensor, "batch states dim"]) -> Float[Tensor, " batch"] | None:
        """Probability of being like what the head learned from; None where it does not tell."""
        return self.in_domain(features) if self.config.in_domain_components else None

    def exponent(self, familiar: Float[Tensor, " batch"] | None) -> float | Float[Tensor, "batch 1"]:
        """Exponent of the calibration, for all clips or, by what :meth:`familiar` says, for each."""
        config = self.config
        if familiar is None:
            return config.exponent
        return config.out_of_domain_exponent + (config.exponent - config.out_of_domain_exponent) * familiar[:, None]

    def forward(
        self, features: Float[Tensor, "batch states dim"], sampler: Sampler | None = None
    ) -> Float[Tensor, "batch classes"]:
        """Class probabilities, calibrated as the configuration says."""
        return probabilities(
            self.coordinates(features, sampler), self.exponent(self.familiar(features)), self.config.floor
        )
