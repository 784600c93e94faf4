"""Calibration of scores on speakers that a head has not heard."""

import numpy as np

from genser.taxonomy import probabilities

POWERS = np.round(np.geomspace(0.5, 6.0, 60), 3)
"""Exponents that are tried."""


def fit_power(coordinates: np.ndarray, labels: np.ndarray) -> float:
    """Exponent of the clipped coordinates under which the answers are as confident as they are right.

    Mean confidence is matched to accuracy over held-out speakers, classes counting alike: a single exponent can do no
    more than move all confidences together, and this is the part of the calibration error that it can remove.

    Args:
        coordinates: Projections on the class codes from heads that never heard the speaker, shape (rows, classes).
        labels: Class indices, shape (rows,).
    """
    counts = np.bincount(labels, minlength=coordinates.shape[1])
    weights = 1 / counts[labels]
    weights /= weights.sum()
    accuracy = weights @ (coordinates.argmax(1) == labels)
    confidences = [weights @ probabilities(coordinates, float(power)).max(1) for power in POWERS]
    return float(POWERS[np.abs(np.array(confidences) - accuracy).argmin()])
