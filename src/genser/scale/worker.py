"""The work itself: blocks of rows to shards. Every engine runs this, in a process of its own."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any

from genser.files import usable_cores
from genser.inference.load import MOST_DECODERS, found_device
from genser.scale.blocks import Block, Row
from genser.scale.commit import Counts, Shards
from genser.scale.decoding import Decoders
from genser.scale.job import Job, Setup
from genser.scale.kinds import make_kind

AHEAD = 128
"""Rows that are decoded ahead."""


@dataclass(frozen=True)
class Summary:
    """What became of a block.

    Attributes:
        number: Of the block.
        rows: Rows of the input.
        counts: How many of them failed, and more.
    """

    number: int
    rows: int
    counts: Counts


@dataclass(frozen=True)
class Order:
    """A block to compute.

    Attributes:
        block: The block.
        excluded: Number of a row → why it is not tried.
        is_trial: Whether the results are thrown away.
    """

    block: Block
    excluded: dict[int, str] = field(default_factory=dict)
    is_trial: bool = False

    @property
    def rows(self) -> list[Row]:
        """The rows; those that are not tried have an error."""
        return [replace(row, error=self.excluded.get(row.number, row.error)) for row in self.block.rows]


class Worker:
    """A loaded model or encoder, and processes that decode for it."""

    def __init__(self, job: Job, setup: Setup) -> None:
        device = found_device(setup.device)
        most = MOST_DECODERS["cpu" if device == "cpu" else "gpu"]
        self._threads = min(setup.threads or usable_cores(), most)
        self._decoders = Decoders(setup.decoding)
        self._kind = make_kind(job, replace(setup, device=device), self._decoders)

    def run(self, orders: Sequence[Order], shards: Shards) -> Iterator[Summary]:
        """Compute blocks and commit their shards, one after the other, while the next rows are being decoded."""
        with ThreadPoolExecutor(self._threads, thread_name_prefix="genser-decode") as pool:
            prepared = _ahead(pool, self._kind.prepare, chain.from_iterable(order.rows for order in orders))
            for order in orders:
                content, counts = self._kind.shard(islice(prepared, len(order.block.rows)))
                if not order.is_trial:
                    shards.commit(order.block, content)
                yield Summary(order.block.number, len(order.block.rows), counts)


def _ahead(pool: Executor, prepare: Callable[[Row], Any], rows: Iterable[Row]) -> Iterator[tuple[Row, Any]]:
    """Rows with what was prepared for them, in order, some rows ahead."""
    rest = iter(rows)
    waiting: deque[tuple[Row, Future]] = deque()
    while True:
        for row in islice(rest, AHEAD - len(waiting)):
            waiting.append((row, pool.submit(prepare, row)))
        if not waiting:
            return
        row, future = waiting.popleft()
        yield row, future.result()


_WORKERS: dict[str, Worker] = {}


def run_orders(job: Job, setup: Setup, shards: Shards, orders: Sequence[Order]) -> Iterator[Summary]:
    """Compute blocks, for a child process, which keeps its worker for the next call."""
    if shards.job not in _WORKERS:
        _WORKERS[shards.job] = Worker(job, setup)
    yield from _WORKERS[shards.job].run(orders, shards)
