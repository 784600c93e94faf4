"""EmoBox's published test sets (Ma et al., Interspeech 2024; lists of commit 08280f2)."""

import functools
import json
from importlib import resources
from pathlib import Path

from genser.data.utterance import Utterance
from genser.errors import ManifestError


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
