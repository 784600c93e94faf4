"""The engine for many machines: a worker per machine or GPU, as actors of Ray.

Ray places the workers, starts machines for those that find no room, and reports what it lost. A task is some blocks.
One that was on a lost worker is given to another, and computing a block twice gives the same shard, so nothing is
lost or doubled.
"""

import logging
import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from typing import Any

from genser.errors import GenserError, MissingExtraError
from genser.scale.blocks import Block
from genser.scale.child import KINDS
from genser.scale.commit import Shards
from genser.scale.job import Job, Setup
from genser.scale.supervise import Supervisor
from genser.scale.worker import Summary

LOOK = 5.0  # s between two looks for machines that have come or gone
MOST_LOSSES = 25  # of the worker of one task
OBJECT_MEMORY = 128 << 20  # bytes; objects are lists of paths and counts


def run_ray(
    job: Job,
    setup: Setup,
    shards: Shards,
    tasks: Iterable[Sequence[Block]],
    *,
    address: str | None = None,
    workers: int | None = None,
) -> Iterator[Summary]:
    """Compute tasks, each of some blocks, on a cluster.

    Args:
        job: What is computed.
        setup: With what.
        shards: Where results go; all machines must reach it, and the files of the input.
        tasks: Read as they are needed.
        address: Of the cluster, such as ``"auto"`` or ``"10.0.0.1:6379"``; None starts one on this machine, unless the
            variable RAY_ADDRESS names one.
        workers: Workers to ask for; None means as many as the cluster has room for.

    Raises:
        GenserError: As :meth:`Supervisor.run`, or a task has lost its worker 25 times.
        MissingExtraError: Ray is not installed.
    """
    with _connected(address) as ray:
        yield from _Cluster(ray, job, setup, shards, workers).run(iter(tasks))


def import_ray() -> Any:
    """The module ray, with its usage reports switched off for all that this process starts.

    Raises:
        MissingExtraError: It is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        return import_module("ray")
    except ImportError as error:
        raise MissingExtraError("scale", "The engine ray") from error


@contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    started: dict[str, Any] = (
        {"include_dashboard": False, "object_store_memory": OBJECT_MEMORY} if address == "local" else {}
    )
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **started)
    except Exception as error:  # Ray has no type of its own for this
        raise GenserError(
            f"Ray cannot be used at {address}: {error} Check the address, and the load of the machine."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


class _Actor:
    """A worker on some machine of the cluster."""

    def __init__(self, job: Job, setup: Setup, shards: Shards) -> None:
        self._supervisor = Supervisor(job, setup, shards)

    def ready(self) -> None:
        """Return once the actor is there."""

    def run(self, blocks: Sequence[Block]) -> tuple[list[Summary], tuple[str, str] | None]:
        """Compute blocks; an error of genser comes back as the name of its type and its message."""
        done: list[Summary] = []
        try:
            done += self._supervisor.run(blocks)
        except GenserError as error:
            return done, (type(error).__name__, str(error))
        return done, None


class _Cluster:
    """The workers of a run and their tasks."""

    def __init__(self, ray: Any, job: Job, setup: Setup, shards: Shards, workers: int | None) -> None:
        self._ray, self._shards, self._workers = ray, shards, workers
        nodes = self._nodes()
        has_gpu = any(node.get("GPU") for node in nodes)
        self._gpus = int(setup.device.startswith("cuda") or (setup.device == "auto" and has_gpu))
        suited = [node for node in nodes if node.get("CPU") and node.get("GPU", 0) >= self._gpus] or [{"CPU": 1}]
        shared = int(min(node["CPU"] // max(node.get("GPU", 0) if self._gpus else 1, 1) for node in suited))
        self._threads = setup.threads or max(shared, 1)
        setup = replace(setup, threads=self._threads)
        self._actor = ray.remote(num_cpus=self._threads, num_gpus=self._gpus, max_restarts=0)(_Actor)
        self._arguments = job, setup, shards
        self._starting: dict[Any, Any] = {}
        self._idle: list[Any] = []
        self._running: dict[Any, tuple[Any, Sequence[Block]]] = {}
        self._again: deque[Sequence[Block]] = deque()
        self._losses: Counter[int] = Counter()

    def run(self, tasks: Iterator[Sequence[Block]]) -> Iterator[Summary]:
        """Give each task to a worker until all are done."""
        while True:
            self._start_workers()
            while self._idle and (task := self._again.popleft() if self._again else next(tasks, None)) is not None:
                actor = self._idle.pop()
                self._running[actor.run.remote(task)] = actor, task
            if not self._running and not self._again and self._idle:
                return
            done, _ = self._ray.wait([*self._running, *self._starting], num_returns=1, timeout=LOOK)
            for future in done:
                yield from self._finished(future)

    def _finished(self, future: Any) -> list[Summary]:
        """Take what a worker returns; one that is lost gives its task back."""
        is_new = future in self._starting
        actor, task = (self._starting.pop(future), ()) if is_new else self._running.pop(future)
        try:
            found = self._ray.get(future)
        except self._ray.exceptions.RayTaskError:
            raise
        except self._ray.exceptions.RayError as error:
            self._ray.kill(actor)  # if only the connection was lost
            if task:
                self._give_back(task, error)
            return []
        self._idle.append(actor)
        if is_new:
            return []
        summaries, failure = found
        if failure:
            raise KINDS.get(failure[0], GenserError)(failure[1])
        return summaries

    def _give_back(self, task: Sequence[Block], error: Exception) -> None:
        first = task[0].number
        self._losses[first] += 1
        if self._losses[first] == MOST_LOSSES:
            raise GenserError(
                f"The task from shard {first} on has lost its worker {MOST_LOSSES} times: {error} Check the machines, "
                "and run the same command again, which continues."
            )
        self._again.append(task)

    def _start_workers(self) -> None:
        """Ask for workers until there are as many as wanted."""
        wanted = self._workers or max(sum(map(self._room, self._nodes())), 1)
        for _ in range(wanted - len(self._idle) - len(self._running) - len(self._starting)):
            actor = self._actor.remote(*self._arguments)
            self._starting[actor.ready.remote()] = actor

    def _room(self, node: dict[str, float]) -> int:
        """Workers that a machine has room for."""
        by_gpu = [int(node.get("GPU", 0) // self._gpus)] if self._gpus else []
        return min([int(node.get("CPU", 0) // self._threads), *by_gpu])

    def _nodes(self) -> list[dict[str, float]]:
        """Resources of the machines that are alive."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
