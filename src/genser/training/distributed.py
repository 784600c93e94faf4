"""Several processes under torchrun: each draws the same batch and computes its slice of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class Processes:
    """The rank of this process, and the number of processes."""

    rank: int = 0
    world: int = 1

    @contextmanager
    def one_by_one(self) -> Iterator[None]:
        """Run a block in one process after the other, so that the later ones find the files of the first."""
        for _ in range(self.rank):
            distributed.barrier()
        yield
        for _ in range(self.rank + 1, self.world):
            distributed.barrier()

    def slice(self, batch: Tensor) -> Tensor:
        """Rows of a batch that this process computes."""
        return batch[self.rank :: self.world]

    def average(self, gradients: list[Tensor], share: float) -> None:
        """Replace gradients of the mean over a slice by those of the mean over the batch.

        Args:
            gradients: Changed in place.
            share: Share of the batch that the slice is.
        """
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
"""The only process of a run without torchrun."""

PATIENCE = timedelta(days=7)
"""Time that processes wait for another, such as for the one that encodes a corpus."""


@contextmanager
def processes(device: str) -> Iterator[Processes]:
    """Join the processes that torchrun started, if any, and take this one's GPU; leave them at the end."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield ALONE
        return
    if device.startswith("cuda"):
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=PATIENCE)
    try:
        yield Processes(distributed.get_rank(), world)
    finally:
        distributed.destroy_process_group()
