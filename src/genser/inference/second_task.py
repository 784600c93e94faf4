"""The second answer of a model, the gender of the voice, in place of the emotion."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from genser.data.labels import TASKS
from genser.errors import ConfigError, ModelError, suggestion
from genser.inference.backend import Backend, ModelOutput
from genser.inference.onnx_file import EXPORT_AGAIN


class GenderBackend:
    """A model whose scores are its probabilities of the genders; they have no transport.

    Args:
        backend: A model with a head for the gender.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.path = backend.path
        self.labels = tuple(backend.metadata["genders"])
        self.metadata: dict[str, Any] = {
            **backend.metadata,
            "labels": list(self.labels),
            "task": "gender",
            "head": {**backend.metadata["head"], "kind": "flat"},
        }

    def outputs(
        self, windows: Sequence[np.ndarray], batch_samples: float | None, shift: np.ndarray | None = None
    ) -> Iterator[tuple[list[int], ModelOutput]]:
        """Run on windows, see :class:`genser.inference.backend.Backend`.

        Raises:
            ModelError: The model does not return what its metadata promise.
        """
        for indices, output in self._backend.outputs(windows, batch_samples, shift):
            if output.gender is None or output.gender.shape[1:] != (len(self.labels),):
                raise ModelError(f"The model has no score for each of {', '.join(self.labels)}. {EXPORT_AGAIN}.")
            yield indices, replace(output, scores=output.gender, trajectory=None, states=None)


def for_task(backend: Backend, task: str) -> Backend:
    """A model for a task: itself, or its second answer.

    Args:
        backend: A loaded model.
        task: ``"emotion"`` or ``"gender"``.

    Raises:
        ConfigError: There is no such task, or the model was not trained for it.
    """
    if task not in TASKS:
        raise ConfigError(f"There is no task {task!r}. {suggestion(task, TASKS)}")
    own = tasks_of(backend.metadata)
    if task not in own:
        cure = "Train one with gender: true in its recipe." if task == "gender" else "Name another model."
        raise ConfigError(f"This model recognises {own[0]} and not {task}. {cure}")
    return backend if task == own[0] else GenderBackend(backend)


def tasks_of(metadata: Mapping[str, Any]) -> list[str]:
    """Tasks of a model: the one that it was trained for first, and its second answer."""
    first = metadata.get("info", {}).get("task", "emotion")
    return [first, *(["gender"] if metadata.get("genders") and first != "gender" else [])]
