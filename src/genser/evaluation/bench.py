"""The bench: heads × folds × seeds over stored features, resumable, one process a core.

Whatever a head may choose is chosen on speakers held out inside each training side; the test side is scored once, by
models trained on the whole training side with what was chosen.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genser.configuration import to_mapping
from genser.data.atomic import write_whole
from genser.data.splits import Fold, check_leaks, validation_split
from genser.evaluation.baselines import make_head
from genser.evaluation.confusion import confusion_matrix, unweighted_accuracy
from genser.evaluation.plan import INNER_SEED, BenchPlan, HeadPlan
from genser.evaluation.results import BenchRun, Cost, Protocol, RunSpec
from genser.training.dataset import Dataset
from genser.training.rows import TrainingData
from genser.training.train import predict, train

INNER_SHARE = 0.2
"""Share of a fold's training speakers on which candidates are compared."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class BenchTask:
    """One head on one fold, with the settings chosen for it, or one candidate for them."""

    spec: RunSpec
    head: str
    train: np.ndarray
    test: np.ndarray
    settings: dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """A plan on the folds of a data set.

    Attributes:
        dataset: Labelled utterances with their features.
        folds: Train and test positions.
        protocol: What the folds are called.
        plan: What is compared.
        encoder: Name of the encoder, for the report.
        folder: Where one file a run is kept.
        jobs: Processes at a time, each with one thread.
    """

    dataset: Dataset
    folds: Sequence[Fold]
    protocol: Protocol
    plan: BenchPlan
    encoder: str
    folder: Path
    jobs: int = 1

    def __post_init__(self) -> None:
        for fold in self.folds:
            if fold.speaker_independent:
                check_leaks(*(self._utterances(side) for side in (fold.train, fold.test)))

    def run(self, progress: Progress | None = None) -> None:
        """Choose settings, then train what is not on disk yet.

        Raises:
            ManifestError: If a speaker is on both sides of a fold that calls itself speaker-independent.
        """
        tell = progress or (lambda *_: None)
        self._work("choose", list(self._candidates()), _compare, tell)
        self._work("train", list(self._runs()), _run, tell)

    def _candidates(self) -> Iterator[tuple[Path, BenchTask]]:
        """Trainings that compare the candidates of a head inside a fold's training side."""
        for fold in self.folds:
            train, held_out = self._inner(fold)
            for head in (head for head in self.plan.heads if len(head.candidates) > 1):
                for place in range(len(head.candidates)):
                    spec = self._spec(fold, head.name, INNER_SEED, head.candidates[place], "candidate", str(place))
                    task = BenchTask(spec, head.head, train, held_out, dict(head.candidates[place]))
                    yield self._candidate_path(spec), task

    def _runs(self) -> Iterator[tuple[Path, BenchTask]]:
        for fold in self.folds:
            for head in self.plan.heads:
                settings = self.chosen(fold, head)
                for seed in range(self.plan.seeds):
                    yield self._task(fold, head, seed, settings)
            yield from self._ablations(fold)

    def _ablations(self, fold: Fold) -> Iterator[tuple[Path, BenchTask]]:
        heads = {head.name: head for head in self.plan.heads}
        for factor, values in self.plan.ablations.items():
            for value, changes in values.items():
                head = heads["transport"]
                settings = {**self.chosen(fold, head), **changes}
                for seed in range(self.plan.ablation_seeds):
                    yield self._task(fold, head, seed, settings, factor, str(value))

    def chosen(self, fold: Fold, head: HeadPlan) -> dict[str, Any]:
        """Settings of the candidate with the best UA on the speakers held out inside the training side."""
        if len(head.candidates) == 1:
            return dict(head.candidates[0])
        scores = []
        for place, candidate in enumerate(head.candidates):
            spec = self._spec(fold, head.name, INNER_SEED, candidate, "candidate", str(place))
            scores.append(json.loads(self._candidate_path(spec).read_text())["ua"])
        return dict(head.candidates[int(np.argmax(scores))])

    def _task(
        self, fold: Fold, head: HeadPlan, seed: int, settings: dict[str, Any], factor: str = "", value: str = ""
    ) -> tuple[Path, BenchTask]:
        spec = self._spec(fold, head.name, seed, settings, factor, value)
        return self.folder / spec.name, BenchTask(spec, head.head, fold.train, fold.test, settings)

    def _spec(self, fold: Fold, head: str, seed: int, settings: Any, factor: str, value: str) -> RunSpec:
        recipe = to_mapping(self.plan.config(settings, seed))
        return RunSpec(self.protocol, fold.name, head, self.encoder, seed, factor, value, recipe)

    def _candidate_path(self, spec: RunSpec) -> Path:
        return self.folder / "candidates" / spec.name.replace(".npz", ".json")

    def _inner(self, fold: Fold) -> tuple[np.ndarray, np.ndarray]:
        """Training side without, and only, the speakers that candidates are compared on."""
        inside, held_out = validation_split(self._utterances(fold.train), INNER_SHARE, INNER_SEED)
        return fold.train[inside], fold.train[held_out]

    def _utterances(self, places: Iterable[int]) -> list[Any]:
        return [self.dataset.utterances[place] for place in places]

    def _work(self, stage: str, tasks: list[tuple[Path, BenchTask]], work: Any, tell: Progress) -> None:
        """Do what is not on disk yet, in processes that share the features through a memory map."""
        waiting = [(path, task) for path, task in tasks if not path.exists()]
        tell(stage, len(tasks) - len(waiting), len(tasks))
        if not waiting:
            return
        start = (str(self._mapped()), self.dataset, self.plan)
        context = get_context("spawn")
        with ProcessPoolExecutor(self.jobs, mp_context=context, initializer=_begin, initargs=start) as pool:
            futures = [pool.submit(work, path, task) for path, task in waiting]
            for done, future in enumerate(as_completed(futures), len(tasks) - len(waiting) + 1):
                future.result()
                tell(stage, done, len(tasks))

    def _mapped(self) -> Path:
        """Features on disk, where every process can map them."""
        path = self.folder / "features.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, self.dataset.features)
        return path


_shared: dict[str, Any] = {}


def _begin(features: str, dataset: Dataset, plan: BenchPlan) -> None:
    """Set a worker process up: one thread, and the features mapped."""
    torch.set_num_threads(1)
    mapped = np.load(features, mmap_mode="r")
    _shared.update(dataset=replace(dataset, features=mapped), plan=plan)


def _trained(task: BenchTask) -> tuple[Any, TrainingData, float]:
    dataset, plan = _shared["dataset"], _shared["plan"]
    config = plan.config(task.settings, task.spec.seed)
    with torch.random.fork_rng():
        torch.manual_seed(task.spec.seed)
        head = make_head(task.head, config.head(dataset.classes, *dataset.features.shape[1:]))
    started = time.perf_counter()
    train(head, dataset.rows(task.train, config.balance), config)
    return head, dataset.rows(task.test), time.perf_counter() - started


def _compare(path: Path, task: BenchTask) -> None:
    """Train a candidate and note its UA on the held-out training speakers."""
    head, held_out, _ = _trained(task)
    scores = predict(head, held_out.features)
    ua = unweighted_accuracy(confusion_matrix(held_out.labels.numpy(), scores.argmax(-1), scores.shape[-1]))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps({"ua": float(ua), "settings": task.settings}).encode())


def _run(path: Path, task: BenchTask) -> None:
    """Train on a whole training side, score its test side, and keep the run."""
    head, test, seconds = _trained(task)
    dataset, plan = _shared["dataset"], _shared["plan"]
    started = time.perf_counter()
    probabilities = predict(head, test.features)
    cost = Cost(sum(p.numel() for p in head.parameters()), seconds, time.perf_counter() - started)
    utterances = [dataset.utterances[place] for place in task.test]
    speakers = [item.speaker_key for item in utterances]
    BenchRun(
        task.spec,
        dataset.classes,
        np.array([_identifier(item) for item in utterances]),
        test.labels.numpy(),
        probabilities,
        cost,
        None if None in speakers else np.array(["/".join(speaker) for speaker in speakers]),
        _by_steps(head, test, plan.steps) if task.head == "transport" else {},
    ).save(path.parent)


def _by_steps(head: Any, test: TrainingData, steps: Sequence[int]) -> dict[int, np.ndarray]:
    sampler = head.config.sampler
    return {count: predict(head, test.features, sampler=replace(sampler, steps=count)) for count in steps}


def _identifier(utterance: Any) -> str:
    """Name of an utterance that does not tell where its corpus lies."""
    name = "/".join(Path(utterance.path).parts[-2:])
    return f"{utterance.corpus or ''}/{name}{utterance.key.removeprefix(utterance.path)}"
