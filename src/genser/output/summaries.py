"""Summaries of timelines as rows of a table and as text: one per recording, channel and speaker."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from genser.data.text import printable
from genser.inference.prediction import NO_SPEECH
from genser.output.tables import PerClass, Rows
from genser.output.time_axis import time_text
from genser.output.timelines import RECORDING, about_recording
from genser.segments.segment import Timeline
from genser.segments.summary import VoiceSummary, summarize_timeline

VOICE = {"channel": int, "speaker": str, "label": str, "speech": float, "segments": int, "confident": float}
CLASSES = {
    "shares": PerClass("share_"),
    "scores": PerClass("score_"),
    "changes": PerClass("change_"),
    "longest": PerClass("longest_"),
    "longest_start": PerClass("longest_start_"),
}
COLUMNS = {"path": str, **VOICE, "familiar": float, **RECORDING, **CLASSES}


def summary_rows(timelines: Iterable[Timeline], labels: Sequence[str]) -> Rows:
    """One row per voice; one row for a recording without speech, and one for a recording that failed."""
    return Rows(COLUMNS, labels, (row for timeline in timelines for row in _rows(timeline)))


def _rows(timeline: Timeline) -> Iterator[dict[str, Any]]:
    recording = about_recording(timeline)
    if timeline.error is not None:
        yield dict.fromkeys(COLUMNS) | {"path": timeline.path, **recording}
        return
    for one in summarize_timeline(timeline):
        label = {"label": one.label or NO_SPEECH}
        yield {"path": timeline.path, **one.to_dict(), **label, **recording}


def summary_lines(timelines: Iterable[Timeline], labels: Sequence[str]) -> Iterator[str]:  # noqa: ARG001
    """A few lines per voice, for people: a heading, and a table with a line per class."""
    is_first = True
    for timeline in timelines:
        path = printable(timeline.path)
        if timeline.error is not None:
            yield f"failed  {printable(timeline.error)}"
            continue
        for one in summarize_timeline(timeline):
            voice = f", {printable(one.voice)}" if one.voice else ""
            if not is_first:
                yield ""
            is_first = False
            yield from _voice_lines(one, f"{path}{voice}")


def _voice_lines(one: VoiceSummary, name: str) -> Iterator[str]:
    if one.label is None or one.confident is None:
        yield f"{name}: {NO_SPEECH}"
        return
    yield f"{name}: {time_text(one.speech)} of speech, {one.confident:.0%} of it confident"
    width = max(map(len, one.shares))
    yield f"  {'':{width}}  share  score  change  longest"
    for label, share in sorted(one.shares.items(), key=lambda item: -item[1]):
        change, start = one.changes[label], one.longest_start[label]
        changed = "" if change is None else f"{round(change, 2) + 0.0:+.2f}"  # no "-0.00"
        longest = "" if start is None else f"{time_text(one.longest[label])} from {time_text(start)}"
        yield f"  {printable(label):{width}}  {share:5.0%}  {one.scores[label]:5.2f}  {changed:>6}  {longest}".rstrip()
