"""Finds the audio files that the arguments of a command name, in an order that repeats."""

import glob
import os
import unicodedata
from collections.abc import Iterable

from genser.audio.endings import AUDIO_ENDINGS
from genser.audio.folders import find_audio, find_matches
from genser.errors import ConfigError, MissingExtraError, StorageError
from genser.storage import is_url, local_name, walk_stored


def find_inputs(paths: Iterable[str]) -> list[str]:
    """List every input once: files and URLs as given, audio files in folders, matches of patterns, "-".

    Folders are searched to any depth, see :func:`genser.audio.folders.walk`. A name that matches nothing stays in the
    list and fails when it is read, and so do a folder that holds no audio files and one that cannot be read.

    Raises:
        StorageError: No input is left, as their storage cannot be read.
        MissingExtraError: No input is left, as the extra for their storage is missing.
        ConfigError: No input is given, one has no name, or there are only folders without audio files.
    """
    paths = list(paths)
    if "" in paths:
        raise ConfigError("An input is the empty name ''. Name a file; a variable in the command may be empty.")
    found: list[str] = []
    empty: list[str] = []
    unlisted: list[MissingExtraError | StorageError] = []
    for path in map(_spelled, map(local_name, paths)):
        if is_url(path):
            try:
                content = list(walk_stored(path, AUDIO_ENDINGS))
                empty += [] if content else [path]
            except (MissingExtraError, StorageError) as error:
                content = []  # the reason becomes the error of this input when it is read
                unlisted.append(error)
            found += content or [path]
            continue
        matches = [path] if os.path.exists(path) or not glob.has_magic(path) else find_matches(path)  # noqa: PTH110
        for match in matches or [path]:
            if not os.path.isdir(match):  # noqa: PTH112
                found.append(match)
                continue
            content = find_audio(match)
            if not content.files and not content.unreadable:
                empty.append(match)
                found.append(match)
            found += content.files + content.unreadable
    if unlisted and len(unlisted) == len(found):
        raise unlisted[0]
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
