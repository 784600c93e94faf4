"""Splits into training and test side: published ones, by speaker, by corpus, and at random only by name."""

import functools
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import numpy as np

from genser.data.leaks import Leak, check_leaks, find_leaks, require_speakers
from genser.data.utterance import Utterance
from genser.errors import ManifestError, suggestion


@functools.cache
def _folds() -> dict[str, dict[str, tuple[str, ...]]]:
    text = resources.files("genser.data").joinpath("protocols/emobox.json").read_text("utf-8")
    folds = json.loads(text)["folds"]
    return {corpus: {fold: tuple(clips.split()) for fold, clips in lists.items()} for corpus, lists in folds.items()}


def emobox_corpora() -> tuple[str, ...]:
    """Names of the corpora whose test sets are in the package."""
    return tuple(_folds())


def emobox_tests(corpus: str) -> dict[str, tuple[str, ...]]:
    """The official clips of every test fold of a corpus.

    Args:
        corpus: One of :func:`emobox_corpora`.

    Raises:
        ManifestError: EmoBox's lists for the corpus are not in the package.
    """
    if corpus not in _folds():
        raise ManifestError(f"EmoBox's folds are here for {', '.join(_folds())}, not for {corpus!r}")
    return _folds()[corpus]


def emobox_clip(utterance: Utterance) -> str:
    """Name that EmoBox gives the clip of an utterance: the file's, without folders and ending.

    SAVEE is also found with a folder a speaker, ``DC/a01.wav``, which EmoBox calls ``DC_a01``.
    """
    path = Path(utterance.path)
    if utterance.corpus == "savee" and "_" not in path.stem:
        return f"{path.parent.name}_{path.stem}"
    if utterance.corpus == "ravdess":
        return f"03{path.stem[2:]}"  # the film 01-01-… has the sound of 03-01-…
    return path.stem


__all__ = ["PROTOCOLS", "Fold", "Leak", "check_leaks", "find_leaks", "folds", "validation_split"]


def _nothing() -> np.ndarray:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Fold:
    """One division of a list of utterances.

    Args:
        name: What the fold is called, such as ``"emobox ravdess 1"``.
        train: Positions of the training side, int64.
        test: Positions of the test side, int64.
        speaker_independent: Whether no speaker is known to be, or may be, on both sides.
        validation: Positions of an official validation side; empty where the protocol has none.

    Raises:
        ManifestError: A side is empty or a position is on two sides.
    """

    name: str
    train: np.ndarray
    test: np.ndarray
    speaker_independent: bool
    validation: np.ndarray = field(default_factory=_nothing)

    def __post_init__(self) -> None:
        for side in ("train", "test"):
            if not len(getattr(self, side)):
                raise ManifestError(f"the fold {self.name!r} has an empty {side} side")
        together = np.concatenate([self.train, self.validation, self.test])
        if len(np.unique(together)) != len(together):
            raise ManifestError(f"the fold {self.name!r} has an utterance on two sides")

    @property
    def independence(self) -> str:
        """``"speaker-independent"`` or ``"speaker-dependent"``, to print beside every number."""
        return "speaker-independent" if self.speaker_independent else "speaker-dependent"


def folds(
    utterances: Sequence[Utterance], protocol: str, *, k: int = 5, seed: int = 0, incomplete: bool = False
) -> list[Fold]:
    """Divide utterances as a protocol says.

    Args:
        utterances: All utterances; the folds hold positions in this list.
        protocol: ``emobox`` (EmoBox's published test lists), ``official`` or ``meld`` (the column ``split``), ``loso``
            (leave one speaker out), ``kfold-speaker`` (k folds of whole speakers), ``loco`` (leave one corpus out) or
            ``random`` (k folds of single utterances: speaker-dependent, only for comparison).
        k: Number of folds of ``kfold-speaker`` and ``random``.
        seed: Draw of ``kfold-speaker`` and ``random``.
        incomplete: Go on with ``emobox`` although clips of its lists are not there.

    Returns:
        The folds in the order of their names.

    Raises:
        ManifestError: The protocol is unknown, or the utterances lack what it needs.
    """
    if protocol not in PROTOCOLS:
        raise ManifestError(f"there is no protocol {protocol!r}. {suggestion(protocol, PROTOCOLS)}")
    if protocol == "emobox":
        return _emobox(utterances, incomplete)
    if protocol in ("kfold-speaker", "random"):
        return PROTOCOLS[protocol](utterances, k, seed)
    return PROTOCOLS[protocol](utterances)


def validation_split(
    utterances: Sequence[Utterance], fraction: float = 0.1, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Hold out whole speakers for validation, balanced over corpora and genders.

    Each corpus with two speakers or more gives at least one, never all, and about ``fraction`` of them, drawn from its
    genders in turn. The draw does not depend on the order of the utterances.

    Args:
        utterances: Training side; every speaker must be known.
        fraction: Share of the speakers to hold out, between 0 and 1.
        seed: Draw of the speakers.

    Returns:
        Positions of the training and of the validation side, int64.

    Raises:
        ManifestError: A speaker is unknown, the fraction is impossible, or no corpus has two speakers.
    """
    if not 0 < fraction < 1:
        raise ManifestError(f"the validation share is {fraction:g}; it must be between 0 and 1")
    require_speakers(utterances, "a validation side of whole speakers")
    held_out = set()
    for speakers in _speakers_in_turn(utterances, seed).values():
        if len(speakers) > 1:
            held_out.update(speakers[: min(max(1, round(fraction * len(speakers))), len(speakers) - 1)])
    if not held_out:
        raise ManifestError("no speaker can be held out for validation: no corpus has two of them")
    chosen = np.array([item.speaker_key in held_out for item in utterances])
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def _speakers_in_turn(utterances: Sequence[Utterance], seed: int) -> dict[str, list[tuple[str, str]]]:
    """Speakers of every corpus in a drawn order in which the genders alternate."""
    gender_of = dict(sorted((item.speaker_key, item.gender or "") for item in utterances))
    groups: dict[str, dict[str, list[tuple[str, str]]]] = defaultdict(lambda: defaultdict(list))
    for speaker, gender in gender_of.items():
        groups[speaker[0]][gender].append(speaker)
    generator = np.random.default_rng(seed)
    return {corpus: _alternate(list(genders.values()), generator) for corpus, genders in sorted(groups.items())}


def _alternate(groups: list[list], generator: np.random.Generator) -> list:
    drawn = [[group[place] for place in generator.permutation(len(group))] for group in groups]
    drawn = [drawn[place] for place in generator.permutation(len(drawn))]
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
    sides = [{utterances[place].speaker_key for place in side} for side in (train, test)]
    return None not in sides[0] | sides[1] and not sides[0] & sides[1]


def _emobox(utterances: Sequence[Utterance], incomplete: bool = False) -> list[Fold]:
    corpora = sorted({item.corpus or "" for item in utterances})
    if len(corpora) != 1:
        raise ManifestError(f"EmoBox's folds are of one corpus; these utterances are of {', '.join(corpora) or 'none'}")
    places: dict[str, list[int]] = defaultdict(list)
    for place, item in enumerate(utterances):
        places[emobox_clip(item)].append(place)
    tests = emobox_tests(corpora[0])
    lost = [clip for clips in tests.values() for clip in clips if clip not in places]
    if lost and not incomplete:
        raise ManifestError(
            f"{len(lost)} test clips of EmoBox's {corpora[0]} folds are not there, such as {', '.join(lost[:5])}. "
            "Complete the corpus, or allow incomplete folds and say so beside the numbers."
        )
    return [
        _fold(f"emobox {corpora[0]} {name}", utterances, [place for clip in clips for place in places.get(clip, ())])
        for name, clips in tests.items()
    ]


def _official(utterances: Sequence[Utterance]) -> list[Fold]:
    unknown = [item.key for item in utterances if item.split is None]
    if unknown:
        raise ManifestError(
            f"the official split needs the column 'split'; {len(unknown)} utterances have none, such as {unknown[0]}"
        )
    sides = {
        side: np.array([place for place, item in enumerate(utterances) if item.split == side], dtype=np.int64)
        for side in ("train", "test", "validation")
    }
    before_test = np.concatenate([sides["train"], sides["validation"]])
    return [Fold("official", speaker_independent=_independent(utterances, before_test, sides["test"]), **sides)]


def _by_key(utterances: Sequence[Utterance], key: Callable[[Utterance], tuple], title: str) -> list[Fold]:
    places: dict[tuple, list[int]] = defaultdict(list)
    for place, item in enumerate(utterances):
        places[key(item)].append(place)
    if len(places) < 2:
        raise ManifestError(f"'{title}' needs two or more to leave one out; found {len(places)}")
    return [
        _fold(" ".join([title, *filter(None, name)]), utterances, test, speaker_independent=True)
        for name, test in sorted(places.items())
    ]


def _leave_one_speaker_out(utterances: Sequence[Utterance]) -> list[Fold]:
    require_speakers(utterances, "leave-one-speaker-out")
    return _by_key(utterances, lambda item: item.speaker_key, "loso")


def _leave_one_corpus_out(utterances: Sequence[Utterance]) -> list[Fold]:
    nameless = [item.key for item in utterances if item.corpus is None]
    if nameless:
        raise ManifestError(f"leave-one-corpus-out needs the column 'corpus'; {nameless[0]} has none")
    return _by_key(utterances, lambda item: (item.corpus,), "loco")


def _speaker_folds(utterances: Sequence[Utterance], k: int, seed: int) -> list[Fold]:
    """K folds of whole speakers, dealt out like cards: corpora and genders are spread evenly over the folds."""
    require_speakers(utterances, "k folds by speaker")
    speakers = [speaker for drawn in _speakers_in_turn(utterances, seed).values() for speaker in drawn]
    if not 2 <= k <= len(speakers):
        raise ManifestError(f"{k} folds of whole speakers are impossible with {len(speakers)} speakers")
    hand = {speaker: place % k for place, speaker in enumerate(speakers)}
    hands = np.array([hand[item.speaker_key] for item in utterances])
    return [
        _fold(f"kfold-speaker {n + 1}/{k}", utterances, np.flatnonzero(hands == n), speaker_independent=True)
        for n in range(k)
    ]


def _random_folds(utterances: Sequence[Utterance], k: int, seed: int) -> list[Fold]:
    if not 2 <= k <= len(utterances):
        raise ManifestError(f"{k} random folds are impossible with {len(utterances)} utterances")
    parts = np.array_split(np.random.default_rng(seed).permutation(len(utterances)), k)
    return [
        _fold(f"random {n + 1}/{k} (speaker-dependent)", utterances, part, speaker_independent=False)
        for n, part in enumerate(parts)
    ]


PROTOCOLS: dict[str, Callable[..., list[Fold]]] = {
    "emobox": _emobox,
    "official": _official,
    "meld": _official,
    "loso": _leave_one_speaker_out,
    "kfold-speaker": _speaker_folds,
    "loco": _leave_one_corpus_out,
    "random": _random_folds,
}
"""The known protocols by name."""
