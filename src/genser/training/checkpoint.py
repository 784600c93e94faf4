"""Checkpoints that make a resumed run equal to an uninterrupted one: safetensors with JSON in the header, no pickle."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from genser.errors import ModelError


def append_metrics(path: Path, metrics: dict[str, float]) -> None:
    """Add a line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(metrics) + "\n")


def read_metrics(path: Path, until: int) -> list[dict[str, float]]:
    """Lines up to a step; later ones, which a killed run wrote after its last checkpoint, are dropped from the file."""
    if not path.exists():
        return []
    lines = [line for line in path.read_text("utf-8").splitlines() if line.endswith("}")]
    kept = [line for line in lines if json.loads(line)["step"] <= until]
    part = path.with_name(path.name + ".part")
    part.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
    part.replace(path)
    return [json.loads(line) for line in kept]


@dataclass
class TrainState:
    """Everything that changes while training.

    All randomness of a step follows from the seed and the step's number, so no generator state needs to be kept.
    """

    head: nn.Module
    average: list[Tensor]
    optimizer: torch.optim.Optimizer
    step: int = 0
    best: float = -1.0

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Trained parameters, in the order of ``average``."""
        return [parameter for parameter in self.head.parameters() if parameter.requires_grad]


def save_checkpoint(state: TrainState, path: Path, identity: str) -> None:
    """Write a checkpoint whole or not at all.

    Args:
        state: What to keep.
        path: Target file.
        identity: Hash of recipe and data; a checkpoint is only ever resumed by the run that made it.
    """
    tensors = {name: tensor.detach().contiguous() for name, tensor in _tensors(state)}
    meta = {"step": state.step, "best": state.best, "identity": identity}
    part = path.with_name(path.name + ".part")
    save_file(tensors, part, metadata={"genser": json.dumps(meta)})
    part.replace(path)


def load_checkpoint(state: TrainState, path: Path, identity: str) -> None:
    """Put a run back to where its checkpoint was written.

    Raises:
        ModelError: If the file is damaged, or was made by another recipe or on other data.
    """
    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads((file.metadata() or {}).get("genser", "{}"))
            if meta.get("identity") != identity:
                raise ModelError(f"{path} belongs to another recipe or other data. Use an empty output folder.")
            _revive_moments(state, file.keys())
            for name, tensor in _tensors(state):
                tensor.data.copy_(file.get_tensor(name))
    except (SafetensorError, ValueError) as error:
        raise ModelError(f"{path} is not a readable checkpoint: {error}. Delete it to start afresh.") from error
    state.step, state.best = meta["step"], meta["best"]


def _tensors(state: TrainState) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the state with a stable name; those of the optimiser only where it has any."""
    yield from ((f"model.{name}", value) for name, value in state.head.state_dict().items())
    for index, parameter in enumerate(state.parameters):
        yield f"average.{index}", state.average[index]
        moments: dict[str, Any] = state.optimizer.state.get(parameter, {})
        yield from ((f"optimizer.{index}.{name}", value) for name, value in moments.items())


def _revive_moments(state: TrainState, names: list[str]) -> None:
    """Make the optimiser's empty moments for every parameter that has some in the checkpoint."""
    for index, parameter in enumerate(state.parameters):
        if f"optimizer.{index}.exp_avg" in names:
            moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
            state.optimizer.state[parameter] = {"step": torch.zeros((), device=parameter.device), **moments}
