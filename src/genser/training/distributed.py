"""Several processes under torchrun: every one draws the same global batch and works on its own slice of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this one is."""

    rank: int = 0
    world: int = 1

    def slice(self, batch: Tensor) -> Tensor:
        """This process's rows of a global batch."""
        return batch[self.rank :: self.world]

    def average(self, gradients: list[Tensor], share: float) -> None:
        """Replace gradients of the mean over a slice, ``share`` of the batch, by those of the mean over the batch."""
        if self.world == 1:
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients]) * share
        distributed.all_reduce(flat)
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, part in zip(gradients, flat.split(sizes), strict=True):
            gradient.copy_(part.view_as(gradient))

    def total(self, value: Tensor) -> Tensor:
        """Sum of a value over all processes."""
        if self.world > 1:
            distributed.all_reduce(value)
        return value


ALONE = Processes()
"""The only process of a run that torchrun did not start."""


@contextmanager
def processes(device: str) -> Iterator[Processes]:
    """Join the processes that torchrun started, if any; leave them at the end."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield ALONE
        return
    if device.startswith("cuda"):
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield Processes(distributed.get_rank(), world)
    finally:
        distributed.destroy_process_group()
