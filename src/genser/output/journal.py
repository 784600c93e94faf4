"""Keeps the results of a run beside its output, one line per input, so that a run that was stopped can be resumed.

A journal ``calls.csv.part`` is a file of JSON lines. The first line says what was run: the model, and the options that
decide the results. Each further line holds the results of one input, in the order in which they were found. The output
``calls.csv`` is written from the journal in one step when all inputs are done, and the journal is then removed. If
inputs failed it stays, marked as complete, so that they can be tried again.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from genser.errors import ConfigError, counted
from genser.files import open_locked

FORMAT = 1
BEGINNING = b'{"genser_journal"'


@dataclass(frozen=True)
class _Place:
    """Where the line of an input begins, whether the input failed, and the size and time of change of its file."""

    start: int
    failed: bool
    stamp: list[int] | None


class Journal:
    """The results of a run so far; opened by :func:`open_journal`.

    Args:
        path: The file.
        file: The file, opened and locked.

    Raises:
        ConfigError: The file is not a journal.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self._file = path, file
        self.about: dict[str, Any] | None = None  # what was run; None if the file is empty
        self.is_complete = False  # whether the output was written
        self._places: dict[str, _Place] = {}
        self._read()

    def __len__(self) -> int:
        return len(self._places)

    def start(self, about: Mapping[str, Any]) -> None:
        """Start anew, without earlier results."""
        self._places.clear()
        self._file.truncate(0)
        self._append({"genser_journal": FORMAT, "run": about})

    def pending(self, inputs: Iterable[str], is_kept: Callable[[str], bool] = lambda _: True) -> list[str]:
        """Inputs without a result, each once: new ones, failed ones, and files that have changed since.

        Args:
            inputs: All inputs; standard input ("-") is always pending.
            is_kept: Whether what was written for an input is still there.
        """

        def is_done(name: str) -> bool:
            place = self._places.get(name)
            return place is not None and not place.failed and place.stamp == _stamp(name) and is_kept(name)

        return [name for name in dict.fromkeys(inputs) if name == "-" or not is_done(name)]

    def add(self, name: str, results: Sequence[Mapping[str, Any]], *, failed: bool) -> None:
        """Keep the results of an input, as JSON values.

        Raises:
            ConfigError: The journal cannot be written, such as on a full disk.
        """
        stamp = _stamp(name)
        start = self._append({"input": name, "failed": failed, "stamp": stamp, "results": results})
        self._places[name] = _Place(start, failed, stamp)

    def results(self, inputs: Iterable[str]) -> Iterator[dict[str, Any]]:
        """The results of inputs, in the order of the inputs."""
        with self.path.open("rb") as file:
            for name in inputs:
                file.seek(self._places[name].start)
                yield from json.loads(file.readline())["results"]

    def finish(self, *, failed: bool) -> None:
        """Remove the journal, as the output is complete; if inputs failed, keep it and mark it."""
        if failed:
            self._append({"complete": True})
        else:
            self.path.unlink()

    def _read(self) -> None:
        """Read all lines, and cut off a last line that is not complete."""
        start = 0
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    if start == 0 and not line.startswith(BEGINNING):
                        raise self._foreign()
                    break
                self._take(line, start)
                start += len(line)
        self._file.truncate(start)

    def _take(self, line: bytes, start: int) -> None:
        try:
            row = json.loads(line)
            if start == 0:
                self.about = {**row["run"]} if row["genser_journal"] == FORMAT else None
            elif "input" in row:
                self._places[row["input"]] = _Place(start, row["failed"], row["stamp"])
            self.is_complete = "complete" in row
        except (ValueError, KeyError, TypeError):
            pass  # damaged by a crash of the system: this input is recognised again
        if self.about is None:
            raise self._foreign()

    def _foreign(self) -> ConfigError:
        return ConfigError(f"{self.path} is no journal of this version of genser. Move it, or choose another output.")

    def _append(self, row: dict[str, Any]) -> int:
        """Write a line, and return where it begins. Characters that are not ASCII are escaped."""
        handle = self._file.fileno()
        start = os.lseek(handle, 0, os.SEEK_END)
        rest = memoryview(json.dumps(row).encode("ascii") + b"\n")
        try:
            while rest:
                rest = rest[os.write(handle, rest) :]
        except OSError as error:
            os.ftruncate(handle, start)
            raise ConfigError(f"{self.path} cannot be written: {error.strerror}. Make room on the disk.") from error
        return start


def open_alone(path: Path) -> BinaryIO:
    """Open and lock the file that keeps other runs from the same output.

    Raises:
        ConfigError: Another run writes this output, or the file cannot be written.
    """
    try:
        return open_locked(path)
    except BlockingIOError as error:
        raise ConfigError(
            f"Another run is writing {path}. Wait until it has finished, or choose another output."
        ) from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}. Choose another output.") from error


@contextmanager
def open_journal(
    path: Path, about: Mapping[str, Any], *, resume: bool, report: Callable[[str], None]
) -> Iterator[Journal]:
    """Open a journal, and lock it against other runs.

    Args:
        path: The journal.
        about: What is run: everything that decides the results, by option.
        resume: Whether to continue a run that was stopped.
        report: Called with a sentence if nothing can be continued, or if the run ends before its output is complete.

    Raises:
        ConfigError: Another run writes this output, or ``resume`` or ``about`` do not fit an earlier run.
    """
    with open_alone(path) as file:
        journal = Journal(path, file)
        if resume and journal.about is None:
            report("No run was stopped, so all inputs are recognised.")
        about = json.loads(json.dumps(about))
        is_continued = _is_continued(journal, about, resume)
        try:
            if not is_continued:
                journal.start(about)
            yield journal
            if path.exists():
                report(f"As some inputs failed, {path} is kept. To try them again, add --resume to the same command.")
        except BaseException:
            if len(journal):
                report(f"{counted(len(journal), 'result is', 'results are')} kept in {path}. Continue with --resume.")
            else:
                path.unlink(missing_ok=True)
            raise


def _is_continued(journal: Journal, about: Mapping[str, Any], resume: bool) -> bool:
    """Whether to continue the run of a journal; a new run must not lose its results."""
    if not len(journal) or (journal.is_complete and not resume):
        return False
    if not resume:
        raise ConfigError(
            f"{journal.path} holds {counted(len(journal), 'result')} of a run that was stopped. Continue it with "
            "--resume, or delete this file to start anew."
        )
    earlier = journal.about or {}
    if changed := [name for name in {**earlier, **about} if earlier.get(name) != about.get(name)]:
        changes = "; ".join(
            f"then {_option(name, earlier.get(name))}, now {_option(name, about.get(name))}" for name in changed
        )
        raise ConfigError(
            f"{journal.path} is of a run with other options: {changes}. Give the same options and the same model, or "
            "delete this file to start anew."
        )
    return True


def _option(name: str, value: Any) -> str:
    """An option with its value, as a user gives it."""
    if value in (None, False):
        return f"without {name}"
    return f"with {name}" if value is True else f"{name} {value}"


def _stamp(name: str) -> list[int] | None:
    """Size and time of change of a file, which say whether it is still the same; None if there is none."""
    try:
        about = os.stat(name)  # noqa: PTH116
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return None
    return [about.st_size, about.st_mtime_ns]
