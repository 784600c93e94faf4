"""AdamW with warm-up and cosine, and the moving average that becomes the model."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from genser.training.checkpoint import TrainState
from genser.training.config import OptimizerConfig


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


@torch.no_grad()
def average_towards(state: TrainState, decay: float) -> None:
    """Move the average towards the current weights; early on it follows them faster, so that it forgets the start."""
    decay = min(decay, (1 + state.step) / (10 + state.step)) if decay else 0.0
    torch._foreach_lerp_(state.average, list(state.parameters), 1 - decay)


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
