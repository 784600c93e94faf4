"""Calibration of scores on speakers that a head has not heard."""

from dataclasses import replace

import numpy as np
import torch

from genser.model import TransportHead
from genser.taxonomy import probabilities
from genser.training.rows import TrainingData, balance_weights

POWERS = np.round(np.geomspace(0.5, 6.0, 60), 3)
"""Exponents that are tried."""

FEWEST = 50
"""Clips from which an exponent can be told at all."""

PART = 4096
"""Rows that are scored at once."""


@torch.no_grad()
def calibrate(head: TransportHead, held_out: TrainingData) -> None:
    """Give a head the exponent under which it is as confident as it is right on speakers it has not learned from.

    With fewer than :data:`FEWEST` clips it keeps the one that it has. The order of classes does not change.
    """
    if len(held_out) < FEWEST:
        return
    device = next(head.parameters()).device
    rows = [head.eval().coordinates(part.to(device).float()).cpu() for part in held_out.features.split(PART)]
    power = fit_power(torch.cat(rows).numpy(), held_out.labels.numpy())
    head.config = replace(head.config, power=power)


def fit_power(coordinates: np.ndarray, labels: np.ndarray, corpora: np.ndarray | None = None) -> float:
    """Exponent of the clipped coordinates under which the answers are as confident as they are right.

    Mean confidence is matched to accuracy over held-out speakers, classes counting alike: a single exponent can do no
    more than move all confidences together, and this is the part of the calibration error that it can remove.

    Args:
        coordinates: Projections on the class codes from heads that never heard the speaker, shape (rows, classes).
        labels: Class indices, shape (rows,).
        corpora: What else counts alike, shape (rows,): first these, then the classes inside each. None for one corpus.
    """
    outer = [""] * len(labels) if corpora is None else corpora.tolist()
    weights = balance_weights(list(zip(outer, map(str, labels.tolist()), strict=True))).numpy()
    accuracy = weights @ (coordinates.argmax(1) == labels)
    confidences = [weights @ probabilities(coordinates, float(power)).max(1) for power in POWERS]
    return float(POWERS[np.abs(np.array(confidences) - accuracy).argmin()])
