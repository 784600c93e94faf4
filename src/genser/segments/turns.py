"""Reads speaker turns from a file: RTTM as diarisation tools write it, CSV, TSV, SRT or WebVTT."""

import csv
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from genser.errors import ManifestError

TIME = re.compile(r"(?:(\d+):)?(\d+):(\d+)[.,](\d+)")
VOICE = re.compile(r"<v(?:\.\S+)?\s+([^>]+)>")
LONGEST_FILE = 256 << 20  # bytes
SHOWN_PROBLEMS = 20


@dataclass(frozen=True)
class Turn:
    """A stretch of a recording in which one person speaks.

    Attributes:
        start: In seconds.
        end: In seconds.
        speaker: Name; None if the file has none.
    """

    start: float
    end: float
    speaker: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end < 1e7:
            raise ManifestError(f"A turn from {self.start} s to {self.end} s is empty, negative or endless.")


@dataclass(frozen=True)
class TurnFile:
    """Turns of one or more recordings.

    Attributes:
        path: The file that was read.
        turns: Name of the recording, None if the file names none, and turn.
    """

    path: Path
    turns: Sequence[tuple[str | None, Turn]]

    def of(self, recording: str | None = None) -> list[Turn]:
        """Turns of one recording in the order of their start.

        A recording is found by its path, else by its file name, else by its name without the ending. White space and
        ``_`` are equal, as RTTM cannot hold spaces. Turns that name no recording belong to any.

        Args:
            recording: Path or name of the recording; None is allowed if the file holds turns of one recording.

        Raises:
            ManifestError: The file holds no turns of this recording, or of several if none is named.
        """
        names = list(dict.fromkeys(name for name, _ in self.turns if name is not None))
        if recording is None and len(names) > 1:
            raise ManifestError(
                f"{self.path} holds turns of {len(names)} recordings: {_listed(names)}. Name the recording."
            )
        chosen = set(names)
        if recording is not None:
            matches = ({name for name in names if form(name) == form(recording)} for form in _NAME_FORMS)
            chosen = next(filter(None, matches), set())
        turns = [turn for name, turn in self.turns if name is None or name in chosen]
        if not turns:
            raise ManifestError(f"{self.path} holds no turns of {recording}, but of {_listed(names)}.")
        return sorted(turns, key=lambda turn: (turn.start, turn.end))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN_PROBLEMS]) + (", …" if len(names) > SHOWN_PROBLEMS else "")


def _plain(name: str) -> str:
    return "_".join(unicodedata.normalize("NFC", name).split())


_NAME_FORMS: tuple[Callable[[str], str], ...] = (
    lambda name: _plain(os.path.normpath(name)),
    lambda name: _plain(Path(name).name),
    lambda name: _plain(Path(name).stem),
)


def read_turns(path: str | os.PathLike, recording: str | None = None) -> list[Turn]:
    """Read the turns of one recording, in the order of their start.

    Args:
        path: See :func:`read_turn_file`.
        recording: See :meth:`TurnFile.of`.

    Raises:
        ManifestError: As :func:`read_turn_file` and :meth:`TurnFile.of`.
    """
    return read_turn_file(path).of(recording)


def read_turn_file(path: str | os.PathLike) -> TurnFile:
    """Read all turns in a file; the ending of its name decides how.

    Args:
        path: ``.rttm``, ``.csv`` or ``.tsv`` (columns start and end, optionally speaker and path), ``.srt`` or
            ``.vtt``.

    Raises:
        ManifestError: The file is missing, of an unknown kind, holds no turns, or has faulty lines, which are listed.
    """
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ManifestError(f"{path}: Turns are read from {', '.join(READERS)}. Convert or rename the file.")
    turns: list[tuple[str | None, Turn]] = []
    problems: list[str] = []
    try:
        rows = list(reader(_lines(path)))
    except csv.Error as error:
        raise ManifestError(f"{path} is not a table: {error}. Save it as CSV.") from error
    for number, recording, start, end, speaker in rows:
        try:
            turns.append((recording, Turn(float(start), float(end), speaker or None)))
        except (TypeError, ValueError):
            problems.append(f"line {number}: {start!r} and {end!r} are not times")
        except ManifestError as error:
            problems.append(f"line {number}: {error}")
    if problems:
        more = f"\n… and {len(problems) - SHOWN_PROBLEMS} more" if len(problems) > SHOWN_PROBLEMS else ""
        shown = "\n".join(problems[:SHOWN_PROBLEMS]) + more
        raise ManifestError(f"{path} has {len(problems)} faulty lines. Correct them:\n{shown}")
    if not turns:
        raise ManifestError(f"{path} holds no turns. Check the file.")
    return TurnFile(path, turns)


def _lines(path: Path) -> list[str]:
    try:
        if path.stat().st_size > LONGEST_FILE:
            raise ManifestError(f"{path} is larger than {LONGEST_FILE} bytes, too large for a list of turns.")
        return path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror}. Check the path.") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path} is not UTF-8 text: {error.reason}. Save it as UTF-8.") from error


Fields = tuple[int, str | None, Any, Any, str | None]
"""Number of a line, name of the recording, start, end, speaker; start and end are not checked yet."""


def _rttm(lines: list[str]) -> Iterator[Fields]:
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if fields[:1] != ["SPEAKER"]:
            continue
        _, recording, _, start, duration, _, _, speaker = (*fields[:8], *[""] * (8 - len(fields)))
        try:
            end = float(start) + float(duration)
        except ValueError:
            end = duration
        recording, speaker = ("" if name == "<NA>" else name for name in (recording, speaker))
        yield number, recording or None, start, end, speaker


def _table(lines: list[str], delimiter: str = ",") -> Iterator[Fields]:
    rows = csv.DictReader(lines, delimiter=delimiter)
    if not {"start", "end"} <= set(rows.fieldnames or ()):
        columns = ", ".join(rows.fieldnames or ()) or "none"
        raise csv.Error(f"the columns start and end are missing, there are {columns}")
    for row in rows:
        if row["start"] or row["end"]:  # a failed recording has a row without times in genser's own tables
            yield rows.line_num, row.get("path") or None, row["start"], row["end"], row.get("speaker")


def _captions(lines: list[str]) -> Iterator[Fields]:
    for number, line in enumerate(lines, 1):
        if "-->" not in line:
            continue
        start, end = (_seconds(part) for part in line.split("-->")[:2])
        if start is None or end is None:
            yield number, None, line.strip(), None, None
            continue
        voice = VOICE.match(lines[number].strip()) if number < len(lines) else None
        yield number, None, start, end, voice[1].strip() if voice else None


def _seconds(text: str) -> float | None:
    """A time such as 00:01:02,500 in seconds; None if the text is none."""
    match = TIME.match(text.strip())
    if not match:
        return None
    hours, minutes, seconds, fraction = match.groups()
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{fraction}")


READERS: dict[str, Callable[[list[str]], Iterator[Fields]]] = {
    ".rttm": _rttm,
    ".csv": _table,
    ".tsv": partial(_table, delimiter="\t"),
    ".srt": _captions,
    ".vtt": _captions,
}
