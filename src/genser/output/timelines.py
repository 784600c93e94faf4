"""Timelines as rows of a table, as lines of text, and in the formats of annotation tools, diarisation and captions."""

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Any

from genser.data.text import printable
from genser.inference.prediction import NO_SPEECH
from genser.output.tables import PerClass, Rows
from genser.segments.recording_names import ShortNames
from genser.segments.segment import Segment, Timeline

VOICE = {"speaker": str, "channel": int, "familiar": float}
SEGMENT = {"start": float, "end": float, "label": str, "confident": bool, **VOICE}
RECORDING = {"duration": float, "heard": float, "remark": str, "error": str}
COLUMNS = {"path": str, **SEGMENT, **RECORDING, "scores": PerClass()}


def timeline_rows(timelines: Iterable[Timeline], labels: Sequence[str]) -> Rows:
    """One row per segment; one row for a recording without speech, and one without a segment for one that failed."""
    return Rows(COLUMNS, labels, (row for timeline in timelines for row in _rows(timeline)))


def _rows(timeline: Timeline) -> Iterator[dict[str, Any]]:
    recording = about_recording(timeline)
    if not timeline.segments:
        whole = {} if timeline.error is not None else {"start": 0.0, "end": round(timeline.end, 3), "label": NO_SPEECH}
        yield {"path": timeline.path, **dict.fromkeys(SEGMENT), **whole, "scores": None, **recording}
    for segment in timeline.segments:
        yield {"path": timeline.path, **segment.to_dict(), **recording}


def about_recording(timeline: Timeline) -> dict[str, Any]:
    """What every row of a recording repeats about it; the duration of one that failed is unknown."""
    found = {name: getattr(timeline, name) for name in RECORDING}
    found |= {name: round(value, 6) for name, value in found.items() if isinstance(value, float)}
    return found if timeline.error is None else found | {"duration": None}


def timeline_lines(timelines: Iterable[Timeline], labels: Sequence[str]) -> Iterator[str]:
    """One line per segment, for people: start and end in seconds, label, its score, speaker and channel, path."""
    width = max(map(len, (*labels, NO_SPEECH))) + 1
    for timeline in timelines:
        path = printable(timeline.path)
        if timeline.error is not None:
            yield f"failed  {printable(timeline.error)}"
        elif not timeline.segments:
            yield f"{0:9.2f} {timeline.end:9.2f}  {NO_SPEECH:{width}}        {path}"
        for one in timeline.segments:
            label = printable(one.label) + ("" if one.confident else "?")
            voice = f"  {printable(one.voice)}" if one.voice else ""
            yield f"{one.start:9.2f} {one.end:9.2f}  {label:{width}}  {one.scores[one.label]:.2f}{voice}  {path}"


def audacity_lines(timelines: Iterable[Timeline]) -> Iterator[str]:
    """Label track of Audacity: start, end, label, which names the speaker too if there is one."""
    for segment in _segments(timelines):
        label = f"{segment.speaker}: {segment.label}" if segment.speaker else segment.label
        yield f"{segment.start:.6f}\t{segment.end:.6f}\t{_one_line(label)}"


def rttm_lines(timelines: Iterable[Timeline]) -> Iterator[str]:
    """RTTM with the emotion as the subtype. The name is that of the speaker; without one the emotion again.

    So every RTTM tool shows either, and what is read again is the speaker.
    """
    short = ShortNames()
    for timeline in timelines:
        name = printable(short(timeline.path))
        for one in timeline.segments:
            label = "_".join(one.label.split())
            voice = printable("_".join((one.speaker or label).split()))
            score = one.scores[one.label]
            channel = one.channel or 1
            yield f"SPEAKER {name} {channel} {one.start:.3f} {one.duration:.3f} <NA> {label} {voice} {score:.3f} <NA>"


def srt_lines(timelines: Iterable[Timeline]) -> Iterator[str]:
    """Captions as SubRip."""
    for number, segment in enumerate(_segments(timelines), 1):
        caption = _caption(segment).replace("-->", "->")
        yield f"{number}\n{_clock(segment.start, ',')} --> {_clock(segment.end, ',')}\n{caption}\n"


def vtt_lines(timelines: Iterable[Timeline]) -> Iterator[str]:
    """Captions as WebVTT, with the speaker as the voice."""
    yield "WEBVTT\n"
    for segment in _segments(timelines):
        voice = f"<v {escape(_one_line(segment.voice), quote=False)}>" if segment.voice else ""
        caption = escape(_caption(segment), quote=False)
        yield f"{_clock(segment.start, '.')} --> {_clock(segment.end, '.')}\n{voice}{caption}\n"


def textgrid_lines(timelines: Iterable[Timeline]) -> Iterator[str]:
    """Praat's TextGrid in the long text format, one tier per speaker and channel.

    Segments of a speaker that overlap go to a further tier, such as "anna (2)". Stretches between segments are
    intervals with an empty text.
    """
    for timeline in timelines:
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
        name = segment.voice or "emotion"
        for tier, members in tiers:
            if tier == name and members[-1].end <= segment.start:
                members.append(segment)
                break
        else:
            tiers.append((name, [segment]))
    names: list[str] = []
    for voice, _ in tiers:  # libraries keep one tier of each name
        line = _one_line(voice)
        further = (f"{line} ({number})" for number in range(2, len(tiers) + 2))
        names.append(next(name for name in (line, *further) if name not in names))
    return list(zip(names, (members for _, members in tiers), strict=True)) or [("emotion", [])]


def _intervals(segments: list[Segment], end: float) -> Iterator[tuple[float, float, str]]:
    at = 0.0
    for segment in segments:
        if segment.start > at:
            yield at, segment.start, ""
        yield segment.start, segment.end, _one_line(segment.label)
        at = segment.end
    if at < end:
        yield at, end, ""


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _segments(timelines: Iterable[Timeline]) -> Iterator[Segment]:
    return (segment for timeline in timelines for segment in timeline.segments)


def _caption(segment: Segment) -> str:
    doubt = "" if segment.confident else "?"
    return f"{_one_line(segment.label)}{doubt} ({segment.scores[segment.label]:.0%})"


def _one_line(text: str) -> str:
    """Text for a format whose lines have a meaning."""
    return " ".join(text.split())


def _clock(seconds: float, mark: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{mark}{rest % 1000:03d}"
