"""Checkpoints that make a resumed run equal to an uninterrupted one: safetensors with JSON in the header, no pickle."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from genser.errors import ModelError
from genser.files import atomic_write
from genser.model.head import Head


def append_metrics(path: Path, metrics: dict[str, float]) -> None:
    """Add a line of metrics to a file of JSON lines."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(metrics) + "\n")


def read_metrics(path: Path, until: int) -> list[dict[str, float]]:
    """Read the metrics up to a step.

    Later lines, which a killed run wrote after its last checkpoint, are removed, and so are torn ones.
    """
    if not path.exists():
        return []
    kept = []
    for line in path.read_text("utf-8", errors="replace").splitlines():
        with suppress(ValueError, TypeError, KeyError):  # a line that a stop or a full disk has torn
            metrics = json.loads(line)
            if metrics["step"] <= until:
                kept.append(metrics)
    atomic_write(path, "".join(json.dumps(metrics) + "\n" for metrics in kept).encode())
    return kept


@dataclass
class TrainState:
    """Everything that changes during training.

    All randomness of a step follows from the seed and the step's number, so no state of a generator is kept.

    Attributes:
        head: With the current weights.
        average: Moving average of the trained parameters.
        optimizer: With its moments.
        step: Steps done.
        best: Best validation UA so far; −1 before the first evaluation.
    """

    head: Head
    average: list[Tensor]
    optimizer: torch.optim.Optimizer
    step: int = 0
    best: float = -1.0

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Trained parameters, in the order of ``average``."""
        return [parameter for parameter in self.head.parameters() if parameter.requires_grad]


def save_checkpoint(state: TrainState, path: Path, identity: str) -> None:
    """Write a checkpoint; the file appears under its name only once it is complete.

    Args:
        state: Of the run.
        path: File to write.
        identity: Hash of recipe and data; a checkpoint is resumed only by a run with the same one.
    """
    tensors = {name: tensor.detach().contiguous() for name, tensor in _tensors(state)}
    meta = {"step": state.step, "best": state.best, "identity": identity}
    atomic_write(path, save(tensors, metadata={"genser": json.dumps(meta)}))


def load_checkpoint(state: TrainState, path: Path, identity: str) -> None:
    """Restore the state of a run from its checkpoint.

    Raises:
        ModelError: The file is damaged, or belongs to another recipe or other data.
    """
    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads((file.metadata() or {}).get("genser", "{}"))
            if meta.get("identity") != identity:
                raise ModelError(f"{path} belongs to another recipe or other data. Use an empty output folder.")
            _revive_moments(state, file.keys())
            for name, tensor in _tensors(state):
                tensor.data.copy_(file.get_tensor(name))
        state.step, state.best = meta["step"], meta["best"]
    except (SafetensorError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise ModelError(f"{path} is not a readable checkpoint: {error}. Delete it to start anew.") from error


def _tensors(state: TrainState) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the state with a stable name; the optimiser has none before its first step."""
    yield from ((f"model.{name}", value) for name, value in state.head.state_dict().items())
    for index, parameter in enumerate(state.parameters):
        yield f"average.{index}", state.average[index]
        moments: dict[str, Any] = state.optimizer.state.get(parameter, {})
        yield from ((f"optimizer.{index}.{name}", value) for name, value in moments.items())


def _revive_moments(state: TrainState, names: list[str]) -> None:
    """Create the optimiser's moments for every parameter that has some in the checkpoint."""
    for index, parameter in enumerate(state.parameters):
        if f"optimizer.{index}.exp_avg" in names:
            moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
            state.optimizer.state[parameter] = {"step": torch.zeros((), device=parameter.device), **moments}
