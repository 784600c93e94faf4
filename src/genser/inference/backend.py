"""The interface of what runs a model: ONNX Runtime without torch, or torch with a model folder."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

MOST_THREADS = 1024  # more only exhaust the system


@dataclass(frozen=True)
class ModelOutput:
    """Outputs for a batch.

    Attributes:
        scores: Class probabilities, shape (batch, classes).
        trajectory: Class probabilities read off at each time of the transport, shape (batch, N + 1, classes); None if
            the model has no transport head.
        states: Transported states x_t, shape (batch, N + 1, dim); None if the model has no transport head.
        speech: Probability of speech, shape (batch,); None if the model has no speech gate.
        familiar: In-domain score: the probability that the clip resembles the training corpora, shape (batch,); None
            if the model has no such score.
        gender: Probabilities of the genders, shape (batch, genders), see
            :class:`genser.inference.second_task.GenderBackend`; None if the model has no head for them.
        features: Pooled hidden states before any shift, shape (batch, states, dim); None if the model has no such
            output.
    """

    scores: np.ndarray
    trajectory: np.ndarray | None = None
    states: np.ndarray | None = None
    speech: np.ndarray | None = None
    familiar: np.ndarray | None = None
    gender: np.ndarray | None = None
    features: np.ndarray | None = None


class Backend(Protocol):
    """A loaded model."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the scores."""

    @property
    def path(self) -> Path | None:
        """The file or folder of the model; None if it has none."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Labels, encoder, head, speech_threshold, license, info and more, as JSON values."""

    def outputs(
        self, windows: Sequence[np.ndarray], batch_samples: float | None, shift: np.ndarray | None = None
    ) -> Iterator[tuple[list[int], ModelOutput]]:
        """Run on windows of mono 16 kHz sound, each of shape (samples,), of 30 s at most.

        Args:
            windows: In any order.
            batch_samples: Samples run at once at most, padding included; one window at least. None leaves it to the
                model.
            shift: Added to the features before the head, float32 of shape (states, dim); None is 0.

        Yields:
            Indices of some windows and their outputs; every window occurs once.
        """
