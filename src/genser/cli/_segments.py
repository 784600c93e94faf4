"""``genser predict --segments`` and ``--microphone``: recordings and live audio as timelines."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from genser.cli._microphone import open_microphone
from genser.cli._outputs import TimelineOutput, is_folder, open_output, timeline_output
from genser.cli._progress import Bars, progress_bars
from genser.errors import ConfigError
from genser.output.formats import find_format
from genser.segments.decide import prior_of
from genser.segments.options import SegmentOptions
from genser.segments.segment import Segment, Timeline
from genser.segments.stream import Stream
from genser.segments.timeline import Scorer, recognize_timeline
from genser.segments.turns import TurnFile, read_turn_file

NO_WAVEFORM = np.empty((0, 2), np.float32)


def predict_segments(
    load: Callable[[], Scorer],
    recordings: Sequence[str],
    options: SegmentOptions,
    *,
    output: str | None = None,
    format: str | None = None,
    picture: str | None = None,
    turns: str | None = None,
) -> int:
    """Recognise the emotions of recordings over time, and write them.

    Args:
        load: Returns the recogniser; called once all options are checked.
        recordings: Paths; "-" is standard input.
        options: How to cut, smooth and merge.
        output: File, or folder for one file per recording; standard output if None.
        format: Name of a format; if None that of the output's ending, else csv.
        picture: PNG, SVG or PDF of a recording, or a folder for one PNG per recording.
        turns: File with speaker turns to recognise instead of detected speech.

    Returns:
        0 if all went well, 1 if recordings failed. Each failure is a line on standard error, and a row of a table.

    Raises:
        ConfigError: The outputs cannot hold what is asked for.
        ManifestError: The file of turns cannot be read.
    """
    main = timeline_output(output, format, recordings)
    drawing = _picture_output(picture, recordings) if picture is not None else None
    turn_file = None if turns is None else read_turn_file(turns)
    scorer = load()
    prior_of(scorer.labels, options)  # a wrong prior is wrong for every recording
    failures: list[str] = []
    with progress_bars() as bars:
        timelines = _recognized(scorer, recordings, options, turn_file, bars, failures)
        main.write(drawing.pass_on(timelines, scorer.labels) if drawing else timelines, scorer.labels)
    for failure in failures:
        print(f"genser: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _picture_output(picture: str, recordings: Sequence[str]) -> TimelineOutput:
    chosen = timeline_output(picture, "png" if is_folder(picture) else None, recordings)
    if not chosen.format.media_type.startswith(("image/", "application/pdf")):
        raise ConfigError(f"--picture {picture} is no picture. Use the ending .png, .svg or .pdf, or a folder.")
    return chosen


def _recognized(
    scorer: Scorer,
    recordings: Sequence[str],
    options: SegmentOptions,
    turns: TurnFile | None,
    bars: Bars,
    failures: list[str],
) -> Iterator[Timeline]:
    for done, recording in enumerate(recordings, 1):
        try:
            given = None if turns is None else turns.of(None if recording == "-" else recording)
            yield recognize_timeline(scorer, recording, options, turns=given)
        except (MemoryError, ConfigError):
            raise
        except Exception as error:  # one unreadable recording must not stop the others, whatever the reason
            failures.append(str(error) or repr(error))
            yield Timeline(recording, 0.0, tuple(scorer.labels), (), NO_WAVEFORM, failures[-1])
        bars("recordings", done, len(recordings))


def predict_microphone(
    load: Callable[[], Scorer], options: SegmentOptions, *, format: str | None = None, device: str | None = None
) -> int:
    """Recognise the microphone's audio until Ctrl-C; each segment is written as soon as it is decided.

    Args:
        load: Returns the recogniser; called once all options are checked.
        options: How to cut; smoothing must be causal or none.
        format: Name of a text format; jsonl if None.
        device: Name or number of the input device; the system's default if None.

    Returns:
        0.

    Raises:
        ConfigError: The format needs a complete recording.
        MissingExtraError: sounddevice is not installed.
        AudioError: There is no such device.
    """
    chosen = find_format("timelines", None, format, "jsonl")
    if chosen.needs_end:
        raise ConfigError(f"Live segments cannot be written as {chosen.name}. Use jsonl, csv, text, rttm, srt or vtt.")
    scorer = load()
    labels = tuple(scorer.labels)
    with open_microphone(device) as (rate, blocks), open_output(None) as file:
        stream = Stream(scorer, options, rate)
        print(f"genser: Listening with a latency of {stream.latency:.1f} s. Ctrl-C stops.", file=sys.stderr)
        live = (
            Timeline("microphone", segment.end, labels, (segment,), NO_WAVEFORM)
            for segment in _live_segments(stream, blocks)
        )
        chosen.write("timelines", live, file, labels)
    return 0


def _live_segments(stream: Stream, blocks: Iterable[np.ndarray]) -> Iterator[Segment]:
    for block in blocks:
        yield from stream.push(block)
    yield from stream.close()
