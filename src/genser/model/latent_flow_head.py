"""Flow matching in a learned latent space of labels (Chen et al., Flow-TSVAD, ICASSP 2025; the paper's reference 12).

Where the paper writes x_0 down by Eq. (2), this head learns it: an auto-encoder gives every label a latent vector and
reads the label from a latent. A network learns the velocity that carries Gaussian noise to the latent of the label,
given all hidden states. Both are trained together; the velocity sees the latents as constants.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from genser.model.estimator import make_estimator
from genser.model.head import Head, HeadConfig
from genser.transport import Objective, Sampler

STEPS = 2
"""Euler steps from noise to latent; its authors found two enough."""

DRAWS = 8
"""Starts from noise whose answers are averaged; its authors found that averaging several helps."""

LATENT_NOISE = 0.3
"""Standard deviation of the noise on a latent from which the decoder learns, so that it reads inexact latents too."""


class LatentFlowHead(Head):
    """Label auto-encoder with flow matching between noise (t = 1) and its latents (t = 0), on the straight path."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__(config)
        size, classes = config.estimator, len(config.labels)
        self.encoder = nn.Linear(classes, size.dim)
        self.decoder = nn.Linear(size.dim, classes)
        self.network = make_estimator(replace(size, conditions=config.feature_transform.given[0]))
        noises = torch.randn(DRAWS, size.dim, generator=torch.Generator().manual_seed(0))
        self.register_buffer("noises", noises, persistent=False)

    def latent(self, target: Tensor) -> Tensor:
        """Latents (batch, dim) of class shares (batch, classes), scaled to the size of standard normal noise."""
        return functional.normalize(self.encoder(target), dim=-1) * self.config.estimator.dim**0.5

    def example(self, x_1: Tensor, X_c: Tensor, target: Tensor, objective: Objective) -> tuple[Tensor, ...]:  # noqa: ARG002
        """All hidden states, the class shares, a time, and noise for the start and for the decoder."""
        t = torch.rand(len(x_1), device=x_1.device)
        return torch.cat([X_c, x_1[:, None]], dim=1), target, t, torch.randn_like(x_1), torch.randn_like(x_1)

    def loss(self, *example: Tensor) -> Tensor:
        """Mean square error of the velocity, plus the cross-entropy of the labels that the decoder reads."""
        states, target, t, start, noise = example
        x_0 = self.latent(target)
        end = x_0.detach()
        x_t = torch.lerp(end, start, t[:, None])
        flow = (self.network(x_t, states, t) - (start - end)).square().mean()
        return flow + functional.cross_entropy(self.decoder(x_0 + LATENT_NOISE * noise), target)

    def coordinates(self, features: Tensor, sampler: Sampler | None = None) -> Tensor:  # noqa: ARG002
        """Softmax probabilities of the decoded latents, averaged over all starts."""
        states = self.feature_transform(features)
        total = states.new_zeros(states.shape[0], len(self.config.labels))
        for noise in self.noises:
            x = noise.expand(states.shape[0], -1)
            for step in range(STEPS):
                t = x.new_full(x.shape[:1], 1 - step / STEPS)
                x = x - self.network(x, states, t) / STEPS
            total = total + self.decoder(x).softmax(-1)
        return total / len(self.noises)
