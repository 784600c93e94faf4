"""Turns in the files of annotation tools, diarisation and speech recognition."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from html import unescape
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

from genser.data.columns import Column, find_columns, known_names
from genser.data.labels import NO_SPEECH, is_emotion
from genser.data.tables import Table, read_table
from genser.data.text import decode_text, lines_of
from genser.errors import ManifestError

ARROW = re.compile(r"(.*?)-->\s*(\S+)")
VOICE = re.compile(r"<v(?:\.\S+)?\s+([^>]+)>|\[([^\]]+)\]:\s")
"""Who speaks in a caption: ``<v anna>`` in WebVTT, ``[SPEAKER_00]:`` in what whisperX writes."""

PRAAT = re.compile(r'"((?:[^"]|"")*)"|(?<!\S)(-?[\d.]+(?:[eE][-+]?\d+)?)(?!\S)|(?<!\S)<(\w+)>|![^\n\r]*')
"""What Praat reads of a text file: quoted texts, numbers between white space, and flags; the rest is comment."""

NAMES = ("speaker", "path")
"""Columns of names in a table of turns."""

SPEAKER_TIERS = ("speaker", "speakers", "diarization", "diarisation")
"""Names of tiers whose texts are the speakers."""

PLAIN_TIERS = (
    "emotion",
    "emotions",
    "label",
    "labels",
    "text",
    "transcript",
    "transcription",
    "words",
    "segments",
    "default",
)
"""Names of tiers that are no speakers."""


@dataclass(frozen=True)
class FoundTurn:
    """A turn as a file states it; nothing is checked yet.

    Attributes:
        place: Where it is in the file, such as ``line 3``.
        start: Start in any notation.
        end: End in any notation.
        speaker: Name, if known.
        channel: Number of the channel from 1, if known.
        recording: Name of the recording, if the file has it.
        duration: Instead of the end, in any notation.
        unit: Unit of start, end and duration in seconds.
        shift: Seconds to add to start and end, as they count from another time than the recording's begin.
        problem: Why the turn cannot be used, if it is known already.
    """

    place: str
    start: Any = None
    end: Any = None
    speaker: str | None = None
    recording: str | None = None
    duration: Any = None
    unit: float = 1.0
    problem: str | None = None
    channel: int | None = None
    shift: float = 0.0


def rttm_turns(path: Path) -> Iterator[FoundTurn]:
    """Turns of RTTM: the lines that begin with SPEAKER. A name that is also the subtype is an emotion, no speaker."""
    for number, line in enumerate(lines_of(decode_text(path)), 1):
        fields = line.split()
        if fields[:1] != ["SPEAKER"]:
            continue
        _, recording, channel, start, duration, _, subtype, speaker = (*fields[:8], *[""] * (8 - len(fields)))
        recording, speaker = ("" if name == "<NA>" else name for name in (recording, speaker))
        if speaker == subtype:
            speaker = ""  # an emotion without a speaker, as genser writes it
        yield FoundTurn(
            f"line {number}",
            start,
            duration=duration,
            speaker=speaker,
            recording=recording or None,
            channel=_channel(channel),
        )


def table_turns(path: Path) -> Iterator[FoundTurn]:
    """Turns of a table with the columns start and end or duration, and optionally speaker and path."""
    yield from _rows(read_table(path), path)


def _rows(table: Table, path: Path) -> Iterator[FoundTurn]:
    found = find_columns(table.columns)
    missing = [*({"start"} - set(found)), *({"end"} if not {"end", "duration"} & set(found) else ())]
    if missing:
        listed = ", ".join(table.columns) or "none"
        cures = " ".join(f"For the {name}: {known_names(name)}" for name in missing)
        raise ManifestError(f"{path}: The columns start and end (or duration) are needed; there are {listed}. {cures}")
    if "end" in found:
        found.pop("duration", None)  # that of the recording in genser's own tables, or a length in any unit
    columns = [found.get(name, Column("")) for name in ("start", "end", "duration")]
    # Whisper writes start, end and text in whole milliseconds, separated by tabs, without saying so.
    is_whisper = table.columns == ("start", "end", "text") and path.suffix.lower() == ".tsv"
    is_whisper = is_whisper and all(str(row[name]).isdecimal() for _, row in table.rows for name in ("start", "end"))
    yield from (FoundTurn(f"row {number}", problem=reason) for number, reason in table.problems)
    for number, row in table.rows:
        try:
            times = [column.seconds(row, decimal_comma=table.decimal_comma) for column in columns]
        except ManifestError as error:
            yield FoundTurn(f"row {number}", problem=str(error))
            continue
        speaker, recording = (_word(row.get(found[name].name)) if name in found else None for name in NAMES)
        label = _word(row.get(found["label"].name)) if "label" in found else None
        # genser's own tables have a row without times for a failed recording, and one for a recording without speech.
        if times[:2] != [None, None] and label != NO_SPEECH:
            problem = "The recording is not named." if "path" in found and recording is None else None
            unit = 1e-3 if is_whisper else 1.0
            channel = _channel(row.get("channel"))
            yield FoundTurn(f"row {number}", times[0], times[1], speaker, recording, times[2], unit, problem, channel)


def _channel(value: Any) -> int | None:
    """A number from 1, as text or as a number of any type; None for anything else."""
    text = str(value).strip().removesuffix(".0")
    return int(text) if text.isdecimal() and len(text) < 4 and int(text) > 0 else None


def _word(value: Any) -> str | None:
    return None if value is None or value != value else str(value).strip() or None


def caption_turns(path: Path) -> Iterator[FoundTurn]:
    """Turns of SubRip and WebVTT: one per caption."""
    lines = lines_of(decode_text(path))
    for number, line in enumerate(lines, 1):
        if (match := ARROW.match(line)) is None:
            continue
        voice = VOICE.match(lines[number].strip()) if number < len(lines) else None
        speaker = (unescape(voice[1] or "") or voice[2]).strip() if voice else None
        start, end = match[1].strip(), match[2]
        problem = None if ":" in start and ":" in end else f"{line.strip()!r} holds no times."
        yield FoundTurn(f"line {number}", start, end, speaker, problem=problem)


def label_turns(path: Path) -> Iterator[FoundTurn]:
    """Turns of a label track of Audacity; point labels and the frequencies of spectral labels are no turns.

    The speaker is the label, or what precedes the emotion in ``anna: anger``. An emotion alone is no speaker.
    """
    for number, line in enumerate(lines_of(decode_text(path)), 1):
        if not line.strip() or line.startswith("\\"):
            continue
        start, end, label = (*line.split("\t", 2), "", "")[:3]
        if start != end or not end:
            speaker, _, emotion = label.strip().rpartition(": ")
            speaker = speaker if is_emotion(emotion) else label.strip()
            yield FoundTurn(f"line {number}", start, end, speaker=speaker or None)


def textgrid_turns(path: Path) -> Iterator[FoundTurn]:
    """Turns of a TextGrid of Praat, long or short: the intervals with a text. The speaker is the name of the tier.

    In a tier that is named ``speaker`` the speaker is the text; the name ``emotion`` and the like are no speakers.
    """
    values = (_praat_value(found) for found in PRAAT.finditer(decode_text(path)) if not found[0].startswith("!"))
    try:
        kind, content = next(values), next(values)
        if not kind.startswith("ooTextFile") or content != "TextGrid":
            raise ManifestError(f"{path} is not a TextGrid in text form. Save it from Praat as a text file.")
        _, _, _, tiers = (next(values) for _ in range(4))  # xmin, xmax, <exists>, number of tiers
        for tier in range(1, int(tiers) + 1):
            kind, name, _, _, size = (next(values) for _ in range(5))
            for number in range(1, int(size) + 1):
                if kind != "IntervalTier":
                    next(values), next(values)
                    continue
                start, end, text = (next(values) for _ in range(3))
                if text.strip():
                    yield FoundTurn(f"interval {number} of tier {tier}", start, end, _tier_speaker(name, text))
    except (StopIteration, RuntimeError, ValueError) as error:  # a generator makes a RuntimeError of StopIteration
        raise ManifestError(
            f"{path} is not a whole TextGrid: a value is missing or no number. Save it again."
        ) from error


def _praat_value(found: re.Match[str]) -> str:
    return found[0] if found[1] is None else found[1].replace('""', '"')


def _tier_speaker(tier: str, text: str) -> str | None:
    name = tier.strip()
    if name.lower() in SPEAKER_TIERS:
        return text.strip()
    return None if name.lower() in PLAIN_TIERS else name


def json_turns(path: Path) -> Iterator[FoundTurn]:
    """Turns of a JSON file: what whisper, whisperX and whisper.cpp write, and tables as an array.

    A segment whose words have several speakers is one turn for each run of words of one speaker.
    """
    try:
        content = json.loads(decode_text(path))
    except (ValueError, RecursionError):
        content = []  # JSON lines, or no JSON
    if isinstance(content, list):
        yield from table_turns(path)
        return
    content = content if isinstance(content, dict) else {}
    segments = content.get("segments", content.get("transcription"))
    if not isinstance(segments, list):
        raise ManifestError(f"{path} has no list of segments. Use the JSON of whisper, whisperX or whisper.cpp.")
    for number, segment in enumerate(segments, 1):
        if not isinstance(segment, dict):
            yield FoundTurn(f"segment {number}", problem="is not an object.")
        elif isinstance(offsets := segment.get("offsets"), dict):  # whisper.cpp, in milliseconds
            yield FoundTurn(f"segment {number}", offsets.get("from"), offsets.get("to"), unit=1e-3)
        else:
            yield from _runs(segment, f"segment {number}")


def _runs(segment: Mapping[str, Any], place: str) -> Iterator[FoundTurn]:
    words = segment.get("words")
    timed = [word for word in words if isinstance(word, dict) and "start" in word] if isinstance(words, list) else []
    runs = [(name, list(run)) for name, run in groupby(timed, lambda word: _word(word.get("speaker")))]
    if len({name for name, _ in runs} - {None}) < 2:
        yield FoundTurn(place, segment.get("start"), segment.get("end"), _word(segment.get("speaker")))
        return
    for speaker, run in runs:
        yield FoundTurn(place, run[0].get("start"), run[-1].get("end"), speaker)


def elan_turns(path: Path) -> Iterator[FoundTurn]:
    """Turns of ELAN: the annotations of the tiers that depend on no other one. The speaker is the participant.

    A medium may begin before the time 0 of the annotations, by its TIME_ORIGIN in milliseconds. Where that differs
    between media, the turns are given for each one by its name. A document type is refused, so no entity is expanded
    and nothing else is opened. Source: the schema EAFv3.0.
    """
    text = decode_text(path)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ManifestError(f"{path} has a document type, which ELAN does not write. Save it from ELAN.")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise ManifestError(f"{path} is not XML: {error}. Save it from ELAN.") from error
    unit = root.find("HEADER[@TIME_UNITS]")
    if unit is not None and unit.get("TIME_UNITS") != "milliseconds":
        raise ManifestError(
            f"{path} states its times in {unit.get('TIME_UNITS')}, of which programs have different opinions; ELAN "
            'takes them for milliseconds. Convert them, and write TIME_UNITS="milliseconds".'
        )
    origins = _time_origins(root, path)
    for turn in _annotations(root):
        yield from (replace(turn, recording=name, shift=shift) for name, shift in origins)


def _time_origins(root: ElementTree.Element, path: Path) -> list[tuple[str | None, float]]:
    """The media with the time in each, in seconds, that is the time 0 of the annotations; one without a name if equal.

    Raises:
        ManifestError: A time is no whole number.
    """
    origins = {}
    for medium in root.iterfind("HEADER/MEDIA_DESCRIPTOR"):
        name, origin = re.split(r"[/\\]", medium.get("MEDIA_URL", ""))[-1], medium.get("TIME_ORIGIN", "0")
        if not re.fullmatch(r"[+-]?\d{1,12}", origin):
            raise ManifestError(f"{path}: The TIME_ORIGIN {origin!r} of {name} is no whole number of milliseconds.")
        origins[unquote(name)] = int(origin) / 1000
    if len(set(origins.values())) > 1:
        return list(origins.items())
    return [(None, next(iter(origins.values()), 0.0))]


def _annotations(root: ElementTree.Element) -> Iterator[FoundTurn]:
    slots = _slot_times(root.iterfind("TIME_ORDER/TIME_SLOT"))
    for tier in root.iterfind("TIER"):
        if tier.get("PARENT_REF"):
            continue
        speaker = tier.get("PARTICIPANT") or _tier_speaker(tier.get("TIER_ID", ""), "")
        for annotation in tier.iterfind("ANNOTATION/ALIGNABLE_ANNOTATION"):
            start, end = (slots.get(annotation.get(f"TIME_SLOT_REF{side}", "")) for side in (1, 2))
            place = f"annotation {annotation.get('ANNOTATION_ID')}"
            yield FoundTurn(place, start, end, speaker or annotation.findtext("ANNOTATION_VALUE") or None, unit=1e-3)


def _slot_times(slots: Iterable[ElementTree.Element]) -> dict[str, float | str | None]:
    """Time of every slot in milliseconds; slots without one are spread evenly between their neighbours, as in ELAN."""
    names, times = [], []
    for slot in slots:
        names.append(slot.get("TIME_SLOT_ID", ""))
        times.append(slot.get("TIME_VALUE"))
    known = [place for place, value in enumerate(times) if value is not None and value.isdecimal()]
    for first, last in pairwise(known):
        start = float(times[first])  # an int of thousands of digits is an error
        step = (float(times[last]) - start) / (last - first)
        for place in range(first + 1, last):
            times[place] = start + step * (place - first) if times[place] is None else times[place]
    return dict(zip(names, times, strict=True))


TURN_FORMATS: dict[str, Callable[[Path], Iterator[FoundTurn]]] = {
    ".rttm": rttm_turns,
    ".csv": table_turns,
    ".tsv": table_turns,
    ".srt": caption_turns,
    ".vtt": caption_turns,
    ".textgrid": textgrid_turns,
    ".txt": label_turns,
    ".json": json_turns,
    ".jsonl": table_turns,
    ".ndjson": table_turns,
    ".parquet": table_turns,
    ".pq": table_turns,
    ".eaf": elan_turns,
}
"""Reader by the ending of the file."""
