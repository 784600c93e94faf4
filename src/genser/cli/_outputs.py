"""Where results go: standard output, a file, or a folder with one file per recording; checked before work starts."""

import errno
import os
import sys
import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import BinaryIO

from genser.audio import describe
from genser.errors import ConfigError
from genser.files import WRITABLE, atomic_file
from genser.output.formats import Format, Kind, find_format
from genser.segments.segment import Timeline
from genser.storage import StoredFile, ending_of, is_url, local_name


@contextmanager
def open_output(path: Path | StoredFile | None) -> Iterator[BinaryIO]:
    """Open an output for writing: standard output, or a file that appears once it is complete.

    Raises:
        ConfigError: The output cannot be written, such as on a full disk.
    """
    if isinstance(path, StoredFile):
        with path.open() as file:
            yield file
        return
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(path) as file:
                yield file
            return
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        if path is None:
            close_stdout()
        name = "Standard output" if path is None else path
        reason = "it is closed" if path is None and error.errno == errno.EBADF else error.strerror or error
        raise ConfigError(f"{name} cannot be written: {reason}. Choose another output.") from error


def close_stdout() -> None:
    """Send what Python still holds for standard output to nowhere, so that its exit does not fail."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return  # standard output is no file of the system, so nothing is written at exit


def output_path(option: str | None) -> Path | StoredFile | None:
    """The path or URL that ``-o`` names; None for standard output ("-").

    Raises:
        ConfigError: An option follows ``-o``, or a folder on other storage.
    """
    if option in (None, "-"):
        return None
    if option.startswith("-"):
        raise ConfigError(f"-o is followed by the option {option!r}. Name a file; a file of that name is './{option}'.")
    if not is_url(local_name(option)):
        return Path(local_name(option))
    if not ending_of(option):
        raise ConfigError(
            f"-o {option} is a folder, but other storage gets one file. Name one, such as out.csv in it, or add "
            "--engine for Parquet shards."
        )
    return StoredFile(option)


def is_folder(option: str) -> bool:
    """Whether a name is a folder: an existing one, or a new one with a final separator or without an ending."""
    if os.path.exists(option):  # noqa: PTH110
        return os.path.isdir(option)  # noqa: PTH112
    return option.endswith(("/", os.sep)) or not Path(option).suffix


def check_file(path: Path | StoredFile, inputs: Sequence[str] = ()) -> None:
    """Refuse a file for results that is a folder or one of the inputs, or that cannot be created.

    Raises:
        ConfigError: The file cannot be used; the message names the cause.
    """
    if isinstance(path, StoredFile):
        if path.url in inputs:
            raise ConfigError(f"-o names the input {path}, which would be overwritten. Choose another output.")
        path.check()
        return
    _check_files([path], inputs)
    if not path.exists() or path.is_file():  # else a device or a FIFO
        _check_parents(path, Path(os.path.realpath(path)).parent)


def _check_files(paths: Iterable[Path], inputs: Sequence[str]) -> None:
    """Refuse files for results that are folders or inputs, in time that grows with the number of both, not its square.

    Raises:
        ConfigError: A file cannot be used.
    """
    taken: dict[tuple[int, int], str] | None = None
    for path in paths:
        if path.is_dir():
            raise ConfigError(f"{path} is a folder. Name a file with -o.")
        if not path.is_file():
            continue
        if not path.stat().st_mode & WRITABLE or not os.access(path, os.W_OK):
            raise ConfigError(f"{path} is read-only. Allow writing to it, or choose another output.")
        if taken is None:
            found = [(os.stat(name), name) for name in inputs if name != "-" and os.path.isfile(name)]  # noqa: PTH113, PTH116
            taken = {(about.st_dev, about.st_ino): name for about, name in found}
        about = path.stat()
        if (about.st_dev, about.st_ino) in taken:
            name = taken[about.st_dev, about.st_ino]
            raise ConfigError(f"-o names the input {name}, which would be overwritten. Choose another output.")


def check_folder(path: Path) -> None:
    """Refuse a folder for results that is a file, or that cannot be created or written to.

    Raises:
        ConfigError: The folder cannot be used; the message names the cause.
    """
    _check_parents(path, Path(os.path.realpath(path)))


def _check_parents(path: Path, folder: Path) -> None:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        reason = "is not a folder" if not existing.is_dir() else "may not be written to"
        raise ConfigError(f"{path} cannot be written: {existing} {reason}. Choose another output.")


def file_names(recordings: Sequence[str], ending: str) -> list[str]:
    """Distinct names of files for recordings, such as ``talk.srt`` for ``calls/talk.wav``.

    If two recordings would share a name, all names keep the ending of the recording (``talk.wav.srt``); if they still
    would, the folders come first (``calls_talk.wav.srt``), and a name that is taken gets a number, as in
    ``calls_talk.wav (2).srt``. Upper and lower case do not make a difference, as not all file systems tell them apart.
    """
    paths = [Path("recording" if name == "-" else name) for name in recordings]
    parts = [Path(os.path.abspath(path)).parts for path in paths]  # noqa: PTH100
    folders = zip(*(one[:-1] for one in parts), strict=False)
    shared = len(list(takewhile(lambda names: len(set(names)) == 1, folders)))
    full = ["_".join(one[shared:]) for one in parts]
    for names in ([path.stem for path in paths], [path.name for path in paths], full):
        if len(set(map(_spelling, names))) == len(names):
            return [f"{name}{ending}" for name in names]
    taken = set(map(_spelling, full))
    used: set[str] = set()
    for place, name in enumerate(full):
        numbered = (f"{name} ({number})" for number in count(2))
        if _spelling(name) in used:
            full[place] = next(other for other in numbered if _spelling(other) not in taken)
        used.add(_spelling(full[place]))
        taken |= used
    return [f"{name}{ending}" for name in full]


def _spelling(name: str) -> str:
    """What is equal for names that a file system may hold to be one."""
    return unicodedata.normalize("NFC", name).casefold()


@dataclass(frozen=True)
class TimelineOutput:
    """Where timelines are written.

    Attributes:
        kind: Whether they are written themselves, or their summaries.
        format: How they are written.
        path: File or folder; None is standard output.
        names: Name of a recording → name of its file in the folder; None if the path is a file.
    """

    kind: Kind
    format: Format
    path: Path | StoredFile | None
    names: Mapping[str, str] | None = None

    def write(self, timelines: Iterable[Timeline], labels: Sequence[str]) -> None:
        """Write all timelines, each as soon as it comes."""
        if self.names is None and (self.path is None or self.format.holds_many):
            with open_output(self.path) as file:
                self.format.write(self.kind, timelines, file, labels)
        else:
            deque(self.pass_on(timelines, labels), maxlen=0)

    def pass_on(self, timelines: Iterable[Timeline], labels: Sequence[str]) -> Iterator[Timeline]:
        """Write a file for each timeline and yield the timeline.

        For a recording that failed, a file of the folder holds the row with the reason, if its format has rows.
        """
        has_rows = self.names is not None and self.format.predictions is not None
        for timeline in timelines:
            if timeline.error is None or has_rows:
                path = self.path
                if isinstance(path, Path) and self.names is not None:
                    path /= self.names[timeline.path]
                with open_output(path) as file:
                    self.format.write(self.kind, [timeline], file, labels)
            yield timeline


def timeline_output(
    option: str | None, format: str | None, recordings: Sequence[str], kind: Kind = "timelines"
) -> TimelineOutput:
    """Choose where and how timelines are written, and check it.

    Args:
        option: Value of ``-o`` or ``--picture``.
        format: Name of the format, if given.
        recordings: The inputs.
        kind: Timelines or summaries.

    Raises:
        ConfigError: The output cannot hold them, or cannot be written.
    """
    path = output_path(option)
    if option is not None and isinstance(path, Path) and is_folder(option):
        chosen = find_format(kind, path / "recording.csv", format, "csv")
        names = file_names(recordings, chosen.endings[0])
        check_folder(path)
        _check_files((path / name for name in names), recordings)
        return TimelineOutput(kind, chosen, path, dict(zip(map(describe, recordings), names, strict=True)))
    chosen = find_format(kind, path, format, "text" if sys.stdout.isatty() else "csv")
    if len(recordings) > 1 and not chosen.holds_many:
        raise ConfigError(
            f"A file in the format {chosen.name} holds one recording, got {len(recordings)}. Name a folder, or choose "
            "the format csv."
        )
    if path is not None:
        check_file(path, recordings)
    return TimelineOutput(kind, chosen, path)
