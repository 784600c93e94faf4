"""``genser predict --segments`` and ``--microphone``: recordings and live audio as timelines."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from genser.audio import Channel, describe
from genser.cli._channels import MixedChannels
from genser.cli._microphone import open_microphone
from genser.cli._notes import note, notes
from genser.cli._outputs import TimelineOutput, is_folder, open_output, timeline_output
from genser.cli._progress import Bars, progress_bars, show_minutes
from genser.cli._resume import fill, is_journaled, locked, open_run
from genser.cli._unfamiliar import unfamiliar_hint
from genser.config import to_mapping
from genser.errors import ConfigError
from genser.files import file_hash
from genser.output.formats import find_format
from genser.segments.adapt import self_adapted
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
    summary: bool = False,
    channel: Channel = "mix",
    adapt: bool = False,
    about: Mapping[str, Any] = MappingProxyType({}),
    resume: bool = False,
    model: str | None = None,
    given: Sequence[str] = (),
    mixed: MixedChannels | None = None,
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
        summary: Whether to write a summary per voice instead of the segments.
        channel: Number of the channel to recognise, from 1; "mix" or "each".
        adapt: Whether to adapt the model to each recording by itself, and with turns to each speaker.
        about: Further options that decide the results, for the journal of the run.
        resume: Whether to continue a run that was stopped.
        model: The model as it was named, for the hint.
        given: The inputs as they were named, such as a folder, for the hint.
        mixed: Collects the recordings whose different channels were mixed.

    Returns:
        0 if all went well, 1 if recordings failed. Each failure is a line on standard error, and a row of a table.

    Raises:
        ConfigError: The outputs cannot hold what is asked for.
        ManifestError: The file of turns holds no turn that can be used; others are failures.
    """
    mixed = mixed or MixedChannels()
    main = timeline_output(output, format, recordings, "summaries" if summary else "timelines")
    drawing = _picture_output(picture, recordings) if picture is not None else None
    turn_file = None if turns is None else _turns_for(turns, recordings)
    scorer = load()
    failures = [] if turn_file is None else [f"{turns}, {problem}" for problem in turn_file.problems]
    remarks: list[str] = []
    unfamiliar: list[str] = []
    failed: set[str] = set()

    def recognize(some: Sequence[str]) -> Iterator[Timeline]:
        timelines = _recognized(scorer, some, options, turn_file, channel, bars, len(recordings), failures, adapt)
        timelines = _noted(timelines, remarks, unfamiliar, failed, mixed)
        return drawing.pass_on(timelines, scorer.labels) if drawing else timelines

    with progress_bars() as bars:
        if is_journaled(main.path, recordings, is_folder=main.names is not None):
            about = {**about, **_deciding(options, turns, picture), "--format": main.names and main.format.name}
            about |= {"--summary": main.names and summary}
            _write_resumable(main, recordings, recognize, scorer.labels, about, resume)
        else:
            with locked(main.path if main.names is None else None):
                main.write(recognize(recordings), scorer.labels)
    if unfamiliar:
        about_hint = {"options": "--summary" if summary else "--segments", "channel": channel, "is_adapted": adapt}
        usable = [name for name in given or recordings if name not in failed]
        notes(f"genser: {unfamiliar_hint(len(unfamiliar), 'recording', usable, scorer, model, **about_hint)}")
    for sentence in [*mixed.hint(), *remarks, *failures]:
        note(f"genser: {sentence}")
    return 1 if failures else 0


def _turns_for(path: str, recordings: Sequence[str]) -> TurnFile:
    found = read_turn_file(path)
    if len(recordings) > 1 and not found.recordings:
        raise ConfigError(
            f"{path} does not say whose turns it holds, and {len(recordings)} recordings are given. Name one "
            "recording, or write a table with the column path."
        )
    return found


def _noted(
    timelines: Iterable[Timeline],
    remarks: list[str],
    unfamiliar: list[str],
    failed: set[str],
    mixed: MixedChannels,
) -> Iterator[Timeline]:
    """Pass timelines on; collect remarks, and recordings that failed or are unlike the training recordings."""
    for timeline in timelines:
        if timeline.error is not None:
            failed.add(timeline.path)
        if remark := mixed.others(timeline.path, timeline.remark, timeline.mixed):
            remarks.append(f"{timeline.path}: {remark}")
        if timeline.is_unfamiliar:
            unfamiliar.append(timeline.path)
        yield timeline


def _deciding(options: SegmentOptions, turns: str | None, picture: str | None) -> dict[str, Any]:
    """The options that decide what a run writes."""
    given = {f"--{name.replace('_', '-')}": value for name, value in to_mapping(options).items()}
    return {**given, "--turns": turns and file_hash(turns)[:12], "--picture": picture}


def _write_resumable(
    main: TimelineOutput,
    recordings: Sequence[str],
    recognize: Callable[[Sequence[str]], Iterator[Timeline]],
    labels: Sequence[str],
    about: Mapping[str, Any],
    resume: bool,
) -> None:
    """Write timelines to one table or to a folder, so that a run that was stopped can be resumed."""
    assert isinstance(main.path, Path)  # others are not journaled
    if main.names is None:
        with open_run(main.path, about, resume=resume) as journal:
            failed = fill(journal, recordings, lambda some: ([one] for one in recognize(some)))
            main.write(map(_revived, journal.results(recordings)), labels)
            journal.finish(failed=failed > 0)
        return
    files = {name: main.path / main.names[describe(name)] for name in recordings}
    with open_run(main.path, about, resume=resume, is_folder=True) as journal:
        failed = fill(
            journal,
            recordings,
            lambda some: ([one] for one in main.pass_on(recognize(some), labels)),
            is_kept=lambda name: files[name].exists(),
        )
        journal.finish(failed=failed > 0)


def _revived(row: Mapping[str, Any]) -> Timeline:
    """A timeline from the values that a journal holds."""
    segments = tuple(Segment(**segment) for segment in row["segments"])
    values: dict[str, Any] = {**row, "labels": tuple(row["labels"]), "segments": segments, "envelope": NO_WAVEFORM}
    values["channels"] = tuple(row["channels"])
    return Timeline(**values)


def _picture_output(picture: str, recordings: Sequence[str]) -> TimelineOutput:
    if not is_folder(picture) and not picture.lower().endswith((".png", ".svg", ".pdf")):
        raise ConfigError(f"--picture {picture} is not a picture. Use the ending .png, .svg or .pdf, or a folder.")
    return timeline_output(picture, "png" if is_folder(picture) else None, recordings)


def _recognized(
    scorer: Any,
    recordings: Sequence[str],
    options: SegmentOptions,
    turns: TurnFile | None,
    channel: Channel,
    bars: Bars,
    total: int,
    failures: list[str],
    adapt: bool,
) -> Iterator[Timeline]:
    """Recognise recordings, which are the last of ``total``."""
    for done, recording in enumerate(recordings, total - len(recordings)):
        if total > 1:
            bars("recordings", done, total)
        try:
            given = None if turns is None else turns.of(None if recording == "-" else recording)
            where: dict[str, Any] = {"turns": given, "channel": channel}
            adapted, speakers = self_adapted(scorer, recording, options, **where) if adapt else (scorer, {})
            timeline = recognize_timeline(
                adapted,
                recording,
                options,
                **where,
                speakers=speakers,
                progress=partial(show_minutes, bars),
            )
            failures += [f"{timeline.path}: {problem}" for problem in timeline.problems]
        except MemoryError:
            raise
        except Exception as error:  # one unreadable recording must not stop the others, whatever the reason
            failures.append(str(error) or repr(error))
            timeline = Timeline(describe(recording), 0.0, tuple(scorer.labels), (), NO_WAVEFORM, failures[-1])
        yield timeline
    if total > 1:
        bars("recordings", total, total)


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
        note(f"genser: Listening with a latency of {stream.latency:.1f} s. Ctrl-C stops.")
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
