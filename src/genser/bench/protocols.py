"""Test procedures as a bench runs them: named folds without leaks, and what inside them settings are chosen on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from os.path import commonpath
from pathlib import Path

import numpy as np

from genser.bench.runs import Protocol
from genser.data.labels import find_label_map, for_task
from genser.data.leaks import check_leaks
from genser.data.splits import Fold, emobox_clip, emobox_tests, folds, validation_split
from genser.data.utterance import Utterance
from genser.errors import ManifestError

FAMILIES = {"kfold-speaker": "kfold"}
"""Family of a protocol where it is not its name; published rows are found by it."""

INNER_SEED = 17
"""First seed of the draws of training speakers on which candidates are compared."""


@dataclass(frozen=True)
class ProtocolData:
    """A protocol with the utterances that it divides.

    Attributes:
        protocol: What the report calls it.
        utterances: All utterances, those without a class in the task among them.
        folds: Positions of the training and test sides in ``utterances``.
    """

    protocol: Protocol
    utterances: tuple[Utterance, ...]
    folds: tuple[Fold, ...]

    def folds_of(self, kept: Sequence[Utterance]) -> list[Fold]:
        """The folds as positions in the utterances that have a class and features.

        Raises:
            ManifestError: If nothing is left of a side.
        """
        place = {item.key: position for position, item in enumerate(kept)}
        there = np.array([place.get(item.key, -1) for item in self.utterances], dtype=np.int64)
        moved = []
        for fold in self.folds:
            sides = {name: there[getattr(fold, name)] for name in ("train", "test", "validation")}
            moved.append(replace(fold, **{name: side[side >= 0] for name, side in sides.items()}))
        return moved


def arenas(
    utterances: Sequence[Utterance],
    name: str,
    *,
    task: str = "emotion",
    labels: str | None = None,
    k: int = 5,
    seed: int = 0,
    incomplete: bool = False,
) -> list[ProtocolData]:
    """Divide utterances as a protocol says; EmoBox's folds are of one corpus each, all others span the corpora.

    Args:
        utterances: Of any corpora.
        name: One of :data:`genser.data.splits.PROTOCOLS`.
        task: What is recognised.
        labels: Label map, by name or as ``file.toml:name``.
        k: Number of folds of ``kfold-speaker`` and ``random``.
        seed: Draw of these.
        incomplete: Go on although clips of EmoBox's lists are not there; the protocol's name then says so.

    Raises:
        ManifestError: If the protocol does not fit, an utterance stands twice, or a speaker or the same bytes are on
            both sides of a fold.
    """
    keys = [item.key for item in utterances]
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ManifestError(f"{twice} stands twice in the manifests; name every utterance once.")
    groups = _by_corpus(utterances) if name == "emobox" else [list(utterances)]
    found = []
    for group in groups:
        divided = folds(group, name, k=k, seed=seed, incomplete=incomplete)
        for fold in divided:
            _refuse_leaks(group, fold)
        protocol = _protocol(group, name, divided, task, labels)
        found.append(ProtocolData(protocol, tuple(group), tuple(divided)))
    return found


def refuse_shared_speakers(utterances: Sequence[Utterance], fold: Fold) -> None:
    """Refuse a fold that calls itself speaker-independent with a speaker on both sides.

    Raises:
        ManifestError: There is one, or a speaker is unknown.
    """
    if fold.speaker_independent:
        before = np.concatenate([fold.train, fold.validation])
        check_leaks(*([utterances[place] for place in side] for side in (before, fold.test)))


def _refuse_leaks(utterances: Sequence[Utterance], fold: Fold) -> None:
    refuse_shared_speakers(utterances, fold)
    before = np.concatenate([fold.train, fold.validation])
    check_leaks(*([utterances[place] for place in side] for side in (before, fold.test)), by="bytes")


def inner_splits(
    utterances: Sequence[Utterance], fold: Fold, count: int, share: float
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Divisions of a training side, on which candidates are compared; the test side is never looked at.

    The official validation side where the protocol has one, else draws of whole speakers; single clips only where the
    training side has no two known speakers.

    Args:
        utterances: What the positions of the fold mean.
        fold: The fold.
        count: Number of draws.
        share: Share of the training speakers that each holds out.

    Returns:
        Positions to learn from and to compare on.
    """
    if len(fold.validation):
        return [(fold.train, fold.validation)]
    side = [utterances[place] for place in fold.train]
    splits = []
    for seed in range(INNER_SEED, INNER_SEED + count):
        inside, held_out = validation_split(side, share, seed) if _voices(side) else _clips(len(side), share, seed)
        splits.append((fold.train[inside], fold.train[held_out]))
    return splits


def identifiers(utterances: Sequence[Utterance]) -> np.ndarray:
    """Names that tell utterances apart but not where a corpus lies: corpus, path inside it, part of the file."""
    names = np.empty(len(utterances), dtype=object)
    for corpus in {item.corpus for item in utterances}:
        places = [place for place, item in enumerate(utterances) if item.corpus == corpus]
        root = commonpath([str(Path(utterances[place].path).absolute().parent) for place in places])
        for place in places:
            item = utterances[place]
            inside = Path(item.path).absolute().relative_to(root).as_posix()
            names[place] = "/".join(filter(None, (corpus, inside + item.key.removeprefix(item.path))))
    return names.astype(str)


def _voices(utterances: Iterable[Utterance]) -> bool:
    """Whether whole speakers can be held out: all are known, and some corpus has two."""
    speakers = {item.speaker_key for item in utterances}
    return None not in speakers and len({speaker[0] for speaker in speakers}) < len(speakers)


def _clips(rows: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    order = np.random.default_rng(seed).permutation(rows)
    cut = min(max(1, round(share * rows)), rows - 1)
    return np.sort(order[cut:]), np.sort(order[:cut])


def _by_corpus(utterances: Sequence[Utterance]) -> list[list[Utterance]]:
    corpora = dict.fromkeys(item.corpus for item in utterances)
    return [[item for item in utterances if item.corpus == corpus] for corpus in corpora]


def _protocol(
    utterances: Sequence[Utterance], name: str, divided: Sequence[Fold], task: str, labels: str | None
) -> Protocol:
    corpus = "+".join(sorted({item.corpus or "unnamed" for item in utterances}))
    family = FAMILIES.get(name, name)
    parts = [corpus, f"{family}-{len(divided)}" if family in ("kfold", "random") else family]
    parts += [task] if task != "emotion" else []
    if labels:
        parts.append(labels.rpartition(":")[2])
        family += "" if _same_classes(utterances, task, labels) else f", labels {labels.rpartition(':')[2]}"
    if name == "emobox" and _lacks_clips(utterances, corpus):
        parts.append("incomplete")
    dependent = not all(fold.speaker_independent for fold in divided)
    return Protocol("-".join(parts), corpus, task, family, len(divided), dependent)


def _same_classes(utterances: Sequence[Utterance], task: str, labels: str) -> bool:
    """Whether a label map only renames, so that published scores on all classes still compare."""
    before, _ = for_task(utterances, task)
    after, dropped = for_task(before, task, find_label_map(labels))
    return not dropped and len({item.label for item in before}) == len({item.label for item in after})


def _lacks_clips(utterances: Sequence[Utterance], corpus: str) -> bool:
    there = {emobox_clip(item) for item in utterances}
    return any(clip not in there for clips in emobox_tests(corpus).values() for clip in clips)
