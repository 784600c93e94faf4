"""A worker in a child process that is replaced when it dies, and the rows at which it does."""

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import replace

from genser.errors import GenserError
from genser.scale.blocks import Block
from genser.scale.child import Child, ChildDiedError, Limits
from genser.scale.commit import Shards
from genser.scale.job import Job, Setup
from genser.scale.worker import Order, Summary, run_orders

TRIES = 3  # deaths at a block before its rows are tried one by one
MOST_DEATHS = 12  # at one block


class Supervisor:
    """Runs blocks in a worker, whatever becomes of it.

    Files are decoded in further processes, so a worker hardly ever dies of a file. When it dies, it is replaced, and
    the block is computed again. After three deaths, each of its rows is tried alone. Rows at which the worker then dies
    twice get an error, and the others are computed in the same groups as ever, so that their results are the same.
    """

    def __init__(self, job: Job, setup: Setup, shards: Shards) -> None:
        self._job, self._setup, self._shards = job, setup, shards
        self._child: Child | None = None

    def run(self, blocks: Sequence[Block]) -> Iterator[Summary]:
        """Compute blocks and commit their shards.

        Raises:
            GenserError: The model cannot be loaded, a shard cannot be written, or a block ends every worker.
        """
        waiting = deque(Order(block) for block in blocks)
        deaths: Counter[int] = Counter()
        while waiting:
            try:
                for summary in self._run(waiting):
                    waiting.popleft()
                    yield summary
            except ChildDiedError as death:
                block = waiting[0].block  # blocks are computed in order
                deaths[block.number] += 1
                if deaths[block.number] == MOST_DEATHS:
                    raise GenserError(
                        f"Shard {block.number} has ended its worker {MOST_DEATHS} times, but none of its rows alone: "
                        f"{death} Check the memory of the machine."
                    ) from death
                if deaths[block.number] % TRIES == 0:
                    waiting[0] = Order(block, self._guilty(block))

    def close(self) -> None:
        """End the worker."""
        if self._child:
            self._child.close()

    def _run(self, orders: Sequence[Order]) -> Iterator[Summary]:
        if self._child is None or not self._child.is_usable:
            self._child = self._loaded()
        yield from self._child.run(run_orders, self._job, self._setup, self._shards, list(orders))

    def _loaded(self) -> Child:
        """A new worker that has loaded its model."""
        for attempt in range(1, TRIES + 1):
            child = Child(Limits())
            try:
                deque(child.run(run_orders, self._job, self._setup, self._shards, []), maxlen=0)
                return child
            except ChildDiedError as death:
                if attempt == TRIES:
                    raise GenserError(
                        f"The worker dies while it loads the model: {death} Check the memory of the machine."
                    ) from death
        raise AssertionError

    def _guilty(self, block: Block) -> dict[int, str]:
        """Number of each row at which the worker dies twice, and why."""
        found = {}
        for row in block.rows:
            reasons = [self._death_at(replace(block, rows=(row,)))]
            reasons += [self._death_at(replace(block, rows=(row,)))] if reasons[0] else []
            if all(reasons):
                found[row.number] = f"{row.path} cannot be recognised: {reasons[0]} Convert it, or remove it."
        return found

    def _death_at(self, block: Block) -> str | None:
        try:
            deque(self._run([Order(block, is_trial=True)]), maxlen=0)
        except ChildDiedError as death:
            return str(death)
        return None
