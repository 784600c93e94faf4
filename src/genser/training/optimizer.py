"""AdamW with warm-up and cosine, and the moving average that becomes the model."""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn

from genser.training.checkpoint import TrainState
from genser.training.recipe import OptimizerConfig


def make_optimizer(head: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW that decays matrices and leaves vectors and biases alone."""
    trained = [parameter for parameter in head.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, fused=True)


def learning_rate(step: int, steps: int, config: OptimizerConfig) -> float:
    """Linear warm-up to the peak, then a cosine down to its final share."""
    warmup = config.warmup * steps
    if step < warmup:
        return config.lr * (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(steps - warmup, 1)
    return config.lr * (config.final + (1 - config.final) * (1 + math.cos(math.pi * progress)) / 2)


def averaging_weight(step: int, decay: float) -> float:
    """Weight of the current weights in the average: early on it follows them faster, so that it forgets the start."""
    return 1 - min(decay, (1 + step) / (10 + step)) if decay else 1.0


@torch.no_grad()
def average_towards(state: TrainState, decay: float) -> None:
    """Move the average towards the current weights."""
    torch._foreach_lerp_(state.average, list(state.parameters), averaging_weight(state.step, decay))


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """The arithmetic of the network that a recipe names."""
    return nullcontext() if precision == "float32" else torch.autocast(device.type, torch.bfloat16)


@contextmanager
def averaged(state: TrainState) -> Iterator[None]:
    """Run a block with the averaged weights in the head, then put the current ones back."""
    current = [parameter.detach().clone() for parameter in state.parameters]
    _set(state, state.average)
    try:
        yield
    finally:
        _set(state, current)


@torch.no_grad()
def _set(state: TrainState, values: list[torch.Tensor]) -> None:
    for parameter, value in zip(state.parameters, values, strict=True):
        parameter.copy_(value)
