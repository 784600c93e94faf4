"""The bench: heads × folds × seeds over stored features, resumable, one process a core.

Whatever a head may choose is chosen on speakers held out inside each training side; the test side is scored once, by
models trained on the whole training side with what was chosen.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from genser._version import __version__
from genser.bench.folder import Entry
from genser.bench.plan import BenchPlan, HeadPlan, Settings, Variant
from genser.bench.protocols import INNER_SEED, identifiers, inner_splits, refuse_shared_speakers
from genser.bench.runs import Protocol, RunSpec
from genser.bench.task import Reading, SelectTask, TrainTask, perform, workers
from genser.config import to_mapping
from genser.data.splits import Fold
from genser.errors import ConfigError
from genser.training.data import Dataset

Progress = Callable[[str, int, int], None]
"""Told the stage, and how much of it is done of how much."""


@dataclass(frozen=True)
class Bench:
    """A plan on the folds of a data set.

    Attributes:
        dataset: Labelled utterances with their features.
        folds: Positions in it.
        protocol: What the folds are called.
        plan: What is compared.
        encoder: Name of the encoder, for the report.
        fingerprint: What tells its features from all others.
        folder: Where candidates, runs and traces are kept.
        jobs: Processes at a time, each with one thread.
        device: Where heads are trained.

    Raises:
        ManifestError: If a speaker is on both sides of a fold that calls itself speaker-independent.
    """

    dataset: Dataset
    folds: Sequence[Fold]
    protocol: Protocol
    plan: BenchPlan
    encoder: str
    fingerprint: str
    folder: Path
    jobs: int = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ConfigError(f"A bench needs one process or more, got jobs={self.jobs}.")
        for fold in self.folds:
            refuse_shared_speakers(self.dataset.utterances, fold)

    def run(self, progress: Progress | None = None) -> Entry:
        """Choose settings, then train what is not on disk yet; returns what belongs to the bench."""
        tell = progress or (lambda *_: None)
        name = f"{self.protocol.name} · {self.encoder}"
        with workers(self.dataset, self.jobs) as pool:
            perform(pool, self.comparisons(), lambda *done: tell(f"{name}: choosing", *done))
            measurements = list(self.measurements())
            entry = self._entry(measurements)
            entry.note(self.folder)
            perform(pool, measurements, lambda *done: tell(f"{name}: training", *done))
        return entry

    def comparisons(self) -> Iterator[SelectTask]:
        """Trainings that compare the candidates of every head inside the training side of every fold."""
        for fold in self.folds:
            for head in self.plan.heads:
                for place in range(len(head.candidates)):
                    yield from self._comparisons(fold, head, place)

    def measurements(self) -> Iterator[TrainTask]:
        """Trainings on whole training sides, the chosen settings in them; all candidates must have been compared."""
        for fold in self.folds:
            for head in self.plan.heads:
                yield from self._measured(fold, head)

    def chosen(self, fold: Fold, head: HeadPlan) -> Settings:
        """Settings of the candidate with the best UA on the speakers held out inside the training side."""
        if len(head.candidates) == 1:
            return head.candidates[0]
        means = []
        for place in range(len(head.candidates)):
            compared = self._comparisons(fold, head, place)
            means.append(np.mean([json.loads(one.path.read_text("utf-8"))["ua"] for one in compared]))
        return head.candidates[int(np.argmax(means))]

    def _comparisons(self, fold: Fold, head: HeadPlan, place: int) -> Iterator[SelectTask]:
        if len(head.candidates) == 1:
            return
        settings = head.candidates[place]
        for draw, (train, held_out) in enumerate(self._inner[fold.name]):
            seed = INNER_SEED + draw
            spec = self._spec(fold, head, seed, settings, Variant("candidate", str(place), {}), (train, held_out))
            path = self.folder / "candidates" / spec.name.replace(".npz", ".json")
            yield SelectTask(head.head, self.plan.config(settings, seed), train, held_out, self.device, path)

    def _measured(self, fold: Fold, head: HeadPlan) -> Iterator[TrainTask]:
        """Every seed of a head, what is only read otherwise beside it, and then what is trained otherwise."""
        settings, ablated = self.chosen(fold, head), head.name == self.plan.ablated
        trained = [one for one in self.plan.variants if ablated and not self._reads_only(head, one)]
        read = [one for one in self.plan.variants if ablated and self._reads_only(head, one)]
        for seed in range(self.plan.seeds):
            others = read if seed < self.plan.ablation_seeds else []
            yield self._measurement(fold, head, seed, settings, [None, *others])
        for variant in trained:
            for seed in range(self.plan.ablation_seeds):
                yield self._measurement(fold, head, seed, settings, [variant])

    def _measurement(
        self, fold: Fold, head: HeadPlan, seed: int, settings: Settings, variants: Sequence[Variant | None]
    ) -> TrainTask:
        readings = tuple(self._reading(fold, head, seed, settings, variant) for variant in variants)
        changed = {} if variants[0] is None else variants[0].settings
        return TrainTask(
            head.head,
            self.plan.config({**settings, **changed}, seed),
            fold.train,
            fold.test,
            self.device,
            self.folder / "runs",
            readings,
            self._names[fold.test],
            self._trace(fold, head, seed, readings[0]),
        )

    def _reading(self, fold: Fold, head: HeadPlan, seed: int, settings: Settings, variant: Variant | None) -> Reading:
        spec = self._spec(fold, head, seed, settings, variant, (fold.train, fold.test))
        if variant is None:
            return Reading(spec, steps=self.plan.steps if head.head == "transport" else ())
        sampler = self.plan.config({**settings, **variant.settings}, seed).sampler
        return Reading(spec, sampler if self._reads_only(head, variant) else None)

    def _trace(self, fold: Fold, head: HeadPlan, seed: int, reading: Reading) -> Path | None:
        """Figure 1 shows the first transport head of the plan, trained with the first seed on the first fold."""
        transports = [one.name for one in self.plan.heads if one.head == "transport"]
        shown = transports[:1] == [head.name] and fold is self.folds[0] and seed == 0 and not reading.spec.factor
        return self.folder / "traces" / reading.spec.name if shown else None

    def _reads_only(self, head: HeadPlan, variant: Variant) -> bool:
        return variant.reads_only and head.head == "transport"

    def _spec(
        self,
        fold: Fold,
        head: HeadPlan,
        seed: int,
        settings: Settings,
        variant: Variant | None,
        sides: tuple[np.ndarray, np.ndarray],
    ) -> RunSpec:
        """Everything that decides a run, so that what is on disk is never taken for a run with other data."""
        changed = variant.settings if variant else {}
        recipe = to_mapping(self.plan.config({**settings, **changed}, seed))
        del recipe["encoder"]  # the features are told by their fingerprint, which names no folder
        about = {"head": head.head, "features": self.fingerprint, "data": self._digest(sides)}
        about |= {"chosen": dict(settings), "recipe": recipe}
        factor, value = (variant.factor, variant.value) if variant else ("", "")
        return RunSpec(self.protocol, fold.name, head.name, self.encoder, seed, factor, value, about)

    def _digest(self, sides: tuple[np.ndarray, np.ndarray]) -> str:
        labels = self.dataset.labels
        rows = [[[self._names[place], int(labels[place])] for place in side] for side in sides]
        return hashlib.sha256(json.dumps([self.dataset.classes, rows]).encode()).hexdigest()

    def _entry(self, measurements: Sequence[TrainTask]) -> Entry:
        names = [reading.spec.name for one in measurements for reading in one.readings]
        traces = {one.trace.name: self._trace_title(one) for one in measurements if one.trace}
        return Entry(self.protocol.name, self.encoder, tuple(names), traces, tuple(self._notes()))

    def _trace_title(self, one: TrainTask) -> str:
        spec = one.readings[0].spec
        return f"{spec.head} on {self.protocol.title}, {self.encoder}, test clips of {spec.fold}"

    def _notes(self) -> Iterator[str]:
        yield how_made(self.plan)
        where = f"{self.protocol.title}, {self.encoder}"
        if self.dataset.left_out:
            yield f"{where}: {self.dataset.left_out} utterances have no class in this task and were left out."
        if self.dataset.problems:
            yield f"{where}: {len(self.dataset.problems)} features could not be computed, such as {self._problem()}."
        if self.plan.copies.adaptation.rank:
            yield (
                f"{where}: every fold's encoder was adapted to its whole training side, the speakers on whom candidate "
                "settings were compared among them."
            )
        if self.plan.copies.augmented_copies:
            copies, share = self.plan.copies.augmented_copies, self.plan.copies.augmented_share
            yield f"{where}: heads may learn from {copies} altered copies of each training clip (share {share:g})."

    def _problem(self) -> str:
        return f"row {self.dataset.problems[0].row}: {self.dataset.problems[0].reason}"

    @cached_property
    def _names(self) -> np.ndarray:
        return identifiers(self.dataset.utterances)

    @cached_property
    def _inner(self) -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
        count, share = self.plan.inner_splits, self.plan.inner_share
        return {fold.name: inner_splits(self.dataset.utterances, fold, count, share) for fold in self.folds}


def how_made(plan: BenchPlan) -> str:
    """How the bench was made, in words for its report."""
    trials = ", ".join(f"{head.name} {len(head.candidates)}" for head in plan.heads)
    return (
        f"Made by genser {__version__} from the plan {plan.name!r} with {plan.seeds} training seeds. Candidate "
        f"settings of each head: {trials}. Where there are several, every fold chose among them on "
        f"{plan.inner_share:.0%} of its training speakers, held out {plan.inner_splits} time(s), and never on its test "
        "side."
    )
