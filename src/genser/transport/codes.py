"""Classes as points of a continuous space: codes, the nearest code, and what its neighbourhood says of probability.

Everything here works on NumPy arrays and torch tensors alike, so that training, evaluation and the runtime share it.
"""

from typing import Any

import numpy as np

from genser.errors import ConfigError

CODE_KINDS = ("sinusoidal", "orthogonal", "one-hot")

EMOTIONS = ("neutral", "calm", "happiness", "sadness", "anger", "fear", "disgust", "surprise", "boredom")
"""Canonical names of the emotions that the corpora of the field share, in the order in which genser lists them."""


def class_codes(classes: int, dim: int, kind: str = "sinusoidal", seed: int = 0) -> np.ndarray:
    """Eq. (2): the terminal point x_0(b) = sin(2π·l/L·(i_b + 1)) of every class, one row a class.

    The print has 2πL/L; the vector l = 0 … L−1 is meant. The codes are mutually orthogonal and of norm √(L/2) as long
    as the highest frequency stays below L/2, so more classes than that are refused.

    Args:
        classes: Number of classes, at least 1.
        dim: Length L of a code, the width of the speech features.
        kind: ``"sinusoidal"`` is the paper's; ``"orthogonal"`` (rows of a random rotation) and ``"one-hot"`` have the
            same norm and angles and serve to ask whether the sinusoid itself matters.
        seed: Draw of the random rotation.

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
            f"length. Use at most {(dim - 1) // 2} classes, or an encoder with wider features."
        )
    norm = np.sqrt(dim / 2)
    if kind == "sinusoidal":
        cycles = np.outer(np.arange(1, classes + 1), np.arange(dim)) % dim  # exact reduction before the sine
        codes = np.sin(2 * np.pi * cycles / dim)
    elif kind == "orthogonal":
        rotation, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((dim, classes)))
        codes = norm * rotation.T
    elif kind == "one-hot":
        codes = norm * np.eye(classes, dim)
    else:
        raise ConfigError(f"Unknown kind of code {kind!r}: use one of {', '.join(CODE_KINDS)}.")
    return codes.astype(np.float32)


def projections(x_0: Any, codes: Any) -> Any:
    """Coordinates <x̂_0, x_0(b)> / ‖x_0(b)‖² of estimates along every code.

    The minimiser of Eq. (8) is a mixture of codes weighted by the posterior p(b | x_t, X_c), and the codes are
    orthogonal, so each coordinate estimates the probability of its class.

    Args:
        x_0: Estimates, shape (..., dim).
        codes: Class codes, shape (classes, dim).

    Returns:
        Shape (..., classes), of the kind of the input.
    """
    return x_0 @ codes.T / (codes * codes).sum(-1)


def probabilities(coordinates: Any, exponent: Any = 1.0, floor: float = 0.0) -> Any:
    """Eq. (12) read as probabilities: coordinates clipped at 0 and normalised to 1.

    Over codes of one norm the largest coordinate is the largest cosine, so the order of classes is the paper's. Both
    settings of the calibration keep that order; where no coordinate is positive every class gets the same share.

    Args:
        coordinates: From :func:`projections`, shape (..., classes).
        exponent: Exponent of the clipped coordinates, one for all or (..., 1); above 1 sharpens, below 1 flattens.
        floor: Share in [0, 1) that is spread evenly over the classes, so that nothing is ever called impossible.

    Returns:
        Shape (..., classes), every row sums to 1.
    """
    clipped = coordinates.clip(min=1e-6) ** exponent
    shares = clipped / clipped.sum(-1)[..., None]
    return (1 - floor) * shares + floor / coordinates.shape[-1]


def nearest_code(x_0: Any, codes: Any) -> Any:
    """Eq. (12): index of the class whose code has the largest cosine with each estimate; shape (...)."""
    return projections(x_0, codes).argmax(-1)
