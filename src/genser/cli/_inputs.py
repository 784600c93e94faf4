"""Finds the audio files that the arguments of a command name, in an order that repeats."""

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from genser.audio.endings import AUDIO_ENDINGS
from genser.errors import ConfigError


def find_inputs(paths: Iterable[str]) -> list[str]:
    """List every input: files as given, audio files in folders, matches of patterns, "-" for standard input.

    Folders are searched to any depth for the endings of audio files, without hidden files, in the order of the names. A
    name that matches nothing stays in the list, and fails when it is read.

    Raises:
        ConfigError: No input is given, or a folder holds no audio files.
    """
    inputs: list[str] = []
    for path in paths:
        if path == "-" or os.path.isfile(path):  # noqa: PTH113
            inputs.append(path)
        elif os.path.isdir(path):  # noqa: PTH112
            inputs += _in_folder(path)
        elif glob.has_magic(path) and (matches := sorted(glob.glob(path, recursive=True))):  # noqa: PTH207
            for match in matches:
                inputs += _in_folder(match) if Path(match).is_dir() else (match,)
        else:
            inputs.append(path)
    if not inputs:
        raise ConfigError("No input is given. Name files, folders or patterns, or '-' for standard input.")
    return inputs


def _in_folder(folder: str) -> Iterator[str]:
    is_empty = True
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = os.path.join(root, name)  # noqa: PTH118
            if name.startswith(".") or Path(name).suffix.lower() not in AUDIO_ENDINGS:
                continue
            # A FIFO or a device could block without end. A broken link is kept, so that it is reported.
            if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113
                continue
            is_empty = False
            yield path
    if is_empty:
        raise ConfigError(
            f"The folder {folder} holds no audio files (.wav, .flac, .mp3, …). Check the path, or name the files "
            "themselves."
        )
