"""Speaker turns of recordings, read from a file of any format in ``turn_formats.py``."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from genser.data.times import seconds
from genser.errors import ManifestError, counted
from genser.segments.recording_names import exactness, names_of, plain
from genser.segments.turn_formats import TURN_FORMATS, FoundTurn

LONGEST_FILE = 256 << 20  # bytes
SHOWN_PROBLEMS = 20


@dataclass(frozen=True)
class Turn:
    """A stretch of a recording in which one person speaks.

    Attributes:
        start: In seconds.
        end: In seconds.
        speaker: Name; None if the file has none.
        channel: Number of the channel from 1; None if the file has none.
    """

    start: float
    end: float
    speaker: str | None = None
    channel: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end < 1e7:
            raise ManifestError(f"A turn from {self.start} s to {self.end} s is empty, negative or endless.")


@dataclass(frozen=True)
class TurnFile:
    """Turns of one or more recordings.

    Attributes:
        path: The file that was read.
        turns: Name of the recording, None if the file names none, and turn.
        problems: A sentence for each turn that cannot be used, with its place in the file.
    """

    path: Path
    turns: Sequence[tuple[str | None, Turn]]
    problems: tuple[str, ...] = ()

    @property
    def recordings(self) -> list[str]:
        """Names of the recordings that the file names."""
        return list(dict.fromkeys(name for name, _ in self.turns if name is not None))

    def of(self, recording: str | None = None) -> list[Turn]:
        """Turns of one recording in the order of their start.

        A recording is found by the longest end of its path that the file names, such as ``b/talk.wav``; else by its
        file name, else by its name without the ending. White space and ``_`` are equal, as RTTM cannot hold spaces.
        Turns that name no recording belong to any.

        Args:
            recording: Path or name of the recording; None is allowed if the file holds turns of one recording.

        Raises:
            ManifestError: The file holds no turns of this recording, or of several if none is named.
        """
        names = self.recordings
        if recording is None and len(names) > 1:
            raise ManifestError(
                f"{self.path} holds turns of {len(names)} recordings: {_listed(names)}. Name the recording."
            )
        chosen = set(names)
        if recording is not None:
            answered = names_of(recording)
            exact = {name: place for name in names if (place := exactness(name, answered)) is not None}
            found = {name for name, place in exact.items() if place == max(exact.values())}
            matches = ({name for name in names if form(name) == form(recording)} for form in _NAME_FORMS)
            chosen = found or next(filter(None, matches), set())
        turns = [turn for name, turn in self.turns if name is None or name in chosen]
        if not turns:
            raise ManifestError(f"{self.path} holds no turns of {recording}, but of {_listed(names)}.")
        return sorted(turns, key=lambda turn: (turn.start, turn.end))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN_PROBLEMS]) + (", …" if len(names) > SHOWN_PROBLEMS else "")


_NAME_FORMS: tuple[Callable[[str], str], ...] = (
    lambda name: plain(Path(name).name),
    lambda name: plain(Path(name).stem),
)


def read_turns(path: str | os.PathLike, recording: str | None = None) -> list[Turn]:
    """Read the turns of one recording, in the order of their start.

    Args:
        path: See :func:`read_turn_file`.
        recording: See :meth:`TurnFile.of`.

    Raises:
        ManifestError: As :func:`read_turn_file` and :meth:`TurnFile.of`, or some turns cannot be used.
    """
    found = read_turn_file(path)
    if found.problems:
        raise _faulty(path, found.problems)
    return found.of(recording)


def read_turn_file(path: str | os.PathLike) -> TurnFile:
    """Read all turns in a file; the ending of its name decides how.

    Args:
        path: ``.rttm``; ``.csv``, ``.tsv``, ``.json``, ``.jsonl``, ``.ndjson``, ``.parquet`` or ``.pq`` (columns start
            and end or duration, optionally speaker and path); ``.json`` of whisper, whisperX or whisper.cpp; ``.srt``;
            ``.vtt``; ``.TextGrid``; ``.txt`` (label track of Audacity); or ``.eaf`` (ELAN).

    Raises:
        ManifestError: The file is missing, of an unknown kind, not of the format of its ending, or holds no good turn.
    """
    path = Path(path)
    reader = TURN_FORMATS.get(path.suffix.lower())
    if reader is None:
        raise ManifestError(f"{path}: Turns are read from {', '.join(TURN_FORMATS)}. Convert or rename the file.")
    turns: list[tuple[str | None, Turn]] = []
    problems: list[str] = []
    if path.is_file() and path.stat().st_size > LONGEST_FILE:
        raise ManifestError(f"{path} is larger than {LONGEST_FILE} bytes, too large for a list of turns. Split it.")
    for found in reader(path):
        try:
            turns.append((found.recording, _turn(found)))
        except ManifestError as error:
            problems.append(f"{found.place}: {error}")
    if problems and not turns:
        raise _faulty(path, problems)
    if not turns:
        raise ManifestError(f"{path} holds no turns. Check the file.")
    return TurnFile(path, list(dict.fromkeys(turns)), tuple(problems))  # one that is listed twice counts once


def _faulty(path: str | os.PathLike, problems: Sequence[str]) -> ManifestError:
    more = f"\n… and {len(problems) - SHOWN_PROBLEMS} more" if len(problems) > SHOWN_PROBLEMS else ""
    shown = "\n".join(problems[:SHOWN_PROBLEMS]) + more
    return ManifestError(f"{path} has {counted(len(problems), 'faulty turn')}. Correct the file:\n{shown}")


def _turn(found: FoundTurn) -> Turn:
    if found.problem is not None:
        raise ManifestError(found.problem)
    times = [seconds(value, decimal_comma=True) for value in (found.start, found.end, found.duration)]
    start, end, duration = (None if value is None else value * found.unit for value in times)
    if start is not None and duration is not None:
        end = start + duration
    if start is None or end is None:
        raise ManifestError(f"The {'start' if start is None else 'end'} is missing.")
    return Turn(start + found.shift, end + found.shift, found.speaker or None, found.channel)
