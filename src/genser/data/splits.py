"""Splits utterances into training and test side: published splits, by speaker, by corpus, or at random."""

import functools
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import numpy as np

from genser.data.leaks import speakers_of
from genser.data.utterance import Utterance
from genser.errors import ManifestError, counted, suggestion


@functools.cache
def _folds() -> dict[str, dict[str, tuple[str, ...]]]:
    text = resources.files("genser.data").joinpath("protocols/emobox.json").read_text("utf-8")
    folds = json.loads(text)["folds"]
    return {corpus: {fold: tuple(clips.split()) for fold, clips in lists.items()} for corpus, lists in folds.items()}


def emobox_tests(corpus: str) -> dict[str, tuple[str, ...]]:
    """The clips of every test fold of a corpus, as EmoBox (Ma et al., 2024) published them.

    Args:
        corpus: Name of the corpus, such as ``"ravdess"``.

    Raises:
        ManifestError: The package has no lists of EmoBox for this corpus.
    """
    if corpus not in _folds():
        raise ManifestError(f"There are no folds of EmoBox for {corpus!r}, only for {', '.join(_folds())}.")
    return _folds()[corpus]


def emobox_clip(utterance: Utterance) -> str:
    """Name of a clip in the lists of EmoBox: the file name without its ending.

    SAVEE also exists with one folder per speaker: EmoBox calls ``DC/a01.wav`` ``DC_a01``.
    """
    path = Path(utterance.path)
    if utterance.corpus == "savee" and "_" not in path.stem:
        return f"{path.parent.name}_{path.stem}"
    if utterance.corpus == "ravdess":
        return f"03{path.stem[2:]}"  # the video 01-01-… has the audio of 03-01-…
    return path.stem


@dataclass(frozen=True)
class Fold:
    """One split of a list of utterances.

    Args:
        name: Name of the fold, such as ``"emobox ravdess 1"``.
        train: Indices of the training side, int64.
        test: Indices of the test side, int64.
        speaker_independent: Whether all speakers are known, and none is on both sides.
        validation: Indices of an official validation side; empty if the protocol has none.

    Raises:
        ManifestError: A side is empty, or an index is on two sides.
    """

    name: str
    train: np.ndarray
    test: np.ndarray
    speaker_independent: bool
    validation: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def __post_init__(self) -> None:
        for side in ("train", "test"):
            if not len(getattr(self, side)):
                raise ManifestError(f"The fold {self.name!r} has an empty {side} side. Check the column 'split'.")
        together = np.concatenate([self.train, self.validation, self.test])
        if len(np.unique(together)) != len(together):
            raise ManifestError(f"The fold {self.name!r} has an utterance on two sides. Name it once.")


def folds(
    utterances: Sequence[Utterance], protocol: str, *, k: int = 5, seed: int = 0, incomplete: bool = False
) -> list[Fold]:
    """Split utterances by a protocol.

    Args:
        utterances: All utterances; the folds contain indices of this list.
        protocol: ``emobox`` (published test lists of EmoBox), ``official`` (the column ``split``), ``loso`` (leave one
            speaker out), ``kfold-speaker`` (k folds of speakers), ``loco`` (leave one corpus out) or ``random``
            (k folds of single utterances: speaker-dependent, for comparison only).
        k: Number of folds of ``kfold-speaker`` and ``random``.
        seed: Random seed of ``kfold-speaker`` and ``random``.
        incomplete: Whether ``emobox`` may lack clips of its lists.

    Returns:
        The folds in the order of their names.

    Raises:
        ManifestError: The protocol is unknown, or the utterances lack what it needs.
    """
    if protocol not in PROTOCOLS:
        raise ManifestError(f"There is no protocol {protocol!r}. {suggestion(protocol, PROTOCOLS)}")
    if protocol == "emobox":
        return _emobox(utterances, incomplete)
    if protocol in ("kfold-speaker", "random"):
        return PROTOCOLS[protocol](utterances, k, seed)
    return PROTOCOLS[protocol](utterances)


def validation_split(
    utterances: Sequence[Utterance], fraction: float = 0.1, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Hold out speakers for validation, balanced over corpora and genders.

    From each corpus with two or more speakers, about ``fraction`` of them are held out, at least one and never all,
    drawn from its genders in turn. The draw does not depend on the order of the utterances.

    Args:
        utterances: Training side; every speaker must be known.
        fraction: Share of the speakers to hold out, between 0 and 1.
        seed: Random seed.

    Returns:
        Indices of the training and of the validation side, int64.

    Raises:
        ManifestError: A speaker is unknown, the fraction is impossible, or no corpus has two speakers.
    """
    if not 0 < fraction < 1:
        raise ManifestError(f"The validation share must be between 0 and 1, got {fraction:g}.")
    speakers = speakers_of(utterances, "A validation side by speaker")
    held_out = set()
    for drawn in _speakers_in_turn(speakers, utterances, seed).values():
        if len(drawn) > 1:
            held_out.update(drawn[: min(max(1, round(fraction * len(drawn))), len(drawn) - 1)])
    if not held_out:
        raise ManifestError(
            "No speaker can be held out, since no corpus has two. Set validation to 0, or fill the column 'split'."
        )
    chosen = np.array([speaker in held_out for speaker in speakers])
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def recordings_of(utterances: Sequence[Utterance]) -> np.ndarray:
    """Number of the recording of each utterance, in the order of their first use, int64 of shape (utterances,).

    Where speakers are unknown, recordings are divided instead: parts of one are of one voice, microphone and room.
    """
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(item.path, len(numbers)) for item in utterances], dtype=np.int64)


def _speakers_in_turn(
    speakers: Sequence[tuple[str, str]], utterances: Sequence[Utterance], seed: int
) -> dict[str, list[tuple[str, str]]]:
    """Speakers of every corpus in random order, in which the genders alternate."""
    gender_of = dict(sorted((speaker, item.gender or "") for speaker, item in zip(speakers, utterances, strict=True)))
    groups: dict[str, dict[str, list[tuple[str, str]]]] = defaultdict(lambda: defaultdict(list))
    for speaker, gender in gender_of.items():
        groups[speaker[0]][gender].append(speaker)
    generator = np.random.default_rng(seed)
    return {corpus: _alternate(list(genders.values()), generator) for corpus, genders in sorted(groups.items())}


def _alternate(groups: list[list], generator: np.random.Generator) -> list:
    drawn = [[group[index] for index in generator.permutation(len(group))] for group in groups]
    drawn = [drawn[index] for index in generator.permutation(len(drawn))]
    ranked = [(turn / len(group), order, item) for order, group in enumerate(drawn) for turn, item in enumerate(group)]
    return [item for _, _, item in sorted(ranked, key=lambda entry: entry[:2])]


def _fold(name: str, utterances: Sequence[Utterance], test: Iterable[int], **given) -> Fold:
    chosen = np.zeros(len(utterances), dtype=bool)
    chosen[list(test)] = True
    train, test = np.flatnonzero(~chosen), np.flatnonzero(chosen)
    independent = given.pop("speaker_independent", None)
    if independent is None:
        independent = _independent(utterances, train, test)
    return Fold(name, train, test, independent, **given)


def _independent(utterances: Sequence[Utterance], train: Iterable[int], test: Iterable[int]) -> bool:
    sides = [{utterances[index].speaker_key for index in side} for side in (train, test)]
    return None not in sides[0] | sides[1] and not sides[0] & sides[1]


def _emobox(utterances: Sequence[Utterance], incomplete: bool = False) -> list[Fold]:
    corpora = sorted({item.corpus or "" for item in utterances})
    if len(corpora) != 1:
        raise ManifestError(
            f"A fold of EmoBox has one corpus, got {', '.join(corpora) or 'none'}. Give a manifest of one corpus."
        )
    indices: dict[str, list[int]] = defaultdict(list)
    for index, item in enumerate(utterances):
        indices[emobox_clip(item)].append(index)
    tests = emobox_tests(corpora[0])
    lost = [clip for clips in tests.values() for clip in clips if clip not in indices]
    if lost and not incomplete:
        raise ManifestError(
            f"{len(lost)} test clips of the {corpora[0]} folds of EmoBox are missing, such as {', '.join(lost[:5])}. "
            "Complete the corpus, or allow incomplete folds (--incomplete) and mention it with the results."
        )
    return [
        _fold(f"emobox {corpora[0]} {name}", utterances, [index for clip in clips for index in indices.get(clip, ())])
        for name, clips in tests.items()
    ]


def _official(utterances: Sequence[Utterance]) -> list[Fold]:
    unknown = [item.key for item in utterances if item.split is None]
    if unknown:
        raise ManifestError(
            f"The official split needs the column 'split'; {counted(len(unknown), 'utterance has', 'utterances have')} "
            f"none, such as {unknown[0]}. Fill the column, or use another protocol."
        )
    sides = {
        side: np.array([index for index, item in enumerate(utterances) if item.split == side], dtype=np.int64)
        for side in ("train", "test", "validation")
    }
    before_test = np.concatenate([sides["train"], sides["validation"]])
    return [Fold("official", speaker_independent=_independent(utterances, before_test, sides["test"]), **sides)]


def _by_key(utterances: Sequence[Utterance], keys: Sequence[tuple[str, ...]], title: str) -> list[Fold]:
    indices: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        indices[key].append(index)
    if len(indices) < 2:
        what = "corpora" if title == "loco" else "speakers"
        raise ManifestError(f"The protocol {title!r} needs two or more {what}, got {len(indices)}.")
    return [
        _fold(" ".join([title, *filter(None, name)]), utterances, test, speaker_independent=True)
        for name, test in sorted(indices.items())
    ]


def _leave_one_speaker_out(utterances: Sequence[Utterance]) -> list[Fold]:
    return _by_key(utterances, speakers_of(utterances, "The protocol 'loso'"), "loso")


def _leave_one_corpus_out(utterances: Sequence[Utterance]) -> list[Fold]:
    unknown = [item.key for item in utterances if item.corpus is None]
    if unknown:
        raise ManifestError(f"The protocol 'loco' needs the column 'corpus'; {unknown[0]} has none. Fill the column.")
    return _by_key(utterances, [(item.corpus or "",) for item in utterances], "loco")


def _speaker_folds(utterances: Sequence[Utterance], k: int, seed: int) -> list[Fold]:
    """K folds of speakers; corpora and genders are spread evenly over the folds."""
    speakers = speakers_of(utterances, "The protocol 'kfold-speaker'")
    drawn = [speaker for group in _speakers_in_turn(speakers, utterances, seed).values() for speaker in group]
    if not 2 <= k <= len(drawn):
        raise ManifestError(f"k must be between 2 and the number of speakers, {len(drawn)}, got {k}.")
    fold_of = {speaker: index % k for index, speaker in enumerate(drawn)}
    assigned = np.array([fold_of[speaker] for speaker in speakers])
    return [
        _fold(f"kfold-speaker {n + 1}/{k}", utterances, np.flatnonzero(assigned == n), speaker_independent=True)
        for n in range(k)
    ]


def _random_folds(utterances: Sequence[Utterance], k: int, seed: int) -> list[Fold]:
    if not 2 <= k <= len(utterances):
        raise ManifestError(f"k must be between 2 and the number of utterances, {len(utterances)}, got {k}.")
    parts = np.array_split(np.random.default_rng(seed).permutation(len(utterances)), k)
    return [
        _fold(f"random {n + 1}/{k} (speaker-dependent)", utterances, part, speaker_independent=False)
        for n, part in enumerate(parts)
    ]


PROTOCOLS: dict[str, Callable[..., list[Fold]]] = {
    "emobox": _emobox,
    "official": _official,
    "loso": _leave_one_speaker_out,
    "kfold-speaker": _speaker_folds,
    "loco": _leave_one_corpus_out,
    "random": _random_folds,
}
"""Protocols by name."""
