"""From what is named on a command line to the sounds in it, in an order that repeats."""

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from genser.errors import ConfigError

SOUND_ENDINGS = (
    *(".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".aiff", ".aif", ".aifc", ".au", ".snd"),
    *(".caf", ".w64", ".rf64", ".sph"),
    *(".m4a", ".m4b", ".mp4", ".aac", ".webm", ".mkv", ".mka", ".mov", ".avi", ".amr", ".3gp", ".wma", ".asf"),
    *(".flv", ".wv"),  # from .m4a on through PyAV
)


def find_inputs(paths: Iterable[str]) -> list[str]:
    """Name every input: files as they are, the sounds of folders, what patterns match, "-" for standard input.

    Folders are searched to any depth for endings of sound files, hidden ones left out, in order of their names. A name
    that is nothing of this stays: it is an input, and will fail as one.

    Raises:
        ConfigError: Nothing is named, or a folder holds no sound.
    """
    found = [inside for path in paths for inside in _inside(path)]
    if not found:
        raise ConfigError("No input is named. Name files, folders or patterns, or '-' for standard input.")
    return found


def _inside(path: str) -> Iterator[str]:
    if path == "-" or os.path.isfile(path):  # noqa: PTH113
        yield path
    elif os.path.isdir(path):  # noqa: PTH112
        yield from _in_folder(path)
    elif matches := _matches(path):
        for match in matches:
            yield from _in_folder(match) if Path(match).is_dir() else (match,)
    else:
        yield path


def _matches(pattern: str) -> list[str]:
    return sorted(glob.glob(pattern, recursive=True)) if glob.has_magic(pattern) else []  # noqa: PTH207


def _in_folder(folder: str) -> Iterator[str]:
    found = False
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (os.path.join(root, name) for name in sorted(files) if _is_sound(name)):  # noqa: PTH118
            if not _is_special(path):
                found = True
                yield path
    if not found:
        raise ConfigError(
            f"The folder {folder} holds no sound ({', '.join(SOUND_ENDINGS[:7])}, …). Check the path, or name "
            "the files themselves."
        )


def _is_sound(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SOUND_ENDINGS  # noqa: PTH122


def _is_special(path: str) -> bool:
    """Whether it is a pipe, socket or device, which could be waited for without end."""
    return os.path.exists(path) and not os.path.isfile(path)  # noqa: PTH110, PTH113
