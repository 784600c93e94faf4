"""Divides utterances into training, validation and test side: whole speakers, and equal shares of every class."""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from genser.data.corpora.report import same_bytes
from genser.data.leaks import speakers_of
from genser.data.utterance import Utterance
from genser.errors import ManifestError

By = Literal["speaker", "file"]
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
    groups allow, for each class and gender of each corpus. The result does not depend on the order of the utterances.

    Args:
        utterances: From a manifest; their files must exist.
        shares: Share of each side; they must be positive and add up to 1.
        by: ``"speaker"``, or ``"file"`` to keep only files together, whose speakers may then be on several sides.
        seed: Random seed.

    Raises:
        ManifestError: A speaker is unknown, the shares are impossible, or there are fewer groups than sides.
    """
    if not all(0 < share < 1 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-9:
        listed = ", ".join(f"{side} {share:g}" for side, share in shares.items())
        raise ManifestError(f"The shares must be between 0 and 1 and add up to 1, got {listed}.")
    groups = _groups(utterances, by)
    if len(groups) < len(shares):
        raise ManifestError(
            f"{len(shares)} sides need {len(shares)} or more {by}s that share no files, got {len(groups)}. Divide into "
            "fewer sides, such as with --validation 0, or add more."
        )
    chosen = _assign(_fractions(utterances, groups), np.array(list(shares.values())), np.random.default_rng(seed))
    names = list(shares)
    sides = [""] * len(utterances)
    for group, side in zip(groups, chosen, strict=True):
        for index in group:
            sides[index] = names[side]
    return Division(tuple(sides), tuple(_remarks(utterances, groups, sides, names)))


def _groups(utterances: Sequence[Utterance], by: By) -> list[list[int]]:
    """Indices of the utterances that must stay together, in an order that does not depend on theirs."""
    files = [os.path.realpath(item.path) for item in utterances]
    keys = speakers_of(utterances, "Dividing by speaker") if by == "speaker" else files
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
    return sorted(groups.values(), key=lambda group: min(keys[index] for index in group))


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
    return counts / counts.sum(axis=0)


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
    utterances: Sequence[Utterance], groups: Sequence[Sequence[int]], sides: Sequence[str], names: Sequence[str]
) -> Iterator[str]:
    for group in groups:
        speakers = sorted({"/".join(filter(None, utterances[index].speaker_key or ())) for index in group} - {""})
        if len(speakers) > 1:
            yield f"The speakers {', '.join(speakers)} share files, so they are on one side."
    group_of = {index: number for number, group in enumerate(groups) for index in group}
    for kind in ("label", "corpus"):
        held: dict[str, list[int]] = defaultdict(list)
        for index, item in enumerate(utterances):
            if (value := getattr(item, kind)) is not None:
                held[value].append(index)
        for value, indices in sorted(held.items()):
            absent = [name for name in names if name not in {sides[index] for index in indices}]
            if absent:
                count = len({group_of[index] for index in indices})
                yield (
                    f"There is no clip of the {'class' if kind == 'label' else kind} {value!r} on the side "
                    f"{' and '.join(absent)}: its clips are in {count} group{'s'[: count != 1]} that cannot be divided."
                )
