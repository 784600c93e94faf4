"""What runs a model: ONNX without torch, or torch from a model folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class ModelOutput:
    """Answers for a batch.

    Attributes:
        scores: Class probabilities, shape (batch, classes).
        trajectory: Class probabilities read off at each time of the transport, shape (batch, N + 1, classes).
        states: Transported states x_t, shape (batch, N + 1, dim).
        speech: Probability that somebody speaks, shape (batch,); None if the model has no speech gate.
    """

    scores: np.ndarray
    trajectory: np.ndarray
    states: np.ndarray
    speech: np.ndarray | None


class Backend(Protocol):
    """A loaded model.

    Attributes:
        labels: Class names in the order of the scores.
        metadata: What the model tells of itself: labels, task, encoder, head, precision, info, license and so on.
        together: Whether a batch of several clips gives each what it gets alone. A graph whose activations are
            quantised by the batch's range does not, so its clips run one by one.
    """

    labels: tuple[str, ...]
    metadata: Mapping[str, Any]
    together: bool

    def run(self, waveforms: np.ndarray, lengths: np.ndarray) -> ModelOutput:
        """Run on mono 16 kHz sound of shape (batch, samples), each valid for its length of 400 … 480,000 samples."""
