"""Mean and standard deviation of the path as functions of time, with exact derivatives (Eqs. 6 and 7)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

SERIES_BELOW = 1e-2
"""|x| below which tanh(x)/x is summed as a series. The error there is below 1e-13, far under float32's resolution."""


def _tanh_ratio(x: float) -> float:
    """tanh(x)/x, continued by 1 to x = 0."""
    return 1 - x * x / 3 + 2 * x**4 / 15 if abs(x) < SERIES_BELOW else math.tanh(x) / x


def _tanh_ratio_of(x: Tensor) -> Tensor:
    """tanh(x)/x elementwise, continued by 1 to x = 0, with finite gradients everywhere."""
    small = x.abs() < SERIES_BELOW
    safe = torch.where(small, torch.ones_like(x), x)
    return torch.where(small, 1 - x * x / 3 + 2 * x**4 / 15, torch.tanh(safe) / safe)


def mean_weight(t: Float[Tensor, "..."], k: float) -> Float[Tensor, "..."]:
    """Eq. (6): the weight w(t) of x_1 in μ_t = x_0 + (x_1 − x_0)·w(t), with w(0) = 0 and w(1) = 1.

    The printed quotient equals ½ + ½·tanh(k(t−½)/2)/tanh(k/4), which neither overflows for a steep path (large k) nor
    divides 0 by 0 for a flat one. k = 0 is the line w(t) = t.
    """
    s = t - 0.5
    return 0.5 + s * _tanh_ratio_of(k * s / 2) / _tanh_ratio(k / 4)


def mean_weight_slope(t: Float[Tensor, "..."], k: float) -> Float[Tensor, "..."]:
    """Derivative w'(t) of :func:`mean_weight`: 1/cosh²(k(t−½)/2), scaled so that it integrates to 1."""
    return (1 - torch.tanh(k * (t - 0.5) / 2) ** 2) / _tanh_ratio(k / 4)


def std(t: Float[Tensor, "..."], sigma: float) -> Float[Tensor, "..."]:
    """Eq. (7): σ_t = σ·√(t(1−t)), the Brownian bridge; positive inside (0, 1) and 0 at both ends."""
    return sigma * torch.sqrt(t * (1 - t))


def relative_std_slope(t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """σ'_t/σ_t = (1−2t) / (2t(1−t)) of Eq. (5); it does not depend on σ and is infinite at both ends."""
    return (1 - 2 * t) / (2 * t * (1 - t))
