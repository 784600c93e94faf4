"""Standardisation of features, learned from training rows and kept with the model."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

SMALLEST_SCALE = 1e-4
"""Deviations below this are taken for a constant feature, which standardisation leaves at 0."""


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
        """Learn mean and deviation from training rows, optionally weighted; sums run in float64."""
        share = torch.ones(len(features)) if weights is None else weights
        share = (share / share.sum()).double()[:, None, None]
        mean = (features.double() * share).sum(0)
        deviation = ((features.double() - mean).square() * share).sum(0).sqrt()
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(deviation > SMALLEST_SCALE, deviation, torch.inf))
        return self

    def forward(self, features: Float[Tensor, "rows states dim"]) -> Float[Tensor, "rows states dim"]:
        """Standardised features."""
        return (features - self.mean) / self.scale
