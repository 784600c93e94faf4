"""One training example of Algorithm 1 and the loss of Eq. (8)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from genser.errors import ConfigError
from genser.transport.path import BridgePath, Times, Vectors

Conditions = Float[Tensor, "batch conditions dim"]
Estimator = Callable[[Tensor, Tensor, Tensor], Tensor]
"""x_θ: maps (x_t, X_c, t) to an estimate of x_0."""


class TrainingExample(NamedTuple):
    """A batch of inputs x_t, X_c, t with the target x_0."""

    x_t: Vectors
    X_c: Conditions
    t: Times
    x_0: Vectors


@dataclass(frozen=True)
class Objective:
    """How a batch of features becomes training examples.

    Attributes:
        time_power: Exponent p of t = T − (T − t_eps)·u^p for uniform u. 1 is the paper's uniform draw; a larger p draws
            t nearer to T. With uniform t most of the training happens where x_t already shows the answer: on RAVDESS
            p = 4 gained about five points of UA over p = 1.
        mixup: Share of the batch whose (x_1, X_c, x_0) are mixed with those of another item. The targets are
            continuous, so mixtures of them are targets too.
        noise: Standard deviation of Gaussian noise on the standardised features (x_1, X_c).
    """

    time_power: float = 1.0
    mixup: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        if not self.time_power > 0:
            raise ConfigError(f"objective.time_power must be above 0, got {self.time_power}.")
        if not 0 <= self.mixup <= 1:
            raise ConfigError(f"objective.mixup must lie in [0, 1], got {self.mixup}.")
        if not self.noise >= 0:
            raise ConfigError(f"objective.noise must be at least 0, got {self.noise}.")

    def draw_times(self, path: BridgePath, count: int, like: Tensor, generator: torch.Generator | None = None) -> Times:
        """Draw times in [t_eps, T], shape (count,), on the device and in the precision of ``like``."""
        u = torch.rand(count, generator=generator, device=like.device, dtype=like.dtype)
        return path.T - (path.T - path.t_eps) * u**self.time_power

    def augment(
        self,
        x_1: Vectors,
        X_c: Conditions,
        target: Float[Tensor, "batch target"],
        generator: torch.Generator | None = None,
    ) -> tuple[Vectors, Conditions, Float[Tensor, "batch target"]]:
        """Mix pairs of items and add feature noise; shapes do not change.

        Args:
            x_1: Speech features.
            X_c: Conditions.
            target: x_0, or class shares: the codes of mixed shares are the mixture of the codes.
            generator: Source of randomness; None is torch's global one.

        Returns:
            The augmented x_1, X_c and target.
        """
        batch = len(x_1)
        if self.mixup > 0:
            draw = {"generator": generator, "device": x_1.device}
            keep = torch.where(torch.rand(batch, **draw) < self.mixup, torch.rand(batch, **draw), 1.0).to(x_1.dtype)
            other = torch.randperm(batch, **draw)
            x_1, X_c, target = (_blend(x, x[other], keep) for x in (x_1, X_c, target))
        if self.noise > 0:
            x_1, X_c = (x + self.noise * _normal_like(x, generator) for x in (x_1, X_c))
        return x_1, X_c, target

    def example(
        self,
        path: BridgePath,
        x_1: Vectors,
        X_c: Conditions,
        x_0: Vectors,
        generator: torch.Generator | None = None,
    ) -> TrainingExample:
        """Algorithm 1, from "Sample timestep t" to "Obtain perturbed signal"."""
        t = self.draw_times(path, len(x_1), x_1, generator)
        x_t = path.perturb(x_0, x_1, t, _normal_like(x_1, generator))
        return TrainingExample(x_t=x_t, X_c=X_c, t=t, x_0=x_0)


def target_matching_loss(estimator: Estimator, example: TrainingExample) -> Float[Tensor, ""]:
    """Eq. (8): mean square distance of x_θ(x_t, X_c, t) to x_0, per dimension."""
    estimate = estimator(example.x_t, example.X_c, example.t)
    return (estimate - example.x_0).square().mean()


def _blend(x: Tensor, other: Tensor, keep: Tensor) -> Tensor:
    weight = keep.reshape(-1, *[1] * (x.dim() - 1))
    return weight * x + (1 - weight) * other


def _normal_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
