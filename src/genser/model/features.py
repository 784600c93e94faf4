"""The feature transform: standardisation and principal components, fitted to the training rows without gradients."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genser.errors import ConfigError

SMALLEST_SCALE = 1e-4
"""A feature with a smaller standard deviation counts as constant; standardisation then gives 0."""

PART = 512
"""Number of rows that are held in float64 at once."""

LARGEST_GRAM = 1536
"""Largest number of rows, evenly spaced, to which principal components are fitted."""


@dataclass(frozen=True, kw_only=True)
class TransformConfig:
    """The part of :class:`FeatureTransformConfig` that a recipe chooses; the encoder decides the rest.

    Attributes:
        components: Number of principal components to which all states together are projected; 0 keeps the states.
            The projection is then both x_1 and the only condition.
        flattening: 0 keeps the standard deviations of the components, 1 makes all of them equal (whitening).
        repeat: Whether x_1 is also the last condition, so that the estimator gets it without noise at every time.
            Components are always repeated.
    """

    components: int = 0
    flattening: float = 0.0
    repeat: bool = False

    def __post_init__(self) -> None:
        if self.components < 0 or not 0 <= self.flattening <= 1:
            raise ConfigError(
                "feature_transform.components must be at least 0 and feature_transform.flattening lie in [0, 1], got "
                f"{self.components} and {self.flattening}."
            )


@dataclass(frozen=True)
class FeatureTransformConfig(TransformConfig):
    """What is applied to pooled features before the estimator.

    Attributes:
        states: Number of pooled states that the encoder gives.
        dim: Their width.
    """

    states: int
    dim: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.components > self.states * self.dim:
            raise ConfigError(
                f"{self.states} x {self.dim} features have fewer than {self.components} components. Lower "
                "feature_transform.components."
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Number of conditions and width L of the estimator's input."""
        given, width = self.given
        return (given - 1 + self.repeats, width)

    @property
    def given(self) -> tuple[int, int]:
        """Number and width of the transformed vectors."""
        return (1, self.components) if self.components else (self.states, self.dim)

    @property
    def repeats(self) -> bool:
        """Whether x_1 is also a condition."""
        return self.repeat or self.components > 0

    def conditions(self, x_1: Tensor, X_c: Tensor) -> Tensor:
        """X_c, followed by x_1 if x_1 is also a condition.

        x_1 is repeated here, after feature noise was added. Two copies with separate noise would teach the estimator to
        average x_t with its condition, but in inference both are the same clean vector.
        """
        return torch.cat([X_c, x_1[:, None]], dim=1) if self.repeats else X_c

    def ends(self, states: Float[Tensor, "batch given dim"]) -> tuple[Tensor, Tensor]:
        """Eq. (1): (x_1, X_c) of transformed states, of which x_1 is the last."""
        x_1 = states[:, -1]
        return x_1, self.conditions(x_1, states[:, :-1])


def check_rows(rows: int, components: int) -> None:
    """Refuse training rows that are too few for the principal components.

    Raises:
        ConfigError: They are.
    """
    rows = min(rows, LARGEST_GRAM)
    if components and rows <= components:
        raise ConfigError(
            f"{rows} training rows are too few for {components} components; a clip is several rows. Lower "
            f"feature_transform.components, such as to {max(rows // 4, 1)}, or add recordings."
        )


def make_feature_transform(config: FeatureTransformConfig) -> "Standardizer | PrincipalComponents":
    """Make a feature transform that is not fitted yet."""
    return PrincipalComponents(config) if config.components else Standardizer(config.states, config.dim)


class Standardizer(nn.Module):
    """Zero mean and unit standard deviation for every hidden state and dimension.

    ‖x_0‖ is 22.6 at L = 1024, and the scales of raw hidden states differ by orders of magnitude. Both ends of a path
    need a similar scale.
    """

    def __init__(self, states: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(states, dim))
        self.register_buffer("scale", torch.ones(states, dim))

    @torch.no_grad()
    def fit(
        self, features: Float[Tensor, "rows states dim"], weights: Float[Tensor, " rows"] | None = None
    ) -> "Standardizer":
        """Fit mean and standard deviation to weighted training rows; sums are in float64."""
        share = torch.ones(len(features), device=features.device) if weights is None else weights
        share = (share / share.sum()).double()
        parts = list(zip(features.split(PART), share.split(PART), strict=True))
        zero = features.new_zeros(features.shape[1:], dtype=torch.float64)
        mean = sum((torch.einsum("r,rsd->sd", part, rows.double()) for rows, part in parts), zero)
        variance = sum((torch.einsum("r,rsd->sd", part, (rows.double() - mean).square()) for rows, part in parts), zero)
        std = variance.sqrt()
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(std > SMALLEST_SCALE, std, torch.inf))
        return self

    def forward(self, features: Float[Tensor, "rows states dim"]) -> Float[Tensor, "rows states dim"]:
        """Standardise features."""
        return (features - self.mean) / self.scale


class PrincipalComponents(nn.Module):
    """All standardised states together, projected to their principal components, with unit mean square.

    Several statistics of several layers are strongly correlated. A few hundred components keep their information and
    form one vector, which can be the end of a path. Weights of rows count for the standardisation alone; the directions
    are those of evenly drawn rows.
    """

    def __init__(self, config: FeatureTransformConfig) -> None:
        super().__init__()
        self.config = config
        self.standardizer = Standardizer(config.states, config.dim)
        self.register_buffer("basis", torch.zeros(config.states * config.dim, config.components))
        self.register_buffer("offset", torch.zeros(config.components))

    @property
    def mean(self) -> Tensor:
        """Mean of the training features, (states, dim)."""
        return self.standardizer.mean

    @torch.no_grad()
    def fit(
        self, features: Float[Tensor, "rows states dim"], weights: Float[Tensor, " rows"] | None = None
    ) -> "PrincipalComponents":
        """Fit scale and components to training rows, by the eigenvectors of their Gram matrix.

        Raises:
            ConfigError: There are too few rows for that many components.
        """
        self.standardizer.fit(features, weights)
        check_rows(len(features), self.config.components)
        indices = torch.linspace(0, len(features) - 1, min(len(features), LARGEST_GRAM)).long()
        rows = self.standardizer(features[indices].float()).flatten(1)
        centre = rows.mean(0)
        basis = _principal_directions(rows - centre, self.config.components, self.config.flattening)
        self.basis.copy_(basis)
        self.offset.copy_(centre.double() @ basis)
        return self

    def forward(self, features: Float[Tensor, "rows states dim"]) -> Float[Tensor, "rows 1 components"]:
        """Project features to the components, the only vector, x_1."""
        return (self.standardizer(features).flatten(1) @ self.basis - self.offset)[:, None]


def _principal_directions(rows: Tensor, count: int, flattening: float) -> Tensor:
    """Leading principal directions of centred rows as columns, float64, scaled so that scores have unit mean square.

    The sign of an eigenvector is arbitrary; here its score on the first row is positive.
    """
    rows = rows.double()
    variances, vectors = torch.linalg.eigh(rows @ rows.T / len(rows))
    variances, vectors = variances.flip(0)[:count].clamp(min=1e-9), vectors.flip(1)[:, :count]
    vectors = vectors * torch.where(vectors[:1] < 0, -1.0, 1.0)
    basis = rows.T @ vectors / (variances * len(rows)).sqrt() * variances ** (-flattening / 2)
    return basis / (rows @ basis).square().mean().sqrt()
