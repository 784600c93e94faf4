"""Combine the runs of each system: join its folds to the whole corpus, and stack its seeds.

Folds test different utterances, so their predictions are joined before anything is scored. A seed without all folds is
omitted and reported: a mean over the finished folds alone would compare different test sets.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from genser.bench.runs import ADAPTATIONS, BenchRun, Protocol
from genser.errors import ConfigError
from genser.metrics.few import speaker_count


@dataclass(frozen=True)
class System:
    """What is compared: a head on an encoder, in an ablation with one setting varied."""

    head: str
    encoder: str
    factor: str = ""
    value: str = ""

    @property
    def title(self) -> str:
        """Name in reports: head, encoder, and for an ablation the varied setting."""
        varied = f", {self.factor} = {self.value}" if self.factor else ""
        return f"{self.head} · {self.encoder}{varied}"


@dataclass(frozen=True)
class Pooled:
    """All complete seeds of one system on one protocol.

    Attributes:
        system: The system.
        protocol: The protocol.
        classes: Class names.
        utterances: Sorted identifiers, shape (n,).
        labels: True class indices, shape (n,).
        speakers: Speakers, shape (n,), or None if a run knows none.
        folds: Name of the fold that tests each utterance, shape (n,).
        seeds: The complete seeds.
        incomplete: The omitted seeds, which lack a fold.
        probabilities: Shape (seeds, n, classes).
        steps: N → probabilities of that shape.
        adapted: Adaptation → probabilities of that shape.
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
    adapted: dict[str, np.ndarray]
    runs: tuple[BenchRun, ...]

    @property
    def speaker_count(self) -> int:
        """Number of speakers; 0 if unknown."""
        return speaker_count(self.speakers)

    @property
    def support(self) -> np.ndarray:
        """Number of utterances of each class."""
        return np.bincount(self.labels, minlength=len(self.classes))

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
            adapted={name: values[:, rows] for name, values in self.adapted.items()},
        )


def pool(runs: Iterable[BenchRun]) -> tuple[Pooled, ...]:
    """Combine runs by protocol and system, in the order in which these first appear.

    Systems without a complete seed are omitted.

    Raises:
        ConfigError: A fold was run twice with different settings, folds share utterances, or seeds and folds differ in
            utterances, labels or classes.
    """
    grouped: dict[tuple[Protocol, System], dict[int, dict[str, BenchRun]]] = defaultdict(lambda: defaultdict(dict))
    for run in runs:
        spec = run.spec
        folds = grouped[spec.protocol, System(spec.head, spec.encoder, spec.factor, spec.value)][spec.seed]
        if spec.fold in folds:
            raise ConfigError(
                f"Fold {spec.fold}, seed {spec.seed} of {spec.head} on {spec.protocol.name} was run with different "
                "settings. Name the difference as an ablation (factor, value), or remove the older file."
            )
        folds[spec.fold] = run
    pooled = (_pool(protocol, system, by_seed) for (protocol, system), by_seed in grouped.items())
    return tuple(one for one in pooled if one is not None)


def _pool(protocol: Protocol, system: System, by_seed: dict[int, dict[str, BenchRun]]) -> Pooled | None:
    """Stack the complete seeds of one system; None if there is none."""
    complete = {seed: list(folds.values()) for seed, folds in sorted(by_seed.items()) if len(folds) == protocol.folds}
    if not complete:
        return None
    joined = {seed: _join_folds(runs) for seed, runs in complete.items()}
    first = next(iter(joined.values()))
    for seed, other in joined.items():
        if any(not np.array_equal(first[name], other[name]) for name in ("classes", "utterances", "labels")):
            raise ConfigError(f"Seed {seed} of {system.head} on {protocol.name} tests other utterances or classes.")
    finished = tuple(run for runs in complete.values() for run in runs)
    steps = sorted(set.intersection(*(set(run.steps) for run in finished)))
    adapted = [name for name in ADAPTATIONS if all(name in run.adapted for run in finished)]
    return Pooled(
        system=system,
        protocol=protocol,
        classes=complete[next(iter(complete))][0].classes,
        utterances=first["utterances"],
        labels=first["labels"],
        speakers=first.get("speakers"),
        folds=first["folds"],
        seeds=tuple(complete),
        incomplete=tuple(sorted(set(by_seed) - set(complete))),
        probabilities=np.stack([one["probabilities"] for one in joined.values()]),
        steps={count: np.stack([one[f"steps {count}"] for one in joined.values()]) for count in steps},
        adapted={name: np.stack([one[name] for one in joined.values()]) for name in adapted},
        runs=finished,
    )


def _join_folds(runs: list[BenchRun]) -> dict[str, np.ndarray]:
    """Arrays of the folds of one seed, concatenated and sorted by utterance; speakers only if every run has them."""
    utterances = np.concatenate([run.utterances for run in runs])
    if len(set(utterances.tolist())) != len(utterances):
        raise ConfigError(f"Folds of {runs[0].spec.protocol.name} share test utterances. Each belongs to one fold.")
    if len({run.classes for run in runs}) > 1:
        raise ConfigError(f"Folds of {runs[0].spec.protocol.name} differ in their classes or the order of these.")
    order = np.argsort(utterances)
    parts = {
        "utterances": [run.utterances for run in runs],
        "labels": [run.labels for run in runs],
        "folds": [np.full(len(run.labels), run.spec.fold) for run in runs],
        "probabilities": [run.probabilities for run in runs],
    }
    shared = set.intersection(*(set(run.steps) for run in runs))
    parts |= {f"steps {count}": [run.steps[count] for run in runs] for count in shared}
    shared_adaptations = [name for name in ADAPTATIONS if all(name in run.adapted for run in runs)]
    parts |= {name: [run.adapted[name] for run in runs] for name in shared_adaptations}
    speakers = [run.speakers for run in runs if run.speakers is not None]
    if len(speakers) == len(runs):
        parts["speakers"] = speakers
    joined = {name: np.concatenate(arrays)[order] for name, arrays in parts.items()}
    return joined | {"classes": np.array(runs[0].classes)}
