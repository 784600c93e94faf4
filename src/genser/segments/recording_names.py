"""Short names of recordings, as RTTM has them, and how a recording is found by such a name."""

import os
import unicodedata
from itertools import chain, count
from pathlib import Path

from genser.data.text import unescaped


def plain(name: str) -> str:
    """A name in the form NFC with ``_`` for white space, which RTTM cannot hold."""
    return "_".join(unicodedata.normalize("NFC", name).split())


def names_of(recording: str) -> list[str]:
    """Names that a recording answers to: ``talk``, ``talk.wav``, ``b/talk.wav``, …, and its path."""
    parts = Path(os.path.abspath(recording)).parts  # noqa: PTH100
    ends = ["/".join(parts[place:]) for place in range(len(parts) - 1, -1, -1)]
    return [plain(name) for name in (Path(recording).stem, *ends, os.path.normpath(recording))]


def exactness(name: str, names: list[str]) -> int | None:
    """How exactly a name in a file says a recording, by its :func:`names_of`; None if it does not."""
    spellings = [plain(os.path.normpath(one)) for one in (name, unescaped(name))]
    return max((place for place, one in enumerate(names) if one in spellings), default=None)


class ShortNames:
    """Chooses for each recording the shortest name that no earlier one answers to, so that each is found by its own."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._taken: set[str] = set()

    def __call__(self, recording: str) -> str:
        """The name of a recording; the same one each time."""
        if recording not in self._names:
            names = names_of(recording)[:-1]
            numbered = (f"{names[-1]}_({number})" for number in count(2))
            free = (name for name in chain(names, numbered) if name and name not in self._taken)
            self._names[recording] = next(free)
            self._taken.update(names, self._names.values())
        return self._names[recording]
