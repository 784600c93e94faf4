"""Runs of one system put together: folds joined to the whole corpus, seeds stacked.

Folds test different utterances, so their predictions are joined before anything is scored. A seed that lacks a fold is
left out and named: a mean over the folds that happen to be finished would compare different test sets.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from genser.bench.runs import BenchRun, Protocol
from genser.errors import ConfigError


@dataclass(frozen=True)
class System:
    """What is compared: a head on an encoder, in an ablation with one setting varied."""

    head: str
    encoder: str
    factor: str = ""
    value: str = ""


@dataclass(frozen=True)
class Pooled:
    """All complete seeds of one system on one protocol.

    Attributes:
        system: The system.
        protocol: The protocol.
        classes: Class names.
        utterances: Sorted identifiers, shape (n,).
        labels: True class indices, shape (n,).
        speakers: Speakers, shape (n,), or None where a run knows none.
        folds: Fold that tests each utterance, shape (n,).
        seeds: The complete seeds.
        incomplete: Seeds that lack a fold, and are left out.
        probabilities: Shape (seeds, n, classes).
        steps: N → probabilities of that shape.
        runs: The runs of the complete seeds.
    """

    system: System
    protocol: Protocol
    classes: tuple[str, ...]
    utterances: np.ndarray
    labels: np.ndarray
    speakers: np.ndarray | None
    folds: np.ndarray
    seeds: tuple[int, ...]
    incomplete: tuple[int, ...]
    probabilities: np.ndarray
    steps: dict[int, np.ndarray]
    runs: tuple[BenchRun, ...]

    def part(self, rows: np.ndarray) -> "Pooled":
        """Some utterances alone, by a mask of shape (n,)."""
        return replace(
            self,
            utterances=self.utterances[rows],
            labels=self.labels[rows],
            speakers=None if self.speakers is None else self.speakers[rows],
            folds=self.folds[rows],
            probabilities=self.probabilities[:, rows],
            steps={count: values[:, rows] for count, values in self.steps.items()},
        )


def pool(runs: Iterable[BenchRun]) -> tuple[Pooled, ...]:
    """Put runs together by protocol and system, in the order in which these first appear.

    Systems without a single complete seed are left out.

    Raises:
        ConfigError: If a fold was run twice with different settings, or seeds and folds do not share utterances,
            labels and classes as they must.
    """
    grouped: dict[tuple[Protocol, System], list[BenchRun]] = defaultdict(list)
    for run in runs:
        spec = run.spec
        grouped[spec.protocol, System(spec.head, spec.encoder, spec.factor, spec.value)].append(run)
    pooled = (_pool(protocol, system, members) for (protocol, system), members in grouped.items())
    return tuple(one for one in pooled if one is not None)


def _pool(protocol: Protocol, system: System, runs: list[BenchRun]) -> Pooled | None:
    by_seed = _by_seed(system, runs)
    complete = {seed: folds for seed, folds in sorted(by_seed.items()) if len(folds) == protocol.folds}
    if not complete:
        return None
    joined = [_Joined.of(list(folds.values())) for folds in complete.values()]
    first = joined[0]
    for seed, other in zip(complete, joined, strict=True):
        if not first.tests_the_same_as(other):
            raise ConfigError(f"seed {seed} of {system.head} on {protocol.name} tests other utterances or classes")
    return Pooled(
        system=system,
        protocol=protocol,
        classes=first.classes,
        utterances=first.utterances,
        labels=first.labels,
        speakers=first.speakers,
        folds=first.folds,
        seeds=tuple(complete),
        incomplete=tuple(sorted(set(by_seed) - set(complete))),
        probabilities=np.stack([one.probabilities for one in joined]),
        steps={count: np.stack([one.steps[count] for one in joined]) for count in _shared_steps(joined)},
        runs=tuple(run for folds in complete.values() for run in folds.values()),
    )


def _by_seed(system: System, runs: list[BenchRun]) -> dict[int, dict[str, BenchRun]]:
    by_seed: dict[int, dict[str, BenchRun]] = defaultdict(dict)
    for run in runs:
        if run.spec.fold in by_seed[run.spec.seed]:
            raise ConfigError(
                f"fold {run.spec.fold}, seed {run.spec.seed} of {system.head} on {run.spec.protocol.name} was run with "
                "different settings: name what differs as an ablation (factor, value), or remove the older file"
            )
        by_seed[run.spec.seed][run.spec.fold] = run
    return by_seed


@dataclass(frozen=True)
class _Joined:
    """The folds of one seed, sorted by utterance."""

    classes: tuple[str, ...]
    utterances: np.ndarray
    labels: np.ndarray
    speakers: np.ndarray | None
    folds: np.ndarray
    probabilities: np.ndarray
    steps: dict[int, np.ndarray]

    @classmethod
    def of(cls, runs: list[BenchRun]) -> "_Joined":
        utterances = np.concatenate([run.utterances for run in runs])
        if len(set(utterances.tolist())) != len(utterances):
            raise ConfigError(f"folds of {runs[0].spec.protocol.name} share test utterances: each belongs to one fold")
        if len({run.classes for run in runs}) > 1:
            raise ConfigError(f"folds of {runs[0].spec.protocol.name} differ in their classes or the order of these")
        order = np.argsort(utterances)
        known = all(run.speakers is not None for run in runs)
        shared = _shared_steps(runs)
        return cls(
            classes=runs[0].classes,
            utterances=utterances[order],
            labels=np.concatenate([run.labels for run in runs])[order],
            speakers=np.concatenate([run.speakers for run in runs])[order] if known else None,
            folds=np.concatenate([np.full(len(run.labels), run.spec.fold) for run in runs])[order],
            probabilities=np.concatenate([run.probabilities for run in runs])[order],
            steps={count: np.concatenate([run.steps[count] for run in runs])[order] for count in shared},
        )

    def tests_the_same_as(self, other: "_Joined") -> bool:
        return (
            self.classes == other.classes
            and np.array_equal(self.utterances, other.utterances)
            and np.array_equal(self.labels, other.labels)
        )


def _shared_steps(holders: list[BenchRun] | list[_Joined]) -> list[int]:
    return sorted(set.intersection(*(set(one.steps) for one in holders)))
