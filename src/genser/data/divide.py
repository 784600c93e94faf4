"""Divides utterances into training, validation and test side: whole speakers, and equal shares of every class."""

import itertools
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from genser.data.corpora.report import same_bytes
from genser.data.labels import NO_SPEECH
from genser.data.leaks import speakers_of
from genser.data.utterance import Utterance
from genser.errors import ManifestError, counted

By = Literal["speaker", "file"]
Key = tuple[str, str] | str
"""Corpus and speaker, or the path of a file."""

TRIES = 5000  # assignments of one group that are tried, over all attempts


@dataclass(frozen=True)
class Division:
    """A division of utterances.

    Attributes:
        sides: Name of the side of every utterance.
        remarks: Sentences on what could not be divided.
    """

    sides: tuple[str, ...]
    remarks: tuple[str, ...]


def divide(
    utterances: Sequence[Utterance], shares: Mapping[str, float], *, by: By = "speaker", seed: int = 0
) -> Division:
    """Divide utterances so that each speaker is on one side, and each side has its share of every class.

    All parts of a recording stay together, and so do files with the same bytes. The shares are met as closely as whole
    groups allow, for each class and gender of each corpus. Utterances without speech need no speaker: they are divided
    by recording, apart from the others. The result does not depend on the order of the utterances.

    Args:
        utterances: From a manifest; their files must exist.
        shares: Share of each side; they must be positive and add up to 1.
        by: ``"speaker"``, or ``"file"`` to keep only files together, whose speakers may then be on several sides.
        seed: Random seed.

    Raises:
        ManifestError: The speaker of an utterance with speech is unknown, the shares are impossible, or there are fewer
            speakers or files than sides.
    """
    if not all(0 < share < 1 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-9:
        listed = ", ".join(f"{side} {share:g}" for side, share in shares.items())
        raise ManifestError(f"The shares must be between 0 and 1 and add up to 1, got {listed}.")
    keys = _keys(utterances, by)
    groups = _groups(utterances, keys)
    spoken: list[list[int]] = []
    silent: list[list[int]] = []
    for group in groups:
        has_speech = by == "file" or any(isinstance(keys[index], tuple) for index in group)
        (spoken if has_speech else silent).append(group)
    if len(spoken) < len(shares):
        raise ManifestError(
            f"{len(shares)} sides need {len(shares)} or more {by}s that share no files, got {len(spoken)}. Divide into "
            "fewer sides, such as with --validation 0, or add more."
        )
    names = list(shares)
    sides = [""] * len(utterances)
    for some in filter(None, (spoken, silent)):
        fractions, wanted = _fractions(utterances, some), np.array(list(shares.values()))
        for group, side in zip(some, _assign(fractions, wanted, np.random.default_rng(seed)), strict=True):
            for index in group:
                sides[index] = names[side]
    return Division(tuple(sides), tuple(_remarks(utterances, keys, groups, sides, names)))


def _keys(utterances: Sequence[Utterance], by: By) -> list[Key]:
    """What each utterance may not be separated from: its speaker, or its file."""
    files: list[Key] = [os.path.realpath(item.path) for item in utterances]
    if by == "file":
        return files
    is_named = [item.speaker is not None or item.label != NO_SPEECH for item in utterances]
    speakers = iter(speakers_of(itertools.compress(utterances, is_named), "Dividing by speaker"))
    return [next(speakers) if named else file for named, file in zip(is_named, files, strict=True)]


def _groups(utterances: Sequence[Utterance], keys: Sequence[Key]) -> list[list[int]]:
    """Indices of the utterances that must stay together, in an order that does not depend on theirs."""
    files = [os.path.realpath(item.path) for item in utterances]
    root: dict[object, object] = {key: key for key in (*keys, *files)}

    def find(key: object) -> object:
        while root[key] != key:
            root[key] = key = root[root[key]]
        return key

    copies = [(str(one), str(other)) for one, other in same_bytes(map(Path, sorted(set(files))))]
    for one, other in [*zip(files, keys, strict=True), *copies]:
        root[find(one)] = find(other)
    groups: dict[object, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        groups[find(key)].append(index)
    return sorted(groups.values(), key=lambda group: min(map(_sortable, (keys[index] for index in group))))


def _sortable(key: Key) -> tuple[str, ...]:
    return (key,) if isinstance(key, str) else key


def _fractions(utterances: Sequence[Utterance], groups: Sequence[Sequence[int]]) -> np.ndarray:
    """Share of each group of all clips with a property, shape (groups, properties)."""
    properties = [
        [(item.corpus, kind, value) for kind, value in (("", ""), ("class", item.label), ("gender", item.gender))]
        for item in utterances
    ]
    place = {name: index for index, name in enumerate(sorted({one for some in properties for one in some}, key=repr))}
    counts = np.zeros((len(groups), len(place)))
    for row, group in zip(counts, groups, strict=True):
        np.add.at(row, [place[name] for index in group for name in properties[index]], 1)
    return counts / np.maximum(counts.sum(axis=0), 1)


def _assign(fractions: np.ndarray, shares: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Side of every group: the best of several greedy assignments, large groups mostly first.

    The best one has the smallest chi-square distance from the shares, summed over all properties.
    """
    best, lowest = np.zeros(len(fractions), dtype=int), np.inf
    for _ in range(max(1, TRIES // len(fractions))):
        order = np.argsort(-fractions.sum(axis=1) * generator.uniform(0.5, 1, len(fractions)), kind="stable")
        missing = np.tile(shares[:, None], fractions.shape[1])
        sides = np.zeros(len(fractions), dtype=int)
        empty = set(range(len(shares)))
        for done, group in enumerate(order):
            need = missing / shares[:, None] @ fractions[group]
            if len(order) - done <= len(empty):
                need[[side for side in range(len(shares)) if side not in empty]] = -np.inf
            side = sides[group] = int(need.argmax())
            missing[side] -= fractions[group]
            empty.discard(side)
        cost = float((np.square(missing) / shares[:, None]).sum())
        if cost < lowest - 1e-12:
            best, lowest = sides, cost
    return best


def _remarks(
    utterances: Sequence[Utterance],
    keys: Sequence[Key],
    groups: Sequence[Sequence[int]],
    sides: Sequence[str],
    names: Sequence[str],
) -> Iterator[str]:
    for group in groups:
        speakers = sorted({"/".join(filter(None, utterances[index].speaker_key or ())) for index in group} - {""})
        if len(speakers) > 1:
            yield f"The speakers {', '.join(speakers)} share files, so they are on one side."
    for kind in ("label", "corpus"):
        held: dict[str, list[int]] = defaultdict(list)
        for index, item in enumerate(utterances):
            if (value := getattr(item, kind)) is not None:
                held[value].append(index)
        for value, indices in sorted(held.items()):
            absent = [name for name in names if name not in {sides[index] for index in indices}]
            if absent:
                held_by = {keys[index] for index in indices}
                unit = "speaker" if any(isinstance(key, tuple) for key in held_by) else "file"
                yield (
                    f"There is no clip of the {'class' if kind == 'label' else kind} {value!r} on the side "
                    f"{' and '.join(absent)}: it has clips of {counted(len(held_by), unit)}, and a {unit} is not "
                    "divided."
                )
