"""Timelines as Praat TextGrids: interval tiers without gaps or overlaps."""

from collections.abc import Iterator

from genser.runtime.segments import Segment, Timeline


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
