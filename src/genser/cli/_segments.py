"""``genser predict --segments`` and ``--microphone``: recordings and live sound as timelines."""

import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from genser.cli._microphone import heard
from genser.cli._progress import Bars, progress_bars
from genser.errors import ConfigError, GenserError
from genser.output.plot import PICTURES, draw_timeline
from genser.output.timelines import ENDINGS, FORMATS, MANY, format_of, write_parquet, write_text
from genser.segments.options import SegmentOptions
from genser.segments.segment import Segment, Timeline
from genser.segments.stream import Stream
from genser.segments.timeline import Scorer, recognize_timeline
from genser.segments.turns import read_turns

SUFFIXES = {format: ending for ending, format in reversed(ENDINGS.items())} | {"textgrid": ".TextGrid"}
NOTHING = np.empty((0, 2), np.float32)


def predict_segments(
    scorer: Scorer,
    recordings: Sequence[str],
    options: SegmentOptions,
    *,
    output: Path | None = None,
    format: str | None = None,
    picture: Path | None = None,
    turns: Path | None = None,
) -> int:
    """Recognise the emotions of recordings over time, and write them.

    Args:
        scorer: A recogniser.
        recordings: Paths, "-" is standard input.
        options: How to cut, smooth and merge.
        output: File, a picture (.png, .svg, .pdf), or a folder for one file a recording; standard output if None.
        format: One of `FORMATS`, or that of the output's ending, else csv.
        picture: PNG, SVG or PDF of a recording, or a folder for one PNG a recording.
        turns: File of turns to recognise instead of looking for speech.

    Returns:
        0 if all went well, 1 if recordings failed; each failure is a row of the output and a line on standard error.

    Raises:
        ConfigError: The output cannot hold what is asked for.
    """
    is_picture_alone = output is not None and output.suffix.lower() in PICTURES
    if is_picture_alone:
        picture, output = output, None
    format = format or (format_of(output) if output is not None and output.suffix else "csv")
    _check(format, output, picture, len(recordings))
    failures: list[str] = []
    with progress_bars() as bars:
        timelines = _drawn(_recognized(scorer, recordings, options, turns, bars, failures), picture)
        if is_picture_alone:
            deque(timelines, maxlen=0)
        else:
            _write(timelines, output, format, scorer.labels)
    for failure in failures:
        print(f"genser: {failure}", file=sys.stderr)
    return 1 if failures else 0


def predict_microphone(
    scorer: Scorer, options: SegmentOptions, *, format: str | None = None, device: str | None = None
) -> int:
    """Recognise what the microphone hears until Ctrl-C; each segment is a line as soon as it is decided.

    Args:
        scorer: A recogniser.
        options: How to cut; smoothing must be causal or none.
        format: One of `FORMATS` that is text; jsonl if None.
        device: Name or number of the input; the system's own if None.

    Returns:
        0.

    Raises:
        MissingExtraError: sounddevice is not installed.
        AudioError: There is no such input.
    """
    with heard(device) as (rate, chunks):
        stream = Stream(scorer, options, rate)
        print(f"genser: listening, segments come {stream.latency:.1f} s after their end; Ctrl-C stops", file=sys.stderr)
        segments = chain(chain.from_iterable(map(stream.push, chunks)), _last(stream))
        write_text(_singly(segments, scorer.labels), sys.stdout, format or "jsonl", scorer.labels)
    return 0


def _last(stream: Stream) -> Iterator[Segment]:
    yield from stream.close()


def _singly(segments: Iterable[Segment], labels: Sequence[str]) -> Iterator[Timeline]:
    for segment in segments:
        yield Timeline("microphone", segment.end, tuple(labels), (segment,), NOTHING)


def _check(format: str, output: Path | None, picture: Path | None, count: int) -> None:
    if format not in FORMATS:
        raise ConfigError(f"Unknown format {format!r}: use one of {', '.join(FORMATS)}.")
    if format == "parquet" and output is None:
        raise ConfigError("Parquet is binary and not written to standard output. Name a file with -o.")
    if count > 1 and format not in MANY and not (output and not output.suffix):
        raise ConfigError(f"One {format} file holds one recording, not {count}. Name a folder with -o, or choose csv.")
    if count > 1 and picture is not None and picture.suffix:
        raise ConfigError(f"One picture shows one recording, not {count}. Name a folder instead of {picture}.")


def _recognized(
    scorer: Scorer,
    recordings: Sequence[str],
    options: SegmentOptions,
    turns: Path | None,
    bars: Bars,
    failures: list[str],
) -> Iterator[Timeline]:
    for done, recording in enumerate(recordings):
        try:
            given = None if turns is None else read_turns(turns, Path(recording).stem)
            yield recognize_timeline(scorer, recording, options, turns=given)
        except (GenserError, OSError) as error:
            failures.append(str(error))
            yield Timeline(recording, 0.0, tuple(scorer.labels), (), NOTHING, str(error))
        bars("recordings", done + 1, len(recordings))


def _drawn(timelines: Iterable[Timeline], picture: Path | None) -> Iterator[Timeline]:
    for timeline in timelines:
        if picture is not None and timeline.error is None:
            is_folder = not picture.suffix
            path = picture / f"{_stem(timeline)}.png" if is_folder else picture
            path.parent.mkdir(parents=True, exist_ok=True)
            draw_timeline(timeline, path)
        yield timeline


def _write(timelines: Iterable[Timeline], output: Path | None, format: str, labels: Sequence[str]) -> None:
    if output is None:
        write_text(timelines, sys.stdout, format, labels)
    elif output.suffix:
        _write_file(timelines, output, format, labels)
    else:
        output.mkdir(parents=True, exist_ok=True)
        for timeline in timelines:
            if timeline.error is None:
                _write_file([timeline], output / f"{_stem(timeline)}{SUFFIXES[format]}", format, labels)


def _write_file(timelines: Iterable[Timeline], path: Path, format: str, labels: Sequence[str]) -> None:
    """A file appears whole or not at all."""
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if format == "parquet":
            write_parquet(timelines, part, labels)
        else:
            with part.open("w", encoding="utf-8", newline="\n") as file:
                write_text(timelines, file, format, labels)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _stem(timeline: Timeline) -> str:
    return Path(timeline.path).stem or "recording"
