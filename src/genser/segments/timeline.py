"""Recognises emotion over time in a recording of any length, in bounded memory."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Protocol

import numpy as np

from genser.audio import (
    SAMPLE_RATE,
    STREAM_LIMITS,
    AudioLimits,
    AudioSource,
    Channel,
    count_channels,
    describe,
    reusable,
    stream_audio,
)
from genser.audio.mixing import check_channel
from genser.audio.mono import joined
from genser.errors import AudioError, counted
from genser.segments.chunking import Chunk, Cutter, make_cutter
from genser.segments.decide import ChunkScore, SpeechFilter, decide
from genser.segments.options import DEFAULTS, SegmentOptions
from genser.segments.scores import GatedScores
from genser.segments.segment import Timeline, mean_familiar
from genser.segments.turns import Turn
from genser.storage import is_url

NO_SPEECH_FOUND = "No speech was found."
"""Remark on a recording without segments."""

SILENT, QUIET, FULL = 1e-5, 0.1, 0.5
"""Peaks: digital silence, a recording that is amplified if no speech is found in it, and the peak that it then has."""

MOST_BINS = 4000
FINEST = 160  # samples a bin at first: 10 ms


class Envelope:
    """Outline of a waveform: lowest and highest sample in equal steps; the steps double when there are too many."""

    def __init__(self) -> None:
        self._bins: list[np.ndarray] = []
        self._count, self._samples, self._size = 0, 0, FINEST
        self._rest = np.empty(0, np.float32)

    @property
    def duration(self) -> float:
        """Duration so far in seconds."""
        return self._samples / SAMPLE_RATE

    def push(self, samples: np.ndarray) -> None:
        """Add mono 16 kHz samples of shape (samples,)."""
        self._samples += len(samples)
        samples = np.concatenate([self._rest, samples])
        whole = len(samples) // self._size
        self._rest = samples[whole * self._size :]
        self._add(samples[: whole * self._size].reshape(whole, self._size))
        while self._count > MOST_BINS:
            self._halve()

    def peaks(self) -> np.ndarray:
        """Return (lowest, highest) of every step, shape (steps, 2)."""
        last = [[[self._rest.min(), self._rest.max()]]] if len(self._rest) else []
        return np.concatenate([np.empty((0, 2), np.float32), *self._bins, *last]).astype(np.float32)

    def _add(self, rows: np.ndarray) -> None:
        if len(rows):
            self._bins.append(np.stack([rows.min(axis=1), rows.max(axis=1)], axis=1))
            self._count += len(rows)

    def _halve(self) -> None:
        bins = np.concatenate(self._bins)
        odd = bins[len(bins) - len(bins) % 2 :]
        pairs = bins[: len(bins) - len(odd)].reshape(-1, 2, 2)
        halved = np.stack([pairs[:, :, 0].min(axis=1), pairs[:, :, 1].max(axis=1)], axis=1)
        self._size *= 2
        # A step without a pair goes back to the samples, as its two extremes within the new step.
        if len(odd):
            filler = np.full(self._size // 2 - 1, odd[0, 1], np.float32)
            self._rest = np.concatenate([odd[0, :1], filler, self._rest])
        self._bins, self._count = [halved], len(halved)


BATCH_SECONDS = 24.0  # of audio in a batch: 60 s took 160 MB more and were not faster on 2 cores
BATCH_CHUNKS = 32
BLOCK_DURATION = 10.0  # s decoded at once


Scored = tuple[Chunk, np.ndarray, bool, float | None]
"""A chunk without its waveform, its scores, whether it holds speech, and its in-domain score."""


Progress = Callable[[float, float], None]
"""Takes the seconds that are done, and those in all; of a recording whose length its header does not state, as many."""


class Scorer(Protocol):
    """A `Recognizer`, or anything else with labels and gated scores."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the scores."""

    @property
    def prior(self) -> np.ndarray:
        """Shares of the classes that the scores assume, shape (classes,)."""

    def gated_scores(self, waveforms: list[np.ndarray]) -> GatedScores:
        """Scores of mono 16 kHz waveforms, and whether they hold speech."""


def recognize_timeline(
    scorer: Scorer,
    source: AudioSource,
    options: SegmentOptions = DEFAULTS,
    *,
    turns: Sequence[Turn] | None = None,
    channel: Channel = "mix",
    speakers: Mapping[str | None, Scorer] = MappingProxyType({}),
    limits: AudioLimits = STREAM_LIMITS,
    progress: Progress | None = None,
    open_stream: Callable[..., Any] = stream_audio,
) -> Timeline:
    """Recognise the emotions of a recording over time.

    The recording is decoded in blocks and scored in batches, so the memory does not grow with its length; only the
    segments are kept.

    Args:
        scorer: A recogniser.
        source: As for :func:`genser.audio.load_audio`.
        options: How to cut, smooth and merge.
        turns: Speaker turns to recognise instead of detected speech, in order of their start.
        channel: Number of the channel to recognise, from 1; "mix"; or "each" for the segments of every channel on one
            timeline. Turns that name a channel are then recognised there, and others in every channel.
        speakers: Recognisers for the turns of some speakers, adapted to them; with the labels of ``scorer``.
        limits: Bounds beyond which the recording is refused.
        progress: Called after every block; an exception from it ends the work.
        open_stream: Opens the recording as :func:`genser.audio.stream_audio` does, such as in another process.

    Raises:
        AudioError: The recording cannot be read, or all turns begin after its end.
    """
    check_channel(channel)
    given: dict[str, Any] = {"turns": turns, "speakers": speakers, "limits": limits, "progress": progress}
    given["open_stream"] = open_stream
    if channel == "each":
        timeline = _recognized_channels(scorer, source, options, **given)
    else:
        timeline = _recognized_channel(scorer, source, options, channel=channel, **given)
        _check_turns(turns or (), timeline.problems, timeline)
    if timeline.segments:
        return timeline
    return replace(timeline, remark=joined([*filter(None, [timeline.remark]), NO_SPEECH_FOUND]))


def _recognized_channel(
    scorer: Scorer,
    source: AudioSource,
    options: SegmentOptions,
    *,
    turns: Sequence[Turn] | None,
    channel: int | Literal["mix"],
    speakers: Mapping[str | None, Scorer],
    limits: AudioLimits,
    progress: Progress | None,
    open_stream: Callable[..., Any],
) -> Timeline:
    """The timeline of one channel, or of the mix; turns behind the end are its problems.

    The network that detects speech misses quiet voices, which the model's speech gate accepts at any level. So a quiet
    recording in which it finds none is searched once more, amplified, if it can be opened again.
    """
    number = None if channel == "mix" else channel

    def recognized(gain: float = 1.0) -> Timeline:
        """One pass; the gain is for the detection of speech, the model gets the sound as it is."""
        envelope = Envelope()
        stream = open_stream(source, channel=channel, block_duration=BLOCK_DURATION, limits=limits)
        blocks = (block * np.float32(gain) for block in _outlined(stream, envelope, progress))
        cutter = make_cutter(options, turns)
        chunks = (replace(chunk, waveform=chunk.waveform / np.float32(gain)) for chunk in cut(blocks, cutter))
        segments = decide(_joined(_recognized(scorer, speakers, chunks)), scorer.labels, scorer.prior, options)
        return Timeline(
            describe(source),
            stream.duration,
            tuple(scorer.labels),
            tuple(replace(segment, channel=number) for segment in segments),
            envelope.peaks(),
            problems=tuple(cutter.problems),
            heard=stream.heard,
            remark=joined([*filter(None, [stream.remark]), *cutter.remarks]),
            channels=() if number is None else (number,),
            mixed=stream.mixed,
        )

    timeline = recognized()
    peak = float(np.abs(timeline.envelope).max(initial=0.0))
    is_searched = turns is None and options.window is None
    if timeline.segments or not is_searched or not SILENT < peak < QUIET or not _opens_again(source):
        return timeline
    return replace(timeline, segments=recognized(FULL / peak).segments)


def _opens_again(source: AudioSource) -> bool:
    """Whether a source that was read can be read from its beginning; a pipe cannot."""
    if isinstance(source, str | os.PathLike):
        return is_url(source) or Path(source).is_file()
    seekable = getattr(source, "seekable", None)
    return not hasattr(source, "read") or (seekable is not None and seekable())


def _recognized_channels(
    scorer: Scorer,
    source: AudioSource,
    options: SegmentOptions,
    *,
    turns: Sequence[Turn] | None,
    speakers: Mapping[str | None, Scorer],
    limits: AudioLimits,
    progress: Progress | None,
    open_stream: Callable[..., Any],
) -> Timeline:
    """The timelines of all channels as one; its envelope encloses theirs.

    Turns that name a channel are recognised there, and others in every channel.
    """
    name, source = describe(source), source if _opens_again(source) else reusable(source, limits.max_bytes)
    channels = count_channels(source, limits)
    common: dict[str, Any] = {"speakers": speakers, "limits": limits, "open_stream": open_stream}
    given: dict[int, list[Turn] | None] = dict.fromkeys(range(1, channels + 1))
    problems: list[str] = []
    if turns is not None:
        given = {number: [turn for turn in turns if turn.channel in (None, number)] for number in given}
        if missing := sum(turn.channel is not None and turn.channel > channels for turn in turns):
            turns_are = counted(missing, "turn is on a channel", "turns are on channels")
            problems = [f"{turns_are} that the recording does not have; its last is {channels}."]
    wanted = {number: mine for number, mine in given.items() if mine is None or mine}
    parts = [
        _recognized_channel(
            *(scorer, source, options),
            turns=mine,
            channel=number,
            progress=_progress_of_part(progress, part, len(wanted)),
            **common,
        )
        for part, (number, mine) in enumerate(wanted.items())
    ]
    if not parts:
        raise AudioError(f"{name}: {' '.join(problems)} Correct the channels of the turns, or recognise the mix.")
    used = [turn for mine in given.values() for turn in mine or ()]
    _check_turns(used, [problem for part in parts for problem in part.problems], parts[0])
    segments = sorted((one for part in parts for one in part.segments), key=lambda one: (one.start, one.end))
    steps = min(len(part.envelope) for part in parts)
    peaks = np.stack([part.envelope[:steps] for part in parts])
    return replace(
        parts[0],
        path=name,
        segments=tuple(segments),
        envelope=np.stack([peaks[:, :, 0].min(axis=0), peaks[:, :, 1].max(axis=0)], axis=1),
        remark=joined([part.remark for part in parts if part.remark]),
        problems=(*problems, *dict.fromkeys(problem for part in parts for problem in part.problems)),
        channels=tuple(number for part in parts for number in part.channels),
    )


def _check_turns(turns: Sequence[Turn], problems: Sequence[str], found: Timeline) -> None:
    """Refuse turns of which none can be used, such as those that all begin after the end of the recording."""
    if not turns or len(problems) < len(turns):
        return
    end, first = found.heard or 0.0, min(turn.start for turn in turns)
    if first < end:
        raise AudioError(f"No turn can be used. {problems[0]} Check that the turns belong to this recording.")
    raise AudioError(
        f"All turns begin after the end of the recording at {end:.2f} s, the first at {first:.2f} s. Check that the "
        "turns belong to this recording."
    )


def _outlined(stream: Any, envelope: Envelope, progress: Progress | None) -> Iterator[np.ndarray]:
    for block in stream:
        envelope.push(block)
        yield block
        if progress:
            progress(envelope.duration, stream.duration)


def _progress_of_part(progress: Progress | None, part: int, parts: int) -> Progress | None:
    """Progress of one of several passes over a recording, as that of all of them."""
    if progress is None:
        return None
    return lambda done, total: progress(part * total + done, parts * total)


def cut(blocks: Iterable[np.ndarray], cutter: Cutter) -> Iterator[Chunk]:
    """The chunks of a recording, given its blocks of mono 16 kHz samples."""
    for block in blocks:
        yield from cutter.push(block)
    yield from cutter.close()


def _recognized(scorer: Scorer, speakers: Mapping[str | None, Scorer], chunks: Iterable[Chunk]) -> Iterator[Scored]:
    batch: list[Chunk] = []
    seconds = 0.0
    for chunk in chunks:
        batch.append(chunk)
        seconds += chunk.end - chunk.start
        if len(batch) == BATCH_CHUNKS or seconds >= BATCH_SECONDS:
            yield from _scored(scorer, speakers, batch)
            batch, seconds = [], 0.0
    yield from _scored(scorer, speakers, batch)


def _scored(scorer: Scorer, speakers: Mapping[str | None, Scorer], batch: list[Chunk]) -> Iterator[Scored]:
    parts: dict[str | None, list[Chunk]] = defaultdict(list)
    for chunk in batch:
        parts[chunk.speaker if chunk.speaker in speakers else None].append(chunk)
    for name, part in parts.items():
        found = speakers.get(name, scorer).gated_scores([chunk.waveform for chunk in part])
        for chunk, row in zip(part, found.rows(), strict=True):
            yield replace(chunk, waveform=np.empty(0, np.float32)), *row


def _joined(recognized: Iterable[Scored]) -> list[ChunkScore]:
    """Combine the chunks of each turn; drop other chunks without speech."""
    speech_filter, made = SpeechFilter(), list[ChunkScore]()
    turns: dict[int, list[ChunkScore]] = defaultdict(list)
    for chunk, scores, is_speech, familiar in recognized:
        if scored := speech_filter.take(chunk, scores, is_speech, familiar):
            (made if chunk.turn is None else turns[chunk.turn]).append(scored)
    return made + [_mean(parts) for parts in turns.values()]


def _mean(parts: list[ChunkScore]) -> ChunkScore:
    """Scores of a turn: the average over its parts with speech (all parts if there are none), weighted by duration."""
    used = [part for part in parts if part.is_speech] or parts
    durations = [part.end - part.start for part in used]
    scores = np.average([part.scores for part in used], axis=0, weights=durations)
    start, end = min(part.start for part in parts), max(part.end for part in parts)
    familiar = mean_familiar([(part.familiar, part.end - part.start) for part in used])
    return ChunkScore(start, end, scores, 1.0, parts[0].speaker, used[0].is_speech, familiar)
