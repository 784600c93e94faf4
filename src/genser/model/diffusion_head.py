"""Diffusion classifier (Li et al., "Your diffusion model is secretly a zero-shot classifier", ICCV 2023; reference 11).

It learns a density p(x | class) of speech features by denoising, and decides for the class under which a clip is most
likely. Its cost grows with the classes, which the transport head avoids.
"""

import math
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from genser.model.estimator import make_estimator
from genser.model.head import CodedHead, HeadConfig
from genser.transport import Objective, Sampler

DRAWS = 16
"""Passes through the network for each class: half as many times, each with a noise and its negative."""

LARGEST_LOG_SNR = 5.0
"""Largest logarithm of the signal-to-noise ratio; beyond it, the classes differ by 1 % of the whole at most."""


class DiffusionHead(CodedHead):
    """Class probabilities by the evidence bounds of a diffusion model.

    x is the mean of the standardised hidden states, with unit mean square. The class code takes the place of the
    conditions, so the network has the size of the transport estimator. The hidden states are no conditions here: a
    density conditioned on them would leave nothing for the class to explain.

    The noise is estimated as sin·x_t + cos·network (v-prediction, Salimans and Ho, ICLR 2022). The first part is right
    for standard normal x, so the network has only the difference to learn. A network that is narrower than x could
    pass on but a part of the noise, and the class would be lost in the error of the rest.

    The bound of −log p(x | class) is half the integral of the squared error over the logarithm of the signal-to-noise
    ratio (Kingma et al., NeurIPS 2021). Times are evenly spaced in it. Every noise is also used with the other sign:
    the product of noise and class mean, which would favour the same classes for all clips, then cancels.

    Args:
        config: Sizes and settings.
        draws: Passes for each class, an even number.
    """

    def __init__(self, config: HeadConfig, draws: int = DRAWS) -> None:
        super().__init__(config)
        self.network = make_estimator(replace(config.estimator, conditions=1))
        self.register_buffer("scale", torch.ones(()))
        noises = torch.randn(draws // 2, config.estimator.dim, generator=torch.Generator().manual_seed(0))
        self.register_buffer("noises", noises, persistent=False)

    @torch.no_grad()
    def fit(
        self,
        features: Float[Tensor, "rows states dim"],
        labels: Int[Tensor, " rows"],
        weights: Float[Tensor, " rows"] | None = None,
    ) -> None:
        """Fit the feature transform, and the root mean square of x."""
        super().fit(features, labels, weights)
        squares = self.feature_transform(features).mean(1).square().mean(1)
        share = torch.ones_like(squares) if weights is None else weights.to(squares)
        self.scale.copy_((share @ squares / share.sum()).sqrt().clamp(min=1e-6))

    def example(self, x_1: Tensor, X_c: Tensor, target: Tensor, objective: Objective) -> tuple[Tensor, ...]:  # noqa: ARG002
        """Noisy x at a random time, the class code as the condition, and the noise."""
        t = torch.rand(len(x_1), device=x_1.device)
        noise = torch.randn_like(x_1)
        x = torch.cat([X_c, x_1[:, None]], dim=1).mean(1) / self.scale
        return _diffused(x, noise, t), (target @ self.codes)[:, None], t, noise

    def loss(self, *example: Tensor) -> Tensor:
        """Mean square error of the estimated noise."""
        x_t, code, t, noise = example
        return (self._noise(x_t, code, t) - noise).square().mean()

    def coordinates(self, features: Tensor, sampler: Sampler | None = None) -> Tensor:  # noqa: ARG002
        """Posterior of the classes, which are equally frequent: softmax of the evidence bounds."""
        x = self.feature_transform(features).mean(1) / self.scale
        step = 2 * LARGEST_LOG_SNR / len(self.noises)
        bounds = x.new_zeros(x.shape[0], len(self.codes))
        for draw, noise in enumerate(self.noises):
            log_snr = (draw + 0.5) * step - LARGEST_LOG_SNR
            t = x.new_full(x.shape[:1], math.atan(math.exp(-log_snr / 2)) * 2 / math.pi)
            for one in (noise, -noise):
                bounds = bounds - step / 2 * self._errors(_diffused(x, one, t), t, one) / 2
        return bounds.softmax(-1)

    def _noise(self, x_t: Tensor, code: Tensor, t: Tensor) -> Tensor:
        """The estimate of the noise in x_t, (batch, dim)."""
        cos, sin = _rotation(t)
        return sin * x_t + cos * self.network(x_t, code, t)

    def _errors(self, x_t: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Square errors of the noise (batch, classes), one pass per class."""
        estimates = [self._noise(x_t, code.expand(x_t.shape[0], 1, -1), t) for code in self.codes]
        return torch.stack([(estimate - noise).square().sum(-1) for estimate in estimates], dim=-1)


def _rotation(t: Tensor) -> tuple[Tensor, Tensor]:
    """Shares cos(πt/2) of x and sin(πt/2) of the noise, each (batch, 1): the cosine schedule."""
    angle = (t * torch.pi / 2)[:, None]
    return angle.cos(), angle.sin()


def _diffused(x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Variance-preserving noising: cos(πt/2)·x + sin(πt/2)·noise."""
    cos, sin = _rotation(t)
    return cos * x + sin * noise
