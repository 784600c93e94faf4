"""Evaluation protocols: leak-free folds with a name, and inner splits for model selection."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from os.path import commonpath
from pathlib import Path
from typing import Any

import numpy as np

from genser.bench.runs import Protocol
from genser.data.labels import TASKS, find_label_map, for_task
from genser.data.leaks import Leak, check_leaks, find_leaks
from genser.data.splits import Fold, emobox_clip, emobox_tests, folds, recordings_of, validation_split
from genser.data.utterance import Utterance
from genser.errors import ManifestError, counted, suggestion

FAMILIES = {"kfold-speaker": "kfold"}
"""Family of a protocol if it differs from its name; published rows are found by family."""

PUBLISHED = ("emobox", "official")
"""Protocols whose folds are published. They stay as they are even if clips of both sides have the same bytes."""

EXAMPLES = 3  # of such clips in a sentence

INNER_SEED = 17
"""First seed of the draws of training speakers on which candidates are compared."""


@dataclass(frozen=True)
class ProtocolData:
    """A protocol with the utterances that it divides.

    Attributes:
        protocol: The protocol.
        utterances: All utterances, including those without a class in the task.
        folds: Training and test sides, as indices of ``utterances``.
        leaks: Test clips of published folds with the bytes of a training or validation clip.
    """

    protocol: Protocol
    utterances: tuple[Utterance, ...]
    folds: tuple[Fold, ...]
    leaks: tuple[Leak, ...] = ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """A sentence on the leaks, if there are any."""
        if not self.leaks:
            return ()
        count = counted(len(self.leaks), "test clip has", "test clips have")
        named = [[Path(*Path(key).parts[-2:]) for key in (leak.test, leak.train)] for leak in self.leaks[:EXAMPLES]]
        pairs = ", ".join(f"{test} ({before})" for test, before in named)
        return (
            f"{self.protocol.title}: {count} the same bytes as a clip of the training or validation side, such as "
            f"{pairs}. The folds are used as they were published, so scores on these clips are too high.",
        )

    def folds_of(self, kept: Sequence[Utterance]) -> list[Fold]:
        """The folds as indices of the utterances that have a class and features.

        Raises:
            ManifestError: A side is empty.
        """
        index = {item.key: position for position, item in enumerate(kept)}
        moved = np.array([index.get(item.key, -1) for item in self.utterances], dtype=np.int64)
        found = []
        for fold in self.folds:
            sides = {name: moved[getattr(fold, name)] for name in ("train", "test", "validation")}
            found.append(replace(fold, **{name: side[side >= 0] for name, side in sides.items()}))
        return found


def divide(
    utterances: Sequence[Utterance],
    name: str,
    *,
    task: str = "emotion",
    labels: str | None = None,
    k: int = 5,
    seed: int = 0,
    incomplete: bool = False,
    classes: Sequence[str] = (),
) -> list[ProtocolData]:
    """Divide utterances by a protocol. EmoBox has folds for each corpus; all other protocols span the corpora.

    Args:
        utterances: Utterances of any corpora.
        name: One of :data:`genser.data.splits.PROTOCOLS`.
        task: ``"emotion"`` or ``"gender"``.
        labels: Label map, by name or as ``file.toml:name``.
        k: Number of folds of ``kfold-speaker`` and ``random``.
        seed: Seed of these folds.
        incomplete: Continue if clips of the EmoBox lists are missing, or mark that clips of an official split are; the
            protocol's name then ends in "incomplete".
        classes: Classes to keep; utterances of other classes lose theirs, and the name of the protocol lists the
            classes. Empty keeps all.

    Raises:
        ManifestError: A class does not occur, the protocol does not fit, an utterance occurs twice, a speaker is on
            both sides of a fold, or the same bytes are on both sides of a fold that genser makes.
    """
    keys = [item.key for item in utterances]
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ManifestError(f"{twice} occurs twice in the manifests. Name every utterance once.")
    if classes:
        utterances = _restricted(utterances, task, labels, classes)
    groups = [list(utterances)]
    if name == "emobox":
        corpora = dict.fromkeys(item.corpus for item in utterances)
        groups = [[item for item in utterances if item.corpus == corpus] for corpus in corpora]
    found = []
    for group in groups:
        divided, leaks = folds(group, name, k=k, seed=seed, incomplete=incomplete), []
        for fold in divided:
            check_fold(group, fold)
            if name in PUBLISHED:
                leaks += find_leaks(*_sides(group, fold), by="bytes")
            else:
                check_leaks(*_sides(group, fold), by="bytes")
        protocol = _named(group, name, divided, task, labels)
        if incomplete and name == "official":
            named = f"{protocol.name}-incomplete"
            protocol = replace(protocol, name=named, family=f"{protocol.family}, incomplete")
        if classes:
            words = "+".join(sorted(classes))
            family = f"{protocol.family}, classes {words}"
            protocol = replace(protocol, name=f"{protocol.name}-{words}", family=family)
        found.append(ProtocolData(protocol, tuple(group), tuple(divided), tuple(leaks)))
    return found


def _restricted(
    utterances: Sequence[Utterance], task: str, labels: str | None, classes: Sequence[str]
) -> list[Utterance]:
    """Utterances whose class is among some classes, and the others without a class, so that folds stay as they are."""
    kept, _ = for_task(utterances, task, find_label_map(labels) if labels else None)
    found = {item.key for item in kept if item.label in classes}
    present = {item.label for item in kept if item.label is not None}
    if missing := [name for name in classes if name not in present]:
        raise ManifestError(f"No utterance has the class {missing[0]!r}. {suggestion(missing[0], present)}")
    nameless: dict[str, Any] = {TASKS[task]: None}
    return [item if item.key in found else replace(item, **nameless) for item in utterances]


def check_fold(utterances: Sequence[Utterance], fold: Fold) -> None:
    """Refuse a speaker-independent fold with a speaker on both sides.

    Sides without a common corpus have no common speaker, so their speakers may be unknown.

    Raises:
        ManifestError: There is one, or a speaker is unknown.
    """
    sides = _sides(utterances, fold)
    before, test = ({item.corpus for item in side} for side in sides)
    if fold.speaker_independent and before & test:
        check_leaks(*sides)


def _sides(utterances: Sequence[Utterance], fold: Fold) -> tuple[list[Utterance], list[Utterance]]:
    """Utterances before the test (training and validation), and those of the test."""
    before = np.concatenate([fold.train, fold.validation])
    return [utterances[index] for index in before], [utterances[index] for index in fold.test]


def inner_splits(
    utterances: Sequence[Utterance], fold: Fold, count: int, share: float
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Divide a training side for model selection; the test side is not used.

    The held-out side is the official validation side if the protocol has one, else a draw of whole speakers, or of
    whole recordings if the training side has no two known speakers.

    Args:
        utterances: The utterances that the indices of the fold refer to.
        fold: The fold.
        count: Number of draws.
        share: Share of the training speakers that each draw holds out.

    Returns:
        Indices to train on and to compare on.
    """
    if len(fold.validation):
        return [(fold.train, fold.validation)]
    side = [utterances[index] for index in fold.train]
    splits = []
    for seed in range(INNER_SEED, INNER_SEED + count):
        inside, held_out = (
            validation_split(side, share, seed) if _has_speakers(side) else _recordings(side, share, seed)
        )
        splits.append((fold.train[inside], fold.train[held_out]))
    return splits


def _has_speakers(utterances: Iterable[Utterance]) -> bool:
    """Whether whole speakers can be held out: all are known, and one corpus has two."""
    speakers = {item.speaker_key for item in utterances}
    known = [speaker for speaker in speakers if speaker is not None]
    return len(known) == len(speakers) and len({corpus for corpus, _ in known}) < len(known)


def _recordings(utterances: Sequence[Utterance], share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Hold out a share of the recordings; of the clips if they are all of one recording."""
    numbers = recordings_of(utterances)
    numbers = numbers if numbers.any() else np.arange(len(utterances))
    count = int(numbers.max()) + 1
    order = np.random.default_rng(seed).permutation(count)
    is_held_out = np.isin(numbers, order[: min(max(1, round(share * count)), count - 1)])
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)


def identifiers(utterances: Sequence[Utterance]) -> np.ndarray:
    """Unique names of utterances that do not depend on where a corpus is stored: corpus, path inside it, times."""
    names = np.empty(len(utterances), dtype=object)
    for corpus in {item.corpus for item in utterances}:
        members = [index for index, item in enumerate(utterances) if item.corpus == corpus]
        root = commonpath([str(Path(utterances[index].path).absolute().parent) for index in members])
        for index in members:
            item = utterances[index]
            inside = Path(item.path).absolute().relative_to(root).as_posix()
            names[index] = "/".join(filter(None, (corpus, inside + item.key.removeprefix(item.path))))
    return names.astype(str)


def _named(
    utterances: Sequence[Utterance], name: str, divided: Sequence[Fold], task: str, labels: str | None
) -> Protocol:
    """The protocol with its name, such as ``"home-kfold-3-gender"``, and the family of comparable published rows."""
    corpus = "+".join(sorted({item.corpus or "unnamed" for item in utterances}))
    family = FAMILIES.get(name, name)
    parts = [corpus, f"{family}-{len(divided)}" if family in ("kfold", "random") else family]
    parts += [task] if task != "emotion" else []
    if labels:
        parts.append(labels.rpartition(":")[2])
        before, _ = for_task(utterances, task)
        after, dropped = for_task(before, task, find_label_map(labels))
        if dropped or len({item.label for item in before}) != len({item.label for item in after}):
            family += f", labels {parts[-1]}"  # other classes than those of published scores
    if name == "emobox":
        present = {emobox_clip(item) for item in utterances}
        parts += ["incomplete"] if any(set(clips) - present for clips in emobox_tests(corpus).values()) else []
    dependent = not all(fold.speaker_independent for fold in divided)
    return Protocol("-".join(parts), corpus, task, family, len(divided), dependent)
