"""Several processes under torchrun: they share the encoding, and each computes its slice of every batch."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from genser.errors import ConfigError

TORCHRUN = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun sets beside ``WORLD_SIZE``."""

PATIENCE = timedelta(days=7)
"""Time that processes wait for another, such as for the one that adapts an encoder."""


@dataclass(frozen=True)
class Processes:
    """This process among those of a run.

    Attributes:
        rank: Its number.
        world: Number of processes.
        folder: Folder of the arrays that the processes share; all machines of the run must have it.
    """

    rank: int = 0
    world: int = 1
    folder: Path = Path()

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.world > 1:
            distributed.barrier()

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """Run a block in the first process, then in the others, which find its files."""
        if self.rank:
            self.wait()
        yield
        if not self.rank:
            self.wait()

    def share(self, count: int, block: int = 1, rank: int | None = None) -> np.ndarray:
        """Indices of the rows that a process computes, by default this one: every n-th block of rows in turn."""
        indices = np.arange(count)
        return indices[indices // block % self.world == (self.rank if rank is None else rank)]

    def joined(self, part: list[Any]) -> list[Any]:
        """The lists of all processes, one after the other."""
        if self.world == 1:
            return part
        parts: list[Any] = [None] * self.world
        distributed.all_gather_object(parts, part)
        return [one for each in parts for one in each]

    def table(self, name: str, part: np.ndarray, count: int, block: int = 1) -> np.ndarray:
        """Join the rows that each process computed for its :meth:`share`.

        The table is a file that all processes map, so that each machine holds it once.

        Args:
            name: Name of the table, once in a run.
            part: Rows of this process.
            count: Rows of all processes.
            block: Rows of a block.
        """
        if self.world == 1:
            return part
        np.save(self._path(f"{name}-{self.rank}"), part)
        self.wait()
        if self.rank == 0:
            shape = (count, *part.shape[1:])
            table = np.lib.format.open_memmap(self._path(name), mode="w+", dtype=part.dtype, shape=shape)
            for rank in range(self.world):
                table[self.share(count, block, rank)] = self._map(f"{name}-{rank}")
                self._path(f"{name}-{rank}").unlink()
            table.flush()
        self.wait()
        return self._map(name)

    def once(self, make: Callable[[], Mapping[str, np.ndarray]]) -> Mapping[str, np.ndarray]:
        """Arrays that the first process makes, by name; all map its files."""
        if self.world == 1:
            return make()
        names = []
        if self.rank == 0:
            for name, array in make().items():
                np.save(self._path(name), array)
                names.append(name)
        return {name: self._map(name) for name in self.joined(names)}

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npy"

    def _map(self, name: str) -> np.ndarray:
        """Map a table; the mode makes it writable in memory alone, which torch expects."""
        try:
            return np.asarray(np.load(self._path(name), mmap_mode="c"))
        except FileNotFoundError as error:
            raise ConfigError(
                f"{self._path(name)} of another process is missing. All machines of a run need the same output folder: "
                "name one on storage that they share."
            ) from error

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

    def broadcast(self, module: nn.Module) -> None:
        """Give all processes the weights and buffers that the first one has."""
        if self.world > 1:
            for tensor in (*module.parameters(), *module.buffers()):
                distributed.broadcast(tensor.data, 0)


ALONE = Processes()
"""The only process of a run without torchrun."""


class WholeBatchDropout(TorchFunctionMode):
    """Dropout draws the mask of the whole batch and applies the rows of this process.

    So several processes drop what one would, as long as their slices have the same size.
    """

    def __init__(self, processes: Processes) -> None:
        super().__init__()
        self.processes = processes

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Replace dropout, and call all other functions as they are."""
        if func is not functional.dropout:
            return func(*args, **(kwargs or {}))
        values, *options = args
        whole = values.new_ones(len(values) * self.processes.world, *values.shape[1:])
        return values * self.processes.slice(func(whole, *options, **(kwargs or {})))


@contextmanager
def processes(device: str, folder: Path) -> Iterator[tuple[Processes, str]]:
    """Join the processes that torchrun started, if any, and leave them at the end.

    Args:
        device: On a GPU, each process takes the one of its number on its machine.
        folder: Folder for the arrays that they share; emptied at the start and deleted at the end.

    Yields:
        This process, and its device.

    Raises:
        ConfigError: A machine has fewer GPUs than processes, or something other than torchrun set ``WORLD_SIZE``.
    """
    size = os.environ.get("WORLD_SIZE") or "1"
    if size == "1":
        yield ALONE, device
        return
    missing = [name for name in TORCHRUN if name not in os.environ]
    if missing or not size.isdecimal():
        problem = f"{missing[0]} is not set" if missing else "that is no number of processes"
        raise ConfigError(
            f"The variable WORLD_SIZE is {size!r}, but {problem}. Start with torchrun, or unset WORLD_SIZE to train in "
            "one process."
        )
    world = int(size)
    is_gpu, place = device.startswith("cuda"), int(os.environ["LOCAL_RANK"])
    if is_gpu:
        if place >= torch.cuda.device_count():
            raise ConfigError(
                f"There are more processes than the {torch.cuda.device_count()} GPUs of this machine. Give torchrun "
                f"--nproc-per-node {torch.cuda.device_count()}."
            )
        device = f"cuda:{place}"
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if is_gpu else "gloo", timeout=PATIENCE)
    try:
        group = Processes(distributed.get_rank(), world, folder)
        if group.rank == 0:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        group.wait()
        yield group, device
        group.wait()
        if group.rank == 0:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        distributed.destroy_process_group()
