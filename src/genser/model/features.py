"""What is learned from training rows before any gradient: scale, and principal components; kept with the model."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genser.errors import ConfigError

SMALLEST_SCALE = 1e-4
"""Deviations below this are taken for a constant feature, which standardisation leaves at 0."""


PART = 512
"""Rows that are held in float64 at once."""

LARGEST_GRAM = 1536
"""Rows that principal components are learned from at most; they are drawn evenly."""


@dataclass(frozen=True)
class FeatureTransformConfig:
    """What happens to pooled features before the estimator sees them.

    Attributes:
        states: Number of pooled states that the encoder gives.
        dim: Their width.
        components: Number of principal components that all states together are projected to; 0 keeps the states.
            The projection is then both x_1 and the only condition.
        flattening: 0 keeps the components' own deviations, 1 makes them all equal (whitening).
        repeat: Whether x_1 is also the last condition, so that the estimator sees it clean at every time. Components
            are always repeated.
    """

    states: int
    dim: int
    components: int = 0
    flattening: float = 0.0
    repeat: bool = False

    def __post_init__(self) -> None:
        if self.components < 0 or not 0 <= self.flattening <= 1:
            raise ConfigError(
                f"components must not be negative and flattening lie in [0, 1], got {self.components} and "
                f"{self.flattening}."
            )
        if self.components > self.states * self.dim:
            raise ConfigError(f"{self.states} x {self.dim} features have no {self.components} components.")

    @property
    def shape(self) -> tuple[int, int]:
        """Conditions and width L that the estimator is given."""
        given, width = self.given
        return (given - 1 + self.repeats, width)

    @property
    def given(self) -> tuple[int, int]:
        """Number and width of the vectors that come out."""
        return (1, self.components) if self.components else (self.states, self.dim)

    @property
    def repeats(self) -> bool:
        """Whether x_1 is a condition as well."""
        return self.repeat or self.components > 0

    def conditions(self, x_1: Tensor, X_c: Tensor) -> Tensor:
        """X_c, with x_1 behind it where x_1 is a condition as well.

        It is repeated only here, after noise was added: two copies with noise of their own would teach the estimator to
        average x_t with its condition, which in transport are the same clean vector.
        """
        return torch.cat([X_c, x_1[:, None]], dim=1) if self.repeats else X_c


def make_feature_transform(config: FeatureTransformConfig) -> "Standardizer | PrincipalComponents":
    """A front with nothing learned yet."""
    return PrincipalComponents(config) if config.components else Standardizer(config.states, config.dim)


class Standardizer(nn.Module):
    """Zero mean and unit deviation for every hidden state and dimension.

    ‖x_0‖ is 22.6 at L = 1024 and raw hidden states differ in scale by orders of magnitude, so features have to be
    brought to a like size before they can be the other end of a path.
    """

    def __init__(self, states: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(states, dim))
        self.register_buffer("scale", torch.ones(states, dim))

    @torch.no_grad()
    def fit(
        self, features: Float[Tensor, "rows states dim"], weights: Float[Tensor, " rows"] | None = None
    ) -> "Standardizer":
        """Learn mean and deviation from training rows, optionally weighted; sums run in float64, part by part."""
        share = torch.ones(len(features), device=features.device) if weights is None else weights
        share = (share / share.sum()).double()
        parts = list(zip(features.split(PART), share.split(PART), strict=True))
        mean = sum(torch.einsum("r,rsd->sd", part, rows.double()) for rows, part in parts)
        variance = sum(torch.einsum("r,rsd->sd", part, (rows.double() - mean).square()) for rows, part in parts)
        deviation = variance.sqrt()
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(deviation > SMALLEST_SCALE, deviation, torch.inf))
        return self

    def forward(self, features: Float[Tensor, "rows states dim"]) -> Float[Tensor, "rows states dim"]:
        """Standardised features."""
        return (features - self.mean) / self.scale


class PrincipalComponents(nn.Module):
    """Standardised states side by side, projected to their principal components, of unit mean square over all.

    Several statistics of several layers are strongly correlated; a few hundred components carry what they say, and make
    one vector of it that can be the end of a path.
    """

    def __init__(self, config: FeatureTransformConfig) -> None:
        super().__init__()
        self.config = config
        self.standardizer = Standardizer(config.states, config.dim)
        self.register_buffer("basis", torch.zeros(config.states * config.dim, config.components))
        self.register_buffer("offset", torch.zeros(config.components))

    @torch.no_grad()
    def fit(
        self, features: Float[Tensor, "rows states dim"], weights: Float[Tensor, " rows"] | None = None
    ) -> "PrincipalComponents":
        """Learn scale and components from training rows, by the eigenvectors of their Gram matrix.

        Raises:
            ConfigError: If there are too few rows for that many components.
        """
        self.standardizer.fit(features, weights)
        places = torch.linspace(0, len(features) - 1, min(len(features), LARGEST_GRAM)).long()
        rows = self.standardizer(features[places].float()).flatten(1)
        if len(rows) <= self.config.components:
            raise ConfigError(
                f"{len(rows)} rows do not span {self.config.components} components: lower feature_transform.components."
            )
        centre = rows.mean(0)
        basis = _principal_directions(rows - centre, self.config.components, self.config.flattening)
        self.basis.copy_(basis)
        self.offset.copy_(centre.double() @ basis)
        return self

    def forward(self, features: Float[Tensor, "rows states dim"]) -> Float[Tensor, "rows 1 components"]:
        """Components as the only vector, x_1."""
        return (self.standardizer(features).flatten(1) @ self.basis - self.offset)[:, None]


def _principal_directions(rows: Tensor, count: int, flattening: float) -> Tensor:
    """Leading principal directions of centred rows as columns, float64, so scaled that scores have unit mean square.

    The sign of each is fixed by its score on the first row, since eigenvectors come with either.
    """
    rows = rows.double()
    variances, vectors = torch.linalg.eigh(rows @ rows.T / len(rows))
    variances, vectors = variances.flip(0)[:count].clamp(min=1e-9), vectors.flip(1)[:, :count]
    vectors = vectors * torch.where(vectors[:1] < 0, -1.0, 1.0)
    basis = rows.T @ vectors / (variances * len(rows)).sqrt() * variances ** (-flattening / 2)
    return basis / (rows @ basis).square().mean().sqrt()
