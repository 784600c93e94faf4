"""The in-domain score: the probability that a clip resembles the training corpora. Calibration depends on it."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

SMALLEST = 1e-6
"""Smallest residual, relative to that of training clips, and smallest residual variance."""

MORE, ITERATIONS = 16, 20
"""Components beyond those wanted, and iterations, of the randomised decomposition."""


class InDomainScore(nn.Module):
    """The probability that pooled hidden states come from speakers, rooms and microphones like those of the training.

    The leading principal components of the training clips describe how speech varies everywhere: by speaker, pitch and
    emotion. The residual of a clip after removing them, relative to that of training clips, reveals another microphone,
    room or language. It separated clips of a held-out corpus from clips of held-out speakers of training corpora with
    an area under the ROC curve of 0.99 (Whisper base, eight components).

    Args:
        states: Number of hidden states.
        dim: Their width L.
        components: Number of principal components.
    """

    def __init__(self, states: int, dim: int, components: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(states * dim))
        self.register_buffer("directions", torch.zeros(components, states * dim))
        self.register_buffer("residual_variance", torch.ones(()))
        self.register_buffer("boundary", torch.zeros(()))
        self.register_buffer("slope", torch.zeros(()))

    @torch.no_grad()
    def fit(
        self, features: Float[Tensor, "rows states dim"], weights: Float[Tensor, " rows"] | None = None
    ) -> "InDomainScore":
        """Fit mean, components and residual variance to weighted training rows.

        The few components come from a randomised singular value decomposition (Halko et al., 2011) with a fixed seed,
        and so many iterations that a full decomposition gives the same distances. 12,000 rows of 20 states of width 512
        take 10 seconds on two cores, where a full decomposition takes five minutes.
        """
        rows = features.flatten(1).double()
        share = torch.ones(len(rows)).to(rows) if weights is None else weights.double()
        share = (share / share.sum())[:, None]
        mean = (share * rows).sum(0)
        away = share.sqrt() * (rows - mean)
        count = min(len(self.directions), *away.shape)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            _, singular, vectors = torch.svd_lowrank(away, min(count + MORE, *away.shape), niter=ITERATIONS)
        self.mean.copy_(mean)
        self.directions.zero_()[:count] = vectors.T[:count]
        self.residual_variance.copy_((away.square().sum() - singular[:count].square().sum()).clamp(min=SMALLEST))
        return self

    def distance(self, features: Float[Tensor, "batch states dim"]) -> Float[Tensor, " batch"]:
        """Logarithm of the residual of each clip relative to that of training clips, whose mean residual gives 0."""
        away = features.flatten(1) - self.mean
        residual = away.square().sum(1) - (away @ self.directions.T).square().sum(1)
        return (residual / self.residual_variance).clamp(min=SMALLEST).log()

    def forward(self, features: Float[Tensor, "batch states dim"]) -> Float[Tensor, " batch"]:
        """Give the probability of being in-domain; ½ until a calibration sets boundary and slope."""
        return torch.sigmoid(self.slope * (self.boundary - self.distance(features)))
