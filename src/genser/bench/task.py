"""What a process of the bench does: train one head on one side, then compare candidates or keep runs.

A task says where its result belongs, so that a bench that was stopped sees what is left to do.
"""

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genser.bench.runs import BenchRun, Cost, RunSpec
from genser.bench.trace import Trace
from genser.errors import GenserError
from genser.files import atomic_write
from genser.metrics.classification import confusion_matrix, unweighted_accuracy
from genser.model.heads import make_head
from genser.training.data import Dataset
from genser.training.recipe import TrainConfig
from genser.training.train import predict, train
from genser.transport import Sampler

TRACE_STEPS = 20
"""Steps of the transport that Figure 1 shows, which it keeps every fourth time of."""

_KEPT_TIMES = 4
_TRACED = 240  # utterances in a trace


@dataclass(frozen=True)
class Training:
    """One head to train.

    Attributes:
        head: Which head, see :data:`genser.model.heads.HEADS`.
        config: Its recipe.
        train: Positions to learn from.
        test: Positions to score.
        device: Where to train.
    """

    head: str
    config: TrainConfig
    train: np.ndarray
    test: np.ndarray
    device: str

    def fit(self, dataset: Dataset) -> tuple[Any, float]:
        """The trained head, and the seconds it took."""
        with torch.random.fork_rng():
            torch.manual_seed(self.config.seed)
            config = self.config.head_config(dataset.classes, *dataset.features.shape[1:])
            head = make_head(replace(config, kind=self.head))
        started = time.perf_counter()
        train(head.to(self.device), dataset.training_rows(self.train, self.config), self.config)
        return head, time.perf_counter() - started


@dataclass(frozen=True)
class SelectTask(Training):
    """A candidate: its UA on held-out training speakers, as a line of JSON in ``path``."""

    path: Path

    @property
    def done(self) -> bool:
        """Whether the result is on disk."""
        return self.path.exists()

    def __call__(self, dataset: Dataset) -> None:
        """Train, score, and keep the score."""
        head, _ = self.fit(dataset)
        held_out = dataset.rows(self.test)
        scores = predict(head, held_out.features)
        ua = unweighted_accuracy(confusion_matrix(held_out.labels.numpy(), scores.argmax(-1), scores.shape[-1]))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(self.path, json.dumps({"ua": float(ua)}).encode())


@dataclass(frozen=True)
class Reading:
    """One way to read a trained head.

    Attributes:
        spec: What the run is.
        sampler: Steps and read-out of a transport head; None is the recipe's.
        steps: Numbers N of transport steps to read as well.
    """

    spec: RunSpec
    sampler: Sampler | None = None
    steps: tuple[int, ...] = ()


@dataclass(frozen=True)
class TrainTask(Training):
    """A head trained on a whole training side, and the runs that are read off it.

    Attributes:
        folder: Where the runs are kept.
        readings: The runs.
        names: Identifier of every test utterance.
        trace: File for the states of test utterances along the transport; None for none.
    """

    folder: Path
    readings: tuple[Reading, ...]
    names: np.ndarray
    trace: Path | None = None

    @property
    def done(self) -> bool:
        """Whether every run and the trace are on disk."""
        files = [self.folder / reading.spec.name for reading in self.readings]
        return all(path.exists() for path in (*files, *([self.trace] if self.trace else [])))

    def __call__(self, dataset: Dataset) -> None:
        """Train, score the test side in every way, and keep it."""
        head, seconds = self.fit(dataset)
        for reading in self.readings:
            self._read(head, reading, dataset, seconds)
        if self.trace:
            self.trace.parent.mkdir(parents=True, exist_ok=True)
            trace_of(head, dataset, self.test).save(self.trace)

    def _read(self, head: Any, reading: Reading, dataset: Dataset, seconds: float) -> None:
        test = dataset.rows(self.test)
        options = {"sampler": reading.sampler} if reading.sampler else {}
        started = time.perf_counter()
        probabilities = predict(head, test.features, **options)
        cost = Cost(sum(p.numel() for p in head.parameters()), seconds, time.perf_counter() - started, self.device)
        base = reading.sampler or self.config.sampler
        counts = [count for count in reading.steps if count or base.readout == "estimate"]
        steps = {count: predict(head, test.features, sampler=replace(base, steps=count)) for count in counts}
        speakers = [dataset.utterances[place].speaker_key for place in self.test]
        voices = None if None in speakers else np.array(["/".join(filter(None, speaker)) for speaker in speakers])
        run = BenchRun(
            reading.spec, dataset.classes, self.names, test.labels.numpy(), probabilities, cost, voices, steps
        )
        run.save(self.folder)


@torch.inference_mode()
def trace_of(head: Any, dataset: Dataset, places: np.ndarray) -> Trace:
    """States of utterances along the transport from x_1 to x_0 (the paper's Figure 1), at six times.

    Args:
        head: A trained transport head.
        dataset: The utterances.
        places: Positions of those to show; at most 240 of them are, evenly chosen.
    """
    chosen = places[np.linspace(0, len(places) - 1, min(_TRACED, len(places))).round().astype(int)]
    rows = dataset.rows(chosen)
    head = head.eval().cpu()
    x_1, X_c = head.ends(rows.features.float())
    sampler, path = replace(head.config.sampler, steps=TRACE_STEPS), head.config.path
    _, states = sampler.trace(head.estimate, path, x_1, X_c)
    kept = np.arange(0, TRACE_STEPS + 1, _KEPT_TIMES)
    times = path.T - kept * (path.T - path.t_eps) / TRACE_STEPS
    return Trace(
        times, states.numpy()[kept], x_1.numpy(), head.codes.numpy(), rows.labels.numpy(), tuple(dataset.classes)
    )


Task = SelectTask | TrainTask
_shared: dict[str, Dataset] = {}


@contextmanager
def workers(dataset: Dataset, jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Processes of one thread each that share a data set through memory maps."""
    with tempfile.TemporaryDirectory(prefix="genser-bench-") as folder:
        arrays = {"features": dataset.features} | (
            {} if dataset.augmented is None else {"augmented": dataset.augmented}
        )
        for name, array in arrays.items():
            np.save(Path(folder, f"{name}.npy"), array)
        light = replace(dataset, **dict.fromkeys(arrays))
        pool = ProcessPoolExecutor(
            jobs, mp_context=get_context("spawn"), initializer=begin, initargs=(light, folder, tuple(arrays))
        )
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)


def begin(light: Dataset, folder: str, arrays: Sequence[str]) -> None:
    """Set a process up: one thread, the features mapped, and an end together with the bench that started it."""
    torch.set_num_threads(1)
    if parent_process() is not None:
        threading.Thread(target=_leave_with_parent, daemon=True).start()
    mapped = {name: np.load(Path(folder, f"{name}.npy"), mmap_mode="r") for name in arrays}
    _shared["dataset"] = replace(light, **mapped)


def _leave_with_parent() -> None:
    """End the process when its parent is gone: killed at once, it cannot tell its processes to stop waiting."""
    wait([parent_process().sentinel])
    os._exit(1)


def _perform(task: Task) -> None:
    task(_shared["dataset"])


def perform(pool: ProcessPoolExecutor, tasks: Iterable[Task], tell: Callable[[int, int], None]) -> None:
    """Do what is not on disk yet.

    Args:
        pool: From :func:`workers`.
        tasks: All tasks, the finished ones among them.
        tell: Called with the tasks done and their number.

    Raises:
        GenserError: If a process was killed; what it had finished is kept.
    """
    tasks = list(tasks)
    waiting = [task for task in tasks if not task.done]
    before = len(tasks) - len(waiting)
    tell(before, len(tasks))
    futures = [pool.submit(_perform, task) for task in waiting]
    try:
        for done, future in enumerate(as_completed(futures), before + 1):
            future.result()
            tell(done, len(tasks))
    except BrokenProcessPool as error:
        raise GenserError(
            "A process of the bench was killed, perhaps for want of memory. Finished runs are kept: start it again, "
            "with fewer --jobs."
        ) from error
