"""The local engine: one worker, which uses all cores or the GPU of this machine."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing

from genser.scale.blocks import Block
from genser.scale.commit import Shards
from genser.scale.job import Job, Setup
from genser.scale.supervise import Supervisor
from genser.scale.worker import Summary


def run_local(job: Job, setup: Setup, shards: Shards, tasks: Iterable[Sequence[Block]]) -> Iterator[Summary]:
    """Compute tasks, each of some blocks, one after the other.

    Raises:
        GenserError: As :meth:`Supervisor.run`.
    """
    with closing(Supervisor(job, setup, shards)) as supervisor:
        for blocks in tasks:
            yield from supervisor.run(blocks)
