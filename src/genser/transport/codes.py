"""Class codes, projections onto them, and the probabilities that the projections stand for (Eqs. 2 and 12).

Everything but :func:`class_codes` works on NumPy arrays and on torch tensors.
"""

from typing import Any

import numpy as np

from genser.errors import ConfigError, counted

SMALLEST_COORDINATE = 1e-6
"""Coordinates are clipped here, so that a power of them and its gradient stay finite."""


def class_codes(classes: int, dim: int) -> np.ndarray:
    """Eq. (2): the terminal point x_0(b) = sin(2π·l/L·(i_b + 1)) of every class.

    The paper prints 2πL/L; the vector l = 0 … L−1 is meant. The codes are orthogonal and of norm √(L/2) as long as the
    highest frequency stays below L/2, so more classes than that are refused.

    Args:
        classes: Number of classes, at least 1.
        dim: Length L of a code, the width of the speech features.

    Returns:
        float32 array of shape (classes, dim).

    Raises:
        ConfigError: If ``classes`` codes of this length cannot be orthogonal.
    """
    if classes < 1:
        raise ConfigError(f"At least one class is needed, got {classes}.")
    if 2 * classes >= dim:
        raise ConfigError(
            f"{classes} classes do not fit into codes of length {dim}: sinusoids are orthogonal only below half of the "
            f"length. Use at most {counted((dim - 1) // 2, 'class', 'classes')}, or wider features: more components "
            "or another encoder."
        )
    cycles = np.outer(np.arange(1, classes + 1), np.arange(dim)) % dim  # exact reduction before the sine
    return np.sin(2 * np.pi * cycles / dim).astype(np.float32)


def projections(x_0: Any, codes: Any) -> Any:
    """Coordinates <x̂_0, x_0(b)> / ‖x_0(b)‖² of estimates along every code.

    The minimiser of Eq. (8) is a mixture of codes weighted by the posterior p(b | x_t, X_c). The codes are orthogonal,
    so each coordinate estimates the probability of its class.

    Args:
        x_0: Estimates, shape (..., dim).
        codes: Class codes, shape (classes, dim).

    Returns:
        Shape (..., classes), of the type of the input.
    """
    return x_0 @ codes.T / (codes * codes).sum(-1)


def probabilities(coordinates: Any, exponent: Any = 1.0) -> Any:
    """Eq. (12) read as probabilities: coordinates clipped near 0, raised to the calibration exponent, normalised to 1.

    All codes have one norm, so the largest coordinate is the largest cosine and the order of the classes is the
    paper's. The exponent keeps that order. If no coordinate is positive, every class gets the same probability.

    Args:
        coordinates: From :func:`projections`, shape (..., classes).
        exponent: One for all rows, or shape (..., 1); above 1 sharpens, below 1 flattens.

    Returns:
        Shape (..., classes); every row sums to 1.
    """
    powers = coordinates.clip(min=SMALLEST_COORDINATE) ** exponent
    return powers / powers.sum(-1)[..., None]
