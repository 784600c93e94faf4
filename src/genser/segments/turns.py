"""Turns of speakers from a file: RTTM as diarisation writes it, CSV, SRT or WebVTT."""

import csv
import os
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from genser.errors import ManifestError

TIME = re.compile(r"(?:(\d+):)?(\d+):(\d+)[.,](\d+)")
VOICE = re.compile(r"<v(?:\.\S+)?\s+([^>]+)>")
LONGEST_FILE = 256 << 20  # bytes


@dataclass(frozen=True)
class Turn:
    """Somebody speaks.

    Attributes:
        start: In seconds.
        end: In seconds.
        speaker: Name, None where the file has none.
    """

    start: float
    end: float
    speaker: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end < 1e7:
            raise ManifestError(f"a turn from {self.start} s to {self.end} s is empty, negative or endless")


def read_turns(path: str | os.PathLike, recording: str | None = None) -> list[Turn]:
    """Read turns, in order of their start; the ending of the name says how.

    Args:
        path: ``.rttm``, ``.csv``/``.tsv`` (columns start, end and if present speaker), ``.srt`` or ``.vtt``.
        recording: Name of the recording without its ending. An RTTM of several recordings is reduced to this one.

    Raises:
        ManifestError: Missing, of an unknown kind, without turns, or with faulty lines; all are named together.
    """
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ManifestError(f"{path}: turns are read from {', '.join(READERS)}. Convert the file or rename it.")
    lines = _lines(path)
    problems: list[str] = []
    turns = reader(_of_recording(lines, recording) if reader is _rttm else lines, problems)
    if problems:
        shown = "\n".join(problems[:20]) + (f"\n… and {len(problems) - 20} more" if len(problems) > 20 else "")
        raise ManifestError(f"{path} has {len(problems)} faulty lines. Correct them:\n{shown}")
    if not turns:
        raise ManifestError(f"{path} holds no turns{f' of {recording}' if recording else ''}. Check the file.")
    return sorted(turns, key=lambda turn: (turn.start, turn.end))


def _lines(path: Path) -> list[str]:
    try:
        if path.stat().st_size > LONGEST_FILE:
            raise ManifestError(f"{path} is larger than {LONGEST_FILE} bytes, which no list of turns is.")
        return path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror}. Check the path.") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path} is not UTF-8 text: {error.reason}. Save it as UTF-8.") from error


def _turn(number: int, start: str, end: str, speaker: str | None, problems: list[str]) -> list[Turn]:
    try:
        return [Turn(float(start), float(end), speaker or None)]
    except (TypeError, ValueError):
        problems.append(f"line {number}: {start!r} and {end!r} are not times in seconds")
    except ManifestError as error:
        problems.append(f"line {number}: {error}")
    return []


def _of_recording(lines: list[str], recording: str | None) -> list[str]:
    """Blank the RTTM lines of other recordings, where there are several."""
    named = [line.split()[1:2] for line in lines]
    if len({name[0] for name in named if name}) < 2:
        return lines
    return [line if name == [recording] else "" for name, line in zip(named, lines, strict=True)]


def _rttm(lines: list[str], problems: list[str]) -> list[Turn]:
    turns: list[Turn] = []
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if fields[:1] != ["SPEAKER"]:
            continue
        if len(fields) < 8:
            problems.append(f"line {number}: {len(fields)} fields, an RTTM line has at least 8")
            continue
        try:
            end = repr(float(fields[3]) + float(fields[4]))
        except ValueError:
            end = fields[4]
        turns += _turn(number, fields[3], end, None if fields[7] == "<NA>" else fields[7], problems)
    return turns


def _table(lines: list[str], problems: list[str], delimiter: str = ",") -> list[Turn]:
    rows = csv.DictReader(lines, delimiter=delimiter)
    if not {"start", "end"} <= set(rows.fieldnames or ()):
        problems.append(f"line 1: columns {', '.join(rows.fieldnames or ()) or 'none'}; start and end are needed")
        return []
    turns: list[Turn] = []
    for row in rows:
        turns += _turn(rows.line_num, row["start"], row["end"], row.get("speaker"), problems)
    return turns


def _captions(lines: list[str], problems: list[str]) -> list[Turn]:
    turns: list[Turn] = []
    for number, line in enumerate(lines, 1):
        if "-->" not in line:
            continue
        times = [_seconds(part) for part in line.split("-->")[:2]]
        if None in times:
            problems.append(f"line {number}: {line.strip()!r} is no pair of times as 00:01:02,500 --> 00:01:04,000")
            continue
        voice = VOICE.match(lines[number].strip()) if number < len(lines) else None
        turns += _turn(number, repr(times[0]), repr(times[1]), voice and voice[1].strip(), problems)
    return turns


def _seconds(text: str) -> float | None:
    match = TIME.match(text.strip())
    if not match:
        return None
    hours, minutes, seconds, fraction = match.groups()
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{fraction}")


READERS = {
    ".rttm": _rttm,
    ".csv": _table,
    ".tsv": partial(_table, delimiter="\t"),
    ".srt": _captions,
    ".vtt": _captions,
}
