"""From pooled hidden states to class probabilities: standardise, transport, read off the codes."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from genser.errors import ConfigError
from genser.model.estimator import EstimatorConfig, make_estimator
from genser.model.features import FrontConfig, make_front
from genser.model.in_domain import Familiarity
from genser.model.ridge import RidgeAnchor
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
        power: Exponent of the calibration, see :func:`genser.transport.codes.probabilities`.
        foreign_power: The same for clips unlike those that the model learned from; it counts where there is a
            ``familiarity``, and the exponent of a clip lies between both as that says.
        familiarity: Directions by which :class:`genser.model.in_domain.Familiarity` tells such clips; 0 has none.
        floor: Even share of the calibration.
        state: How the state x_t enters the estimate: ``"network"`` gives it to the network, as the paper does;
            ``"posterior"`` has the network estimate x_0 from speech alone, and moves that by what the state is worth
            on the path, see :meth:`genser.transport.BridgePath.posterior_mean`.
        anchor: Penalty of a ridge regression that the estimator starts from, see :class:`RidgeAnchor`; 0 has none.
        front: What happens to features first; None standardises states of the estimator's own shape.
    """

    labels: tuple[str, ...]
    estimator: EstimatorConfig = field(default_factory=EstimatorConfig)
    path: BridgePath = field(default_factory=BridgePath)
    sampler: Sampler = field(default_factory=Sampler)
    code: str = "sinusoidal"
    power: float = 1.0
    foreign_power: float = 1.0
    familiarity: int = 0
    floor: float = 0.0
    state: str = "network"
    anchor: float = 0.0
    front: FrontConfig | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))
        size = (self.estimator.conditions, self.estimator.dim)
        if self.front is None:
            object.__setattr__(self, "front", FrontConfig(size[0] + 1, size[1]))
        if self.front.shape != size:
            raise ConfigError(f"The estimator takes {size} conditions and width, the front gives {self.front.shape}.")
        if len(set(self.labels)) != len(self.labels) or not self.labels:
            raise ConfigError(f"Labels must be named, and named once: {list(self.labels)}.")
        if self.state not in STATES:
            raise ConfigError(f"Unknown state {self.state!r}: use one of {', '.join(STATES)}.")
        if self.state == "posterior" and not self.front.repeats:
            raise ConfigError("state='posterior' needs x_1 among the conditions: set front.repeat.")
        if self.anchor < 0 or (self.anchor and not self.front.repeats):
            raise ConfigError("An anchor needs a positive penalty, and x_1 among the conditions: set front.repeat.")
        if self.power <= 0 or self.foreign_power <= 0 or not 0 <= self.floor < 1:
            raise ConfigError(
                f"Calibration needs powers > 0 and floor in [0, 1), got {self.power}, {self.foreign_power} and "
                f"{self.floor}."
            )
        if not 0 <= self.familiarity < self.front.states * self.front.dim:
            raise ConfigError(f"familiarity is a number of directions among the features', got {self.familiarity}.")


class TransportHead(nn.Module):
    """Gen-SER on pooled features: conditions X_c = all hidden states but the last, x_1 = the last (Eq. 1)."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        self.standardizer = make_front(config.front)
        self.estimator = make_estimator(config.estimator)
        codes = torch.from_numpy(class_codes(len(config.labels), config.estimator.dim, config.code))
        self.register_buffer("codes", codes, persistent=False)
        if config.anchor:
            self.anchor = RidgeAnchor(config.estimator.conditions, config.estimator.dim, len(config.labels))
        if config.familiarity:
            self.familiarity = Familiarity(config.front.states, config.front.dim, config.familiarity)
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
        if self.config.anchor:
            shares = nn.functional.one_hot(labels, len(self.config.labels)).double()
            self.anchor.fit(self.ends(features)[1], shares, weights, self.config.anchor)

    @property
    def variance(self) -> Tensor | None:
        """Mean square error, per dimension, of what is known of x_0 without its state; None where nothing is."""
        if self.config.state == "posterior":
            return (VARIANCE_SCALE * self.log_variance).exp()
        return self.anchor.variance if self.config.anchor else None

    def estimate(
        self, x_t: Float[Tensor, "batch dim"], X_c: Float[Tensor, "batch conditions dim"], t: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch dim"]:
        """x_θ(x_t, X_c, t): the network, on top of what the anchor and the state say where the head is so made.

        A network would have to learn from few data how much to trust x_t at which time; where it does not, every step
        of the transport amplifies its own error. The path itself knows.
        """
        prior = self.anchor(X_c) @ self.codes if self.config.anchor else 0.0
        if self.config.state == "posterior":
            prior = prior + self.estimator(X_c[:, -1], X_c, torch.full_like(t, self.config.path.T))
            return self.config.path.posterior_mean(prior, x_t, X_c[:, -1], t, self.variance)
        estimate = self.estimator(x_t, X_c, t)
        if not self.config.anchor:
            return estimate
        return estimate + self.config.path.posterior_mean(prior, x_t, X_c[:, -1], t, self.variance)

    def ends(self, features: Float[Tensor, "batch states dim"]) -> tuple[Tensor, Tensor]:
        """Standardised (x_1, X_c) of pooled hidden states."""
        states = self.standardizer(features)
        x_1 = states[:, -1]
        return x_1, self.config.front.conditions(x_1, states[:, :-1])

    def example(
        self,
        x_1: Float[Tensor, "batch dim"],
        X_c: Float[Tensor, "batch given dim"],
        target: Float[Tensor, "batch classes"],
        objective: Objective,
    ) -> TrainingExample:
        """Training inputs for standardised features and class shares; the path ends at their mixture of codes."""
        X_c = self.config.front.conditions(x_1, X_c)
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
        return self.familiarity(features) if self.config.familiarity else None

    def exponent(self, familiar: Float[Tensor, " batch"] | None) -> float | Float[Tensor, "batch 1"]:
        """Exponent of the calibration, for all clips or, by what :meth:`familiar` says, for each."""
        config = self.config
        if familiar is None:
            return config.power
        return config.foreign_power + (config.power - config.foreign_power) * familiar[:, None]

    def forward(
        self, features: Float[Tensor, "batch states dim"], sampler: Sampler | None = None
    ) -> Float[Tensor, "batch classes"]:
        """Class probabilities, calibrated as the configuration says."""
        return probabilities(
            self.coordinates(features, sampler), self.exponent(self.familiar(features)), self.config.floor
        )
