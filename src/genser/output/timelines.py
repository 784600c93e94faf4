"""Timelines as files: tables, JSON, and the formats of annotation tools, diarisation and captions."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from genser.errors import ConfigError, MissingExtraError
from genser.segments.segment import Segment, Timeline


def textgrid_lines(timeline: Timeline) -> Iterator[str]:
    """Yield the lines of a TextGrid in Praat's long text format, a tier a speaker.

    Segments that overlap go to a further tier, and stretches between them are intervals with empty text.
    """
    tiers = _tiers(timeline.segments)
    end = max([timeline.duration] + [segment.end for segment in timeline.segments])
    yield from ('File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end:.6f}")
    yield from ("tiers? <exists>", f"size = {len(tiers)}", "item []:")
    for number, (name, segments) in enumerate(tiers, 1):
        intervals = list(_intervals(segments, end))
        yield from (f"    item [{number}]:", '        class = "IntervalTier"', f"        name = {_quoted(name)}")
        yield from ("        xmin = 0", f"        xmax = {end:.6f}", f"        intervals: size = {len(intervals)}")
        for index, (first, last, text) in enumerate(intervals, 1):
            yield f"        intervals [{index}]:"
            yield from (f"            xmin = {first:.6f}", f"            xmax = {last:.6f}")
            yield f"            text = {_quoted(text)}"


def _tiers(segments: tuple[Segment, ...]) -> list[tuple[str, list[Segment]]]:
    tiers: list[tuple[str, list[Segment]]] = []
    for segment in segments:
        name = segment.speaker or "emotion"
        for tier, members in tiers:
            if tier == name and members[-1].end <= segment.start:
                members.append(segment)
                break
        else:
            tiers.append((name, [segment]))
    return tiers or [("emotion", [])]


def _intervals(segments: list[Segment], end: float) -> Iterator[tuple[float, float, str]]:
    at = 0.0
    for segment in segments:
        if segment.start > at:
            yield at, segment.start, ""
        yield segment.start, segment.end, segment.label
        at = segment.end
    if at < end:
        yield at, end, ""


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


TABLES = ("csv", "tsv", "json", "jsonl", "parquet")
ANNOTATIONS = ("labels", "textgrid", "rttm", "srt", "vtt")
FORMATS = TABLES + ANNOTATIONS
ENDINGS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".parquet": "parquet",
    ".txt": "labels",
    ".textgrid": "textgrid",
    ".rttm": "rttm",
    ".srt": "srt",
    ".vtt": "vtt",
}
COLUMNS = ("path", "start", "end", "label", "confident", "speaker", "error")  # of tables, before those of scores
MANY = (*TABLES, "rttm")
"""Formats that hold several recordings in one file."""


def format_of(path: str | Path) -> str:
    """Return the format that the ending of a name stands for.

    Raises:
        ConfigError: The ending stands for none.
    """
    ending = Path(path).suffix.lower()
    if ending not in ENDINGS:
        raise ConfigError(f"{path}: timelines are written as {', '.join(ENDINGS)}. Choose one of these endings.")
    return ENDINGS[ending]


def segment_row(timeline: Timeline, segment: Segment | None) -> dict[str, object]:
    """A segment as one flat value with its recording; without a segment, the recording's failure."""
    if segment is None:
        nothing = {"start": None, "end": None, "label": None, "confident": None, "speaker": None, "scores": None}
        return {"path": timeline.path, **nothing, "error": timeline.error}
    return {"path": timeline.path, **segment.to_dict(), "error": None}


def timeline_rows(timeline: Timeline) -> list[dict[str, object]]:
    """Rows of a timeline, one a segment; one row with the reason if the recording failed."""
    if timeline.error is not None:
        return [segment_row(timeline, None)]
    return [segment_row(timeline, segment) for segment in timeline.segments]


def write_text(timelines: Iterable[Timeline], file: IO[str], format: str, labels: Sequence[str]) -> None:
    """Write timelines one after another, each as soon as it comes, in any format but Parquet.

    Args:
        timelines: Recordings; one only where the format holds one.
        file: Text file or stream.
        format: One of `FORMATS`.
        labels: Class names, the score columns of tables.

    Raises:
        ConfigError: The format is unknown, or binary.
    """
    for line in _lines(timelines, format, labels):
        file.write(line + "\n")
        file.flush()


def write_parquet(timelines: Iterable[Timeline], path: Path, labels: Sequence[str]) -> None:
    """Write the table of timelines as Parquet, a row group a recording.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("parquet", "Writing Parquet") from error
    text, number = pa.string(), pa.float64()
    schema = pa.schema(
        [("path", text), ("start", number), ("end", number), ("label", text), ("confident", pa.bool_())]
        + [("speaker", text), ("error", text)]
        + [(label, number) for label in labels]
    )
    with parquet.ParquetWriter(path, schema) as writer:
        for timeline in timelines:
            rows = [dict(zip(schema.names, _cells(row, labels), strict=True)) for row in timeline_rows(timeline)]
            writer.write_table(pa.Table.from_pylist(rows, schema))


def _cells(row: dict, labels: Sequence[str]) -> list:
    scores = row["scores"] or {}
    plain = [row[name] for name in COLUMNS]
    return plain + [scores.get(label) for label in labels]


def _lines(timelines: Iterable[Timeline], format: str, labels: Sequence[str]) -> Iterator[str]:
    if format in DELIMITERS:
        return _table(timelines, DELIMITERS[format], labels)
    if format not in WRITERS:
        known = ", ".join([*DELIMITERS, *WRITERS])
        raise ConfigError(f"Timelines cannot be written to a stream as {format!r}: use one of {known}.")
    return WRITERS[format](timelines)


def _table(timelines: Iterable[Timeline], delimiter: str, labels: Sequence[str]) -> Iterator[str]:
    yield _record([*COLUMNS, *labels], delimiter)
    for timeline in timelines:
        for row in timeline_rows(timeline):
            yield _record(_cells(row, labels), delimiter)


def _record(cells: Sequence, delimiter: str) -> str:
    buffer = io.StringIO()
    words = [str(cell).lower() if isinstance(cell, bool) else cell for cell in cells]
    csv.writer(buffer, delimiter=delimiter, lineterminator="").writerow(words)
    return buffer.getvalue()


def _json(timelines: Iterable[Timeline]) -> Iterator[str]:
    before = "["
    for row in (row for timeline in timelines for row in timeline_rows(timeline)):
        yield before + json.dumps(row, ensure_ascii=False)
        before = ","
    yield "]" if before == "," else "[]"


def _jsonl(timelines: Iterable[Timeline]) -> Iterator[str]:
    for timeline in timelines:
        for row in timeline_rows(timeline):
            yield json.dumps(row, ensure_ascii=False)


def _audacity(timelines: Iterable[Timeline]) -> Iterator[str]:
    for segment in _segments(timelines):
        yield f"{segment.start:.6f}\t{segment.end:.6f}\t{segment.label}"


def _rttm(timelines: Iterable[Timeline]) -> Iterator[str]:
    """The label stands where diarisation has the speaker's name, so that every RTTM tool reads it."""
    for timeline in timelines:
        name = "_".join(Path(timeline.path).stem.split()) or "recording"
        for one in timeline.segments:
            label = "_".join(one.label.split())
            score = one.scores[one.label]
            yield f"SPEAKER {name} 1 {one.start:.3f} {one.duration:.3f} <NA> <NA> {label} {score:.3f} <NA>"


def _srt(timelines: Iterable[Timeline]) -> Iterator[str]:
    for number, segment in enumerate(_segments(timelines), 1):
        yield f"{number}\n{_clock(segment.start, ',')} --> {_clock(segment.end, ',')}\n{_caption(segment)}\n"


def _vtt(timelines: Iterable[Timeline]) -> Iterator[str]:
    yield "WEBVTT\n"
    for segment in _segments(timelines):
        voice = f"<v {segment.speaker}>" if segment.speaker else ""
        yield f"{_clock(segment.start, '.')} --> {_clock(segment.end, '.')}\n{voice}{_caption(segment)}\n"


def _textgrid(timelines: Iterable[Timeline]) -> Iterator[str]:
    for timeline in timelines:
        yield from textgrid_lines(timeline)


def _segments(timelines: Iterable[Timeline]) -> Iterator[Segment]:
    return (segment for timeline in timelines for segment in timeline.segments)


def _caption(segment: Segment) -> str:
    doubt = "" if segment.confident else "?"
    return f"{segment.label}{doubt} ({segment.scores[segment.label]:.0%})"


def _clock(seconds: float, mark: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{mark}{rest % 1000:03d}"


DELIMITERS = {"csv": ",", "tsv": "\t"}
WRITERS: dict[str, Callable[[Iterable[Timeline]], Iterator[str]]] = {
    "json": _json,
    "jsonl": _jsonl,
    "labels": _audacity,
    "textgrid": _textgrid,
    "rttm": _rttm,
    "srt": _srt,
    "vtt": _vtt,
}
