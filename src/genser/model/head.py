"""What every head shares: its configuration, the feature transform and the calibration of its probabilities."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from genser.errors import ConfigError
from genser.model.estimator import EstimatorConfig
from genser.model.features import FeatureTransformConfig, make_feature_transform
from genser.model.in_domain import InDomainScore
from genser.transport import BridgePath, Objective, Sampler
from genser.transport.codes import class_codes, probabilities

STATES = ("network", "posterior")


@dataclass(frozen=True)
class HeadConfig:
    """Everything that turns pooled hidden states into class probabilities.

    One configuration serves every kind of head, so that they can be compared on equal terms; a kind ignores the
    settings that it has no use for.

    Attributes:
        labels: Class names, in the order of their indices.
        estimator: Size of the network.
        path: Probability path.
        sampler: Steps and read-out unless a call asks for others.
        exponent: Calibration exponent, see :func:`genser.transport.codes.probabilities`.
        out_of_domain_exponent: Calibration exponent of out-of-domain clips. It counts with ``in_domain_components``
            only; the in-domain score of a clip interpolates between the two.
        in_domain_components: Principal components of :class:`InDomainScore`; 0 omits the score.
        state: How the state x_t enters the estimate. ``"network"`` passes it to the network, as the paper does.
            ``"posterior"`` lets the network estimate x_0 from (x_1, X_c) alone and combines that with x_t by Bayes'
            rule, see :meth:`genser.transport.BridgePath.posterior_mean`.
        ridge_prior: Penalty of the ridge regression that the estimator corrects, see :class:`RidgePrior`; 0 omits it.
            The head ``ridge`` is this regression alone and needs a penalty above 0.
        feature_transform: Applied to the features first; None standardises them to the estimator's own shape.
        kind: Kind of head, a key of :data:`genser.model.heads.HEADS`.
    """

    labels: tuple[str, ...]
    estimator: EstimatorConfig = field(default_factory=EstimatorConfig)
    path: BridgePath = field(default_factory=BridgePath)
    sampler: Sampler = field(default_factory=Sampler)
    exponent: float = 1.0
    out_of_domain_exponent: float = 1.0
    in_domain_components: int = 0
    state: str = "network"
    ridge_prior: float = 0.0
    feature_transform: FeatureTransformConfig = None  # pyrefly: ignore[bad-assignment] - __post_init__ replaces None
    kind: str = "transport"

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))
        size = (self.estimator.conditions, self.estimator.dim)
        if self.feature_transform is None:
            object.__setattr__(self, "feature_transform", FeatureTransformConfig(size[0] + 1, size[1]))
        transform = self.feature_transform
        if transform.shape != size:
            raise ConfigError(
                f"The estimator takes {size} conditions and width, but the feature transform gives {transform.shape}."
            )
        if len(set(self.labels)) != len(self.labels) or not self.labels:
            raise ConfigError(
                f"A head needs labels, each once, got {list(self.labels)}. Remove those that occur twice."
            )
        if self.state not in STATES:
            raise ConfigError(f"Unknown state {self.state!r}: use one of {', '.join(STATES)}.")
        if self.state == "posterior" and not transform.repeats:
            raise ConfigError(
                "The state 'posterior' needs x_1 among the conditions. Set feature_transform.repeat to true."
            )
        check_penalty(self.kind, self.ridge_prior)
        if self.ridge_prior < 0 or (self.ridge_prior and self.kind != "ridge" and not transform.repeats):
            raise ConfigError(
                "A ridge prior needs a positive penalty, and x_1 among the conditions. Set feature_transform.repeat to "
                "true."
            )
        if not (self.exponent > 0 and self.out_of_domain_exponent > 0):
            raise ConfigError(
                f"Calibration exponents must be above 0, got {self.exponent} and {self.out_of_domain_exponent}."
            )
        if not 0 <= self.in_domain_components < transform.states * transform.dim:
            raise ConfigError(
                f"in_domain_components must lie in [0, {transform.states * transform.dim}), "
                f"got {self.in_domain_components}."
            )


def check_penalty(kind: str, ridge_prior: float) -> None:
    """Refuse a head ``ridge`` without a penalty, with which the regression may have no unique solution.

    Raises:
        ConfigError: There is none.
    """
    if kind == "ridge" and not ridge_prior > 0:
        raise ConfigError(f"The head ridge needs a penalty above 0, got {ridge_prior}. Set ridge_prior, such as to 16.")


class Head(nn.Module):
    """Turns pooled hidden states into calibrated class probabilities.

    A kind of head defines :meth:`example`, :meth:`loss` and :meth:`coordinates`, and is registered in
    :data:`genser.model.heads.HEADS`. Training, calibration, export and serving then work with it. In ``coordinates``
    take the batch size from ``shape[0]``: ``len`` would make it a constant of the exported graph.

    Attributes:
        is_closed_form: Whether :meth:`fit` learns everything, so that training takes no gradient steps.

    Args:
        config: Sizes and settings.
    """

    is_closed_form = False

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        self.feature_transform = make_feature_transform(config.feature_transform)
        if config.in_domain_components:
            transform = config.feature_transform
            self.in_domain = InDomainScore(transform.states, transform.dim, config.in_domain_components)

    @property
    def device(self) -> torch.device:
        """The device that holds the head."""
        return self.feature_transform.mean.device

    @torch.no_grad()
    def fit(
        self,
        features: Float[Tensor, "rows states dim"],
        labels: Int[Tensor, " rows"],  # noqa: ARG002 - a kind of head may need them
        weights: Float[Tensor, " rows"] | None = None,
    ) -> None:
        """Fit the parts that are not trained by gradient, from training rows and their weights."""
        self.feature_transform.fit(features, weights)

    def example(
        self,
        x_1: Float[Tensor, "batch dim"],
        X_c: Float[Tensor, "batch given dim"],
        target: Float[Tensor, "batch classes"],
        objective: Objective,
    ) -> tuple[Tensor, ...]:
        """Inputs of :meth:`loss`, each batch first, for transformed features and class shares; may draw noise."""
        raise NotImplementedError

    def loss(self, *example: Tensor) -> Float[Tensor, ""]:
        """Mean loss over the rows of an example."""
        raise NotImplementedError

    def coordinates(
        self, features: Float[Tensor, "batch states dim"], sampler: Sampler | None = None
    ) -> Float[Tensor, "batch classes"]:
        """Evidence for each class before calibration: projections on the class codes, or softmax probabilities.

        Args:
            features: Pooled hidden states, as the encoder gives them.
            sampler: Steps and read-out of a transport head; other kinds ignore it.
        """
        raise NotImplementedError

    def in_domain_score(self, features: Float[Tensor, "batch states dim"]) -> Float[Tensor, " batch"] | None:
        """Probability that each clip resembles the training corpora; None if the head has no such score."""
        return self.in_domain(features) if self.config.in_domain_components else None

    def exponent(self, in_domain: Float[Tensor, " batch"] | None) -> float | Float[Tensor, "batch 1"]:
        """Calibration exponent: one for all clips, or one for each by its :meth:`in_domain_score`."""
        config = self.config
        if in_domain is None:
            return config.exponent
        return config.out_of_domain_exponent + (config.exponent - config.out_of_domain_exponent) * in_domain[:, None]

    def forward(
        self, features: Float[Tensor, "batch states dim"], sampler: Sampler | None = None
    ) -> Float[Tensor, "batch classes"]:
        """Calibrated class probabilities of pooled hidden states; every row sums to 1."""
        exponent = self.exponent(self.in_domain_score(features))
        return probabilities(self.coordinates(features, sampler), exponent)


class CodedHead(Head):
    """A head whose targets are the class codes."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__(config)
        codes = torch.from_numpy(class_codes(len(config.labels), config.estimator.dim))
        self.register_buffer("codes", codes, persistent=False)
