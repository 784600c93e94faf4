"""Finds the audio files below a folder, by rules that hold for all verbs."""

import fnmatch
import glob
import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from genser.audio.endings import AUDIO_ENDINGS


@dataclass(frozen=True)
class FolderContent:
    """What is below a folder.

    Attributes:
        files: Paths of the audio files.
        unreadable: Paths of the folders that cannot be read.
    """

    files: list[str]
    unreadable: list[str]


def walk(folder: str, on_error: Callable[[OSError], None]) -> Iterator[tuple[str, list[str], list[str]]]:
    """Visit a folder and all folders below it once, in the order of their names, as :func:`os.walk` does.

    Hidden files and folders, whose names begin with a dot, are skipped, and so is ``__MACOSX``, which macOS adds to ZIP
    files. A link to a folder is followed after all others, unless that folder was visited.

    Args:
        folder: Where to start.
        on_error: Called for each folder that cannot be read.

    Yields:
        Path of a folder, names of the folders in it, names of the files in it.
    """
    visited: set[tuple[int, int]] = set()
    starts = deque([folder])
    while starts:
        for root, folders, files in os.walk(starts.popleft(), onerror=on_error):
            status = os.stat(root)  # noqa: PTH116 - a Path would change the spelling of the name
            if (status.st_dev, status.st_ino) in visited:
                folders.clear()
                continue
            visited.add((status.st_dev, status.st_ino))
            folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
            starts += [path for name in folders if os.path.islink(path := os.path.join(root, name))]  # noqa: PTH114, PTH118
            yield root, folders, sorted(name for name in files if not name.startswith("."))


def walk_audio(folder: str, unreadable: list[str]) -> Iterator[str]:
    """Paths of the audio and video files below a folder by their endings, one folder after the other, see :func:`walk`.

    A FIFO or a device could block without end, so it is skipped. A broken link is kept, so that it is reported.

    Args:
        folder: Where to start.
        unreadable: Gets the paths of the folders that cannot be read.
    """
    for root, _, names in walk(folder, lambda error: unreadable.append(str(error.filename))):
        for name in names:
            path = os.path.join(root, name)  # noqa: PTH118
            is_audio = os.path.splitext(name)[1].lower() in AUDIO_ENDINGS  # noqa: PTH122
            if is_audio and (os.path.isfile(path) or not os.path.exists(path)):  # noqa: PTH110, PTH113
                yield path


def find_audio(folder: str) -> FolderContent:
    """All files of :func:`walk_audio`."""
    content = FolderContent([], [])
    content.files.extend(walk_audio(folder, content.unreadable))
    return content


def find_matches(pattern: str) -> list[str]:
    """Files and folders that match a pattern; ``**`` enters each folder once, as links may form loops."""
    parts = Path(pattern).parts
    if "**" not in parts:
        return sorted(glob.glob(pattern))  # noqa: PTH207
    first = parts.index("**")
    starts = sorted(glob.glob(os.path.join(*parts[:first]))) if first else ["."]  # noqa: PTH118, PTH207
    starts = [start for start in starts if os.path.isdir(start)]  # noqa: PTH112
    return [path for start in starts for path in _below(start, parts[first:])]


def _below(start: str, pattern: tuple[str, ...]) -> Iterator[str]:
    unreadable: list[str] = []
    for root, folders, files in walk(start, lambda error: unreadable.append(str(error.filename))):
        inside = () if root == start else Path(os.path.relpath(root, start)).parts
        for name in [*files, *folders]:
            if _fits((*inside, name), pattern):
                yield os.path.join(root, name).removeprefix(f".{os.sep}")  # noqa: PTH118
    yield from unreadable


def _fits(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_fits(parts[skipped:], pattern[1:]) for skipped in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatch(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])
