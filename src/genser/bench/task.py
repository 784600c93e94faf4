"""The work of one process of a bench: train one head on one side, then compare candidates or store runs.

A task knows the file of its result, so a bench that was stopped finds the tasks that are left.
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
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genser._version import __version__
from genser.bench.runs import BenchRun, Cost, RunSpec, load_run
from genser.bench.trace import Trace
from genser.errors import GenserError, StoreError
from genser.files import atomic_write
from genser.inference.profile import shrunk_shift
from genser.metrics.classification import confusion_matrix, unweighted_accuracy
from genser.model.head import Head
from genser.model.heads import make_head
from genser.model.transport_head import TransportHead
from genser.training.data import Dataset
from genser.training.recipe import TrainConfig
from genser.training.train import predict, train
from genser.transport import Sampler

TRACE_STEPS = 20
"""Transport steps of Figure 1; the state after every fourth step is stored."""

_STEPS_APART = 4
_TRACED = 240  # utterances in a trace


@dataclass(frozen=True)
class Task:
    """One head to train.

    Attributes:
        config: Its recipe.
        train: Indices of the training utterances.
        test: Indices of the utterances to score.
        device: Device of the training.
    """

    config: TrainConfig
    train: np.ndarray
    test: np.ndarray
    device: str

    def fit(self, dataset: Dataset) -> tuple[Head, float]:
        """The trained head, and the seconds that the training took."""
        with torch.random.fork_rng():
            torch.manual_seed(self.config.seed)
            head = make_head(self.config.head_config(dataset.classes, *dataset.features.shape[1:]))
        started = time.perf_counter()
        train(head.to(self.device), dataset.training_rows(self.train, self.config), self.config)
        return head, time.perf_counter() - started


@dataclass(frozen=True)
class SelectTask(Task):
    """A candidate: its UA on held-out training speakers, stored as JSON in ``path``."""

    path: Path

    @property
    def done(self) -> bool:
        """Whether the result is stored."""
        return self.path.exists()

    def ua(self) -> float:
        """The stored UA.

        Raises:
            StoreError: The file is damaged.
        """
        return self._stored()[0]

    def versions(self) -> set[str]:
        """The version of genser that stored the UA.

        Raises:
            StoreError: The file is damaged.
        """
        return {self._stored()[1]}

    def _stored(self) -> tuple[float, str]:
        try:
            found = json.loads(self.path.read_text("utf-8"))
            return float(found["ua"]), str(found["version"])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise StoreError(
                f"{self.path} is not the score of a candidate ({error}). Delete it and run the bench again."
            ) from error

    def __call__(self, dataset: Dataset) -> None:
        """Train, score, and store the score."""
        head, _ = self.fit(dataset)
        held_out = dataset.rows(self.test)
        scores = predict(head, held_out.features)
        ua = unweighted_accuracy(confusion_matrix(held_out.labels.numpy(), scores.argmax(-1), scores.shape[-1]))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(self.path, json.dumps({"ua": float(ua), "version": __version__}).encode())


@dataclass(frozen=True)
class EvalVariant:
    """One way to evaluate a trained head.

    Attributes:
        spec: Identity of the run.
        sampler: Steps and read-out of the transport; None for the recipe's.
        steps: Further numbers N of transport steps to evaluate.
    """

    spec: RunSpec
    sampler: Sampler | None = None
    steps: tuple[int, ...] = ()


@dataclass(frozen=True)
class TrainTask(Task):
    """A head trained on a whole training side, and its runs.

    Attributes:
        folder: Folder of the runs.
        variants: The runs.
        names: Identifier of every test utterance.
        trace: File for the states of test utterances along the transport; None for none.
    """

    folder: Path
    variants: tuple[EvalVariant, ...]
    names: np.ndarray
    trace: Path | None = None

    @property
    def done(self) -> bool:
        """Whether every run and the trace are stored."""
        files = [self.folder / variant.spec.name for variant in self.variants]
        return all(path.exists() for path in (*files, *([self.trace] if self.trace else [])))

    def versions(self) -> set[str]:
        """The versions of genser that stored the runs.

        Raises:
            StoreError: A run is damaged.
        """
        return {load_run(self.folder / variant.spec.name).version for variant in self.variants}

    def __call__(self, dataset: Dataset) -> None:
        """Train, score the test side in every way, and store the runs."""
        head, seconds = self.fit(dataset)
        for variant in self.variants:
            self._evaluate(head, variant, dataset, seconds)
        if self.trace:
            assert isinstance(head, TransportHead)  # only a head with steps has a trace
            self.trace.parent.mkdir(parents=True, exist_ok=True)
            trace_of(head, dataset, self.test).save(self.trace)

    def _evaluate(self, head: Head, variant: EvalVariant, dataset: Dataset, seconds: float) -> None:
        test, sampler = dataset.rows(self.test), variant.sampler or self.config.sampler
        started = time.perf_counter()
        probabilities = predict(head, test.features, sampler=sampler)
        cost = Cost(sum(p.numel() for p in head.parameters()), seconds, time.perf_counter() - started, self.device)
        counts = [count for count in variant.steps if count or sampler.readout == "estimate"]
        steps = {count: predict(head, test.features, sampler=replace(sampler, steps=count)) for count in counts}
        keys = [dataset.utterances[index].speaker_key for index in self.test]
        adapted = {}
        if variant.spec.protocol.holds_out_corpora:
            mean = head.feature_transform.mean.double().cpu().numpy()
            shifted = adapted_features(test.features.numpy(), keys, mean)
            adapted = {name: predict(head, torch.from_numpy(one), sampler=sampler) for name, one in shifted.items()}
        speakers = None if None in keys else np.array(["/".join(filter(None, key)) for key in keys])
        labels = test.labels.numpy()
        run = BenchRun(variant.spec, dataset.classes, self.names, labels, probabilities, cost, speakers, steps, adapted)
        run.save(self.folder)


def adapted_features(features: np.ndarray, speakers: Sequence[object], mean: np.ndarray) -> dict[str, np.ndarray]:
    """Move the features of a collection towards the training mean without labels, as a profile does.

    Args:
        features: Shape (clips, states, dim).
        speakers: Speaker of each clip, None where unknown.
        mean: Mean of the training clips, float64 of shape (states, dim).

    Returns:
        The features by each of :data:`genser.bench.runs.ADAPTATIONS`. The shift of a speaker is shrunk towards that of
        the collection, which clips of unknown speakers get.
    """
    shift = shrunk_shift(features, mean)
    of_speakers = features + shift
    for speaker in set(speakers) - {None}:
        rows = np.array([other == speaker for other in speakers])
        of_speakers[rows] = features[rows] + shrunk_shift(features[rows], mean, shift)
    return {"collection": features + shift, "speaker": of_speakers}


@torch.inference_mode()
def trace_of(head: TransportHead, dataset: Dataset, indices: np.ndarray) -> Trace:
    """States of utterances along the transport from x_1 to x_0 (the paper's Figure 1), at six times.

    Args:
        head: A trained transport head.
        dataset: The utterances.
        indices: Indices of those to show; at most 240 of them are, evenly chosen.
    """
    chosen = indices[np.linspace(0, len(indices) - 1, min(_TRACED, len(indices))).round().astype(int)]
    rows = dataset.rows(chosen)
    head = head.eval().cpu()
    x_1, X_c = head.ends(rows.features.float())
    sampler, path = replace(head.config.sampler, steps=TRACE_STEPS), head.config.path
    _, states = sampler.trace(head.estimate, path, x_1, X_c)
    kept = np.arange(0, TRACE_STEPS + 1, _STEPS_APART)
    times = path.T - kept * (path.T - path.t_eps) / TRACE_STEPS
    return Trace(
        times, states.numpy()[kept], x_1.numpy(), head.codes.numpy(), rows.labels.numpy(), tuple(dataset.classes)
    )


_shared: dict[str, Dataset] = {}


@contextmanager
def workers(dataset: Dataset, jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Processes with one thread each that share a data set through memory maps."""
    with tempfile.TemporaryDirectory(prefix="genser-bench-") as folder:
        arrays = {name: getattr(dataset, name) for name in ("features", "augmented")}
        arrays = {name: array for name, array in arrays.items() if array is not None}
        for name, array in arrays.items():
            np.save(Path(folder, f"{name}.npy"), array)
        emptied: dict[str, Any] = dict.fromkeys(arrays)  # a process maps the arrays instead of unpickling them
        light = replace(dataset, **emptied)
        pool = ProcessPoolExecutor(
            jobs, mp_context=get_context("spawn"), initializer=start_worker, initargs=(light, folder, tuple(arrays))
        )
        try:
            yield pool
        except (KeyboardInterrupt, SystemExit):
            # a stop must not wait for the runs at hand, each of which may last for minutes
            for process in active_children():
                process.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def start_worker(light: Dataset, folder: str, arrays: Sequence[str]) -> None:
    """Set up a process: one thread, memory-mapped features, and an exit as soon as the bench that started it exits."""
    torch.set_num_threads(1)
    parent = parent_process()
    if parent is not None:

        def exit_with_parent() -> None:
            wait([parent.sentinel])  # a parent that was killed cannot stop its processes
            os._exit(1)

        threading.Thread(target=exit_with_parent, daemon=True).start()
    mapped: dict[str, Any] = {name: np.load(Path(folder, f"{name}.npy"), mmap_mode="r") for name in arrays}
    _shared["dataset"] = replace(light, **mapped)


def _perform(task: SelectTask | TrainTask) -> None:
    task(_shared["dataset"])


def perform(
    pool: ProcessPoolExecutor, tasks: Iterable[SelectTask | TrainTask], report: Callable[[int, int], None]
) -> None:
    """Run the tasks whose results are not stored yet.

    Args:
        pool: From :func:`workers`.
        tasks: All tasks, finished or not.
        report: Called with the number of finished tasks and the number of tasks.

    Raises:
        GenserError: A process was killed; its finished results are stored.
    """
    tasks = list(tasks)
    waiting = [task for task in tasks if not task.done]
    before = len(tasks) - len(waiting)
    report(before, len(tasks))
    try:
        futures = [pool.submit(_perform, task) for task in waiting]
        for done, future in enumerate(as_completed(futures), before + 1):
            future.result()
            report(done, len(tasks))
    except BrokenProcessPool as error:
        raise GenserError(
            "A process of the bench was killed, perhaps because memory ran out. Finished runs are stored. Run the "
            "bench again with fewer --jobs."
        ) from error
