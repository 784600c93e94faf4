"""States of utterances along the transport, stored for the paper's Figure 1."""

import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genser.errors import ConfigError, StoreError
from genser.files import atomic_write
from genser.metrics.classification import check_labels


@dataclass(frozen=True)
class Trace:
    """States of some utterances along the transport.

    Attributes:
        times: Times t in decreasing order, shape (times,), from T to t_eps.
        states: x̂_t of each utterance at these times, shape (times, n, L).
        starts: x_1 of each utterance, shape (n, L).
        codes: x_0 of each class, shape (classes, L).
        labels: True class indices, shape (n,).
        classes: Class names.

    Raises:
        ConfigError: Shapes differ, an index is out of range, or the times do not decrease.
    """

    times: np.ndarray
    states: np.ndarray
    starts: np.ndarray
    codes: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        check_labels(np.asarray(self.labels), len(self.classes))
        n, length = self.starts.shape
        shapes = (self.states.shape, self.codes.shape, self.labels.shape)
        if shapes != ((len(self.times), n, length), (len(self.classes), length), (n,)):
            raise ConfigError(
                f"States, codes and labels of shapes {shapes} do not fit starts of shape {self.starts.shape}."
            )
        if len(self.times) < 2 or (np.diff(self.times) >= 0).any():
            raise ConfigError(f"Times must decrease from T to t_eps, got {np.asarray(self.times).tolist()}.")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an .npz file in one step."""
        arrays = {name: getattr(self, name) for name in ("times", "states", "starts", "codes", "labels")}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, classes=np.array(self.classes), **arrays)
        atomic_write(path, buffer.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Trace":
        """Read what :meth:`save` wrote.

        Raises:
            StoreError: The file is damaged or is not a trace.
        """
        try:
            with np.load(Path(path), allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            return cls(**(arrays | {"classes": tuple(arrays["classes"].tolist())}))
        except Exception as error:  # damaged bytes make NumPy and zipfile raise many kinds of errors
            raise StoreError(
                f"{path} is not a trace or is damaged ({error}). Delete it and run the bench again."
            ) from error
