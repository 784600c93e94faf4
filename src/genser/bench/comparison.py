"""A plan on the folds of one data set: its tasks, what identifies a run, and the sentences for the report.

Every head chooses its settings on speakers held out within each training side. The test side is scored once, by heads
that were trained on the whole training side with the chosen settings.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from genser._version import __version__
from genser.bench.plan import BenchPlan, HeadPlan, Settings, Variant
from genser.bench.protocols import INNER_SEED, check_fold, identifiers, inner_splits
from genser.bench.runs import Entry, Protocol, RunSpec
from genser.bench.task import EvalVariant, SelectTask, TrainTask, perform, workers
from genser.config import to_mapping
from genser.data.splits import Fold
from genser.errors import counted
from genser.inference.profile import SHRINKAGE
from genser.training.data import Dataset
from genser.training.recipe import TrainConfig

Progress = Callable[[str, int, int], None]
"""Called with a stage, the number of finished parts, and the number of parts."""

LOGGER = logging.getLogger("genser.bench")

COMPONENTS_STEP = 16
"""Principal components are reduced to a multiple of this if there are too few training rows for the recipe's."""


@dataclass(frozen=True)
class Bench:
    """A plan on the folds of a data set.

    Attributes:
        dataset: Labelled utterances with their features.
        folds: Sides as indices of the data set.
        protocol: The protocol of the folds.
        plan: The comparison.
        encoder: Name of the encoder in the report.
        fingerprint: Fingerprint of the encoder's weights and settings.
        folder: Folder of candidates, runs and traces.
        jobs: Number of processes, each with one thread.
        device: Device of the training.
        remarks: Sentences on the folds for the report.
        hashes: Path of every audio file → SHA-256 of its content.

    Raises:
        ManifestError: A speaker is on both sides of a speaker-independent fold.
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
    remarks: tuple[str, ...] = ()
    hashes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for fold in self.folds:
            check_fold(self.dataset.utterances, fold)

    def run(self, report: Progress = lambda *_: None, earlier: Entry | None = None) -> Entry:
        """Select settings, then train what is not finished yet.

        Args:
            report: See :data:`Progress`.
            earlier: Entry of folds of the same protocol and encoder that ran before.

        Returns:
            The entry of all these folds in the index of the folder.
        """
        name = f"{self.protocol.name} · {self.encoder}"
        with workers(self.dataset, self.jobs) as pool:
            selections = [
                task for fold in self.folds for head in self.plan.heads for task in self.selections(fold, head)
            ]
            perform(pool, selections, partial(report, f"{name}: selection"))
            trainings = [task for fold in self.folds for head in self.plan.heads for task in self.trainings(fold, head)]
            specs = [variant.spec for task in trainings for variant in task.variants]
            where = f"{self.protocol.title}, {self.encoder}, test clips of"
            traces = {
                task.trace.name: f"{task.variants[0].spec.head} on {where} {task.variants[0].spec.fold}"
                for task in trainings
                if task.trace
            }
            names = tuple(spec.name for spec in specs)
            made_by = self._versions([*selections, *trainings])
            entry = Entry(self.protocol.name, self.encoder, names, traces, tuple(self._notes(made_by)))
            entry = earlier.extended(entry) if earlier else entry
            entry.save(self.folder)
            perform(pool, trainings, partial(report, f"{name}: training"))
        return entry

    def _versions(self, tasks: Sequence[SelectTask | TrainTask]) -> list[str]:
        """The versions of genser that make the results; says so if some are stored by others than this one.

        Finished work is kept, as after any stop: to train for days again is a choice of the user.
        """
        versions = set().union(*(task.versions() if task.done else {__version__} for task in tasks))
        if others := sorted(versions - {__version__}):
            LOGGER.warning(
                "genser: %s, %s: results that genser %s has stored are kept, although the training of this version, "
                "%s, may differ; name another --output to make all of them anew.",
                self.protocol.title,
                self.encoder,
                " and ".join(others),
                __version__,
            )
        return sorted(versions)

    @property
    def is_finished(self) -> bool:
        """Whether all results are stored, so that no features are needed."""
        pairs = [(fold, head) for fold in self.folds for head in self.plan.heads]
        selected = all(task.done for pair in pairs for task in self.selections(*pair))
        return selected and all(task.done for pair in pairs for task in self.trainings(*pair))

    def selections(self, fold: Fold, head: HeadPlan) -> Iterator[SelectTask]:
        """Tasks that compare the candidates of a head within the training side of a fold; none for one candidate."""
        if len(head.candidates) > 1:
            for number in range(len(head.candidates)):
                yield from self._selections(fold, head, number)

    def _selections(self, fold: Fold, head: HeadPlan, number: int) -> Iterator[SelectTask]:
        settings = head.candidates[number]
        for draw, (train, held_out) in enumerate(self._inner_splits[fold.name]):
            seed = INNER_SEED + draw
            candidate = Variant("candidate", str(number), {})
            spec = self._spec(fold, head, seed, settings, candidate, (train, held_out))
            path = self.folder / "candidates" / spec.name.replace(".npz", ".json")
            yield SelectTask(self._config(head, settings, seed, train), train, held_out, self.device, path)

    def chosen(self, fold: Fold, head: HeadPlan) -> Settings:
        """Settings of the candidate with the best mean UA on held-out training speakers."""
        if len(head.candidates) == 1:
            return head.candidates[0]
        means = []
        for number in range(len(head.candidates)):
            means.append(np.mean([task.ua() for task in self._selections(fold, head, number)]))
        return head.candidates[int(np.argmax(means))]

    def trainings(self, fold: Fold, head: HeadPlan) -> Iterator[TrainTask]:
        """Tasks of one head: all seeds (with inference-only ablations), then ablations that need retraining."""
        settings = self.chosen(fold, head)
        variants = self.plan.variants if head.name == self.plan.ablated else ()
        inference_only = [one for one in variants if head.has_steps and one.only_sampler]
        for seed in range(self.plan.seeds):
            others = inference_only if seed < self.plan.ablation_seeds else []
            yield self._training(fold, head, seed, settings, [None, *others])
        for variant in variants:
            if variant not in inference_only:
                for seed in range(self.plan.ablation_seeds):
                    yield self._training(fold, head, seed, settings, [variant])

    def _training(
        self, fold: Fold, head: HeadPlan, seed: int, settings: Settings, variants: Sequence[Variant | None]
    ) -> TrainTask:
        """Train one head once, with the first variant's settings, and read it in the way of every variant."""
        evaluated = []
        for variant in variants:
            spec = self._spec(fold, head, seed, settings, variant, (fold.train, fold.test))
            changed = {**settings, **(variant.settings if variant else {})}
            sampler = self.plan.config(head, changed, seed).sampler if len(variants) > 1 and variant else None
            steps = self.plan.steps if variant is None and head.has_steps else ()
            evaluated.append(EvalVariant(spec, sampler, steps))
        changed = {**settings, **(variants[0].settings if variants[0] else {})}
        stepping = next((one.name for one in self.plan.heads if one.has_steps), None)
        traced = head.name == stepping and fold is self.folds[0] and seed == 0 and variants[0] is None
        return TrainTask(
            self._config(head, changed, seed, fold.train),
            fold.train,
            fold.test,
            self.device,
            self.folder / "runs",
            tuple(evaluated),
            self._names[fold.test],
            self.folder / "traces" / evaluated[0].spec.name if traced else None,
        )

    def _config(self, head: HeadPlan, settings: Settings, seed: int, train: np.ndarray) -> TrainConfig:
        """Recipe of a task, with as many principal components as its training rows allow."""
        return with_components(self.plan.config(head, settings, seed), len(train))

    def _spec(
        self,
        fold: Fold,
        head: HeadPlan,
        seed: int,
        settings: Settings,
        variant: Variant | None,
        sides: tuple[np.ndarray, np.ndarray],
    ) -> RunSpec:
        """Everything that decides a run, so a stored run is never mistaken for one with other data or settings."""
        changed = variant.settings if variant else {}
        recipe = to_mapping(self._config(head, {**settings, **changed}, seed, sides[0]))
        del recipe["encoder"]  # the fingerprint identifies the features, and names no folder
        rows = [self._clips[side].tolist() for side in sides]
        digest = hashlib.sha256(json.dumps([self.dataset.classes, rows]).encode()).hexdigest()
        about: dict[str, object] = {"head": head.kind, "features": self.fingerprint, "data": digest}
        about |= {"chosen": dict(settings), "recipe": recipe}
        if self.protocol.holds_out_corpora:
            about["shrinkage"] = SHRINKAGE  # of the adapted predictions
        factor, value = (variant.factor, variant.value) if variant else ("", "")
        return RunSpec(self.protocol, fold.name, head.name, self.encoder, seed, factor, value, about)

    def _notes(self, made_by: Sequence[str]) -> Iterator[str]:
        """How the bench was made, by which versions, and its limits, as sentences of the report."""
        plan, recipe = self.plan, self.plan.most_copies
        trials = ", ".join(f"{head.name} {len(head.candidates)}" for head in plan.heads)
        yield (
            f"Made by genser {' and '.join(made_by)} from the plan {plan.name!r} with {plan.seeds} training seeds. "
            f"Number of candidate settings of each head: {trials}. A head with several candidates chose among them on "
            f"every fold, on {plan.inner_share:.0%} of the training speakers, held out "
            f"{counted(plan.inner_splits, 'time')}, never on the test side."
        )
        if len(made_by) > 1:
            yield "The training of these versions of genser may differ, and with it the scores of equal settings."
        yield from self.remarks
        where = f"{self.protocol.title}, {self.encoder}"
        if self.dataset.omitted:
            without = counted(self.dataset.omitted, "utterance is", "utterances are")
            yield f"{where}: {without} omitted, without a class of this task."
        if self.dataset.problems:
            first = self.dataset.problems[0]
            yield (
                f"{where}: The features of {counted(len(self.dataset.problems), 'row')} could not be computed, such as "
                f"row {first.row}: {first.reason}."
            )
        if recipe.adaptation.rank:
            yield (
                f"{where}: the encoder of every fold was adapted to its whole training side, including the speakers on "
                "which candidate settings were compared."
            )
        if recipe.augmented_copies:
            copies, share = recipe.augmented_copies, recipe.augmented_share
            yield f"{where}: heads train on {copies} augmented copies of each training clip (share {share:g})."
        yield from self._component_notes(where)

    def _component_notes(self, where: str) -> Iterator[str]:
        """A note if training sides have too few rows for the principal components of the recipe."""
        sides = [fold.train for fold in self.folds]
        sides += [train for splits in self._inner_splits.values() for train, _ in splits]
        for head in self.plan.heads:
            wanted = self.plan.config(head, head.candidates[0], 0).feature_transform.components
            used = min(self._config(head, head.candidates[0], 0, side).feature_transform.components for side in sides)
            if used < wanted:
                yield (
                    f"{where}, {head.name}: the training sides have too few clips for {wanted} principal components; "
                    f"at least {used} were used."
                )

    @cached_property
    def _names(self) -> np.ndarray:
        return identifiers(self.dataset.utterances)

    @cached_property
    def _clips(self) -> np.ndarray:
        """Digest of all that the table says on each clip and that decides a result, with the bytes of its file."""
        about = zip(self._names.tolist(), self.dataset.labels.tolist(), self.dataset.utterances, strict=True)
        rows = ([name, label, item.speaker, self.hashes.get(item.path)] for name, label, item in about)
        return np.array([hashlib.sha256(json.dumps(row).encode()).hexdigest()[:16] for row in rows])

    @cached_property
    def _inner_splits(self) -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
        if all(len(head.candidates) == 1 for head in self.plan.heads):
            return {}
        count, share = self.plan.inner_splits, self.plan.inner_share
        return {fold.name: inner_splits(self.dataset.utterances, fold, count, share) for fold in self.folds}


def with_components(config: TrainConfig, rows: int) -> TrainConfig:
    """A recipe with as many principal components as so many training rows allow."""
    limit = rows * (1 + config.augmented_copies) - 1
    if config.feature_transform.components <= limit:
        return config
    components = max(limit // COMPONENTS_STEP * COMPONENTS_STEP, 1)
    return replace(config, feature_transform=replace(config.feature_transform, components=components))
