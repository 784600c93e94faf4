"""Finds the audio files that the arguments of a command name, in an order that repeats."""

import fnmatch
import glob
import os
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from genser.audio.folders import find_audio, find_stored_audio, walk
from genser.errors import ConfigError
from genser.storage import is_url


def find_inputs(paths: Iterable[str]) -> list[str]:
    """List every input once: files and URLs as given, audio files in folders, matches of patterns, "-".

    Folders are searched to any depth, see :func:`genser.audio.folders.walk`. A name that matches nothing stays in the
    list and fails when it is read, and so do a folder that holds no audio files and one that cannot be read.

    Raises:
        ConfigError: No input is given, or there are only folders without audio files.
    """
    found: list[str] = []
    empty: list[str] = []
    for path in map(_spelled, paths):
        if is_url(path):
            content = find_stored_audio(path)
            empty += [] if content else [path]
            found += content or [path]
            continue
        matches = [path] if os.path.exists(path) or not glob.has_magic(path) else _matches(path)  # noqa: PTH110
        for match in matches or [path]:
            if not os.path.isdir(match):  # noqa: PTH112
                found.append(match)
                continue
            content = find_audio(match)
            if not content.files and not content.unreadable:
                empty.append(match)
                found.append(match)
            found += content.files + content.unreadable
    inputs: dict[str, str] = {}  # the first spelling of each, at its place
    for path in found:
        inputs.setdefault(path if path == "-" or is_url(path) else os.path.abspath(path), path)  # noqa: PTH100
    if not inputs:
        raise ConfigError("No input is given. Name files, folders or patterns, or '-' for standard input.")
    if len(empty) == len(found):
        raise ConfigError(
            f"The folder {empty[0]} holds no audio files (.wav, .flac, .mp3, …). Check the path, or name the files "
            "themselves."
        )
    return list(inputs.values())


def _spelled(path: str) -> str:
    """The name in the Unicode form in which it exists, if another than the given one does."""
    if path.isascii() or os.path.exists(path):  # noqa: PTH110
        return path
    forms = (unicodedata.normalize(form, path) for form in ("NFC", "NFD"))
    return next((name for name in forms if os.path.exists(name)), path)  # noqa: PTH110


def _matches(pattern: str) -> list[str]:
    """Files and folders that match a pattern; ``**`` enters each folder once, as links may form loops."""
    parts = Path(pattern).parts
    if "**" not in parts:
        return sorted(glob.glob(pattern))  # noqa: PTH207
    first = parts.index("**")
    starts = sorted(glob.glob(os.path.join(*parts[:first]))) if first else ["."]  # noqa: PTH118, PTH207
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
