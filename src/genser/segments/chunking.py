"""Cuts audio that comes in blocks into chunks for the model: speech, windows or given turns, in bounded memory."""

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Protocol

import numpy as np

from genser.audio import SAMPLE_RATE
from genser.segments.options import SegmentOptions
from genser.segments.turns import Turn
from genser.segments.vad import Region, RegionTracker, SpeechDetector

ROUNDING = 0.1
"""Seconds by which a turn may reach past the end of a recording without a remark, as diarisation rounds times."""


@dataclass(frozen=True)
class Chunk:
    """A stretch of audio that the model scores at once.

    Attributes:
        start: Start of the segment in seconds, without context.
        end: End of the segment in seconds, without context.
        waveform: Input of the model, mono at 16 kHz, shape (samples,).
        evidence: Share of the waveform that is in no earlier chunk, in (0, 1].
        turn: Index of the turn that the chunk is part of; None without turns.
        speaker: Speaker of the turn, if known.
    """

    start: float
    end: float
    waveform: np.ndarray
    evidence: float = 1.0
    turn: int | None = None
    speaker: str | None = None


class Cutter(Protocol):
    """Turns consecutive blocks into chunks, each as soon as it is decided."""

    @property
    def problems(self) -> Sequence[str]:
        """Sentences on turns that could not be cut, as they lie behind the end; complete after `close`."""

    @property
    def remarks(self) -> Sequence[str]:
        """Sentences on turns that were shortened; complete after `close`."""

    def push(self, block: np.ndarray) -> Iterator[Chunk]:
        """Take mono 16 kHz samples of shape (samples,); yield the chunks that are complete."""

    def close(self) -> Iterator[Chunk]:
        """End the recording; yield the remaining chunks."""


def make_cutter(options: SegmentOptions, turns: Sequence[Turn] | None = None) -> Cutter:
    """The cutter for turns if given, for fixed windows if the options have a window, else for detected speech."""
    if turns is not None:
        return TurnCutter(turns, options.max_duration)
    return WindowCutter(options.window, options.step) if options.window else SpeechCutter(options)


class AudioBuffer:
    """The latest part of a recording, addressed by sample numbers from its beginning."""

    def __init__(self) -> None:
        self._blocks: deque[np.ndarray] = deque()
        self._start = self.end = 0

    def append(self, block: np.ndarray) -> None:
        """Add samples at the end."""
        if len(block):
            self._blocks.append(block)
            self.end += len(block)

    def read(self, start: int, end: int) -> np.ndarray:
        """Return a copy of the samples from start up to end."""
        parts, at = [], self._start
        for block in self._blocks:
            if at < end and at + len(block) > start:
                parts.append(block[max(start - at, 0) : end - at])
            at += len(block)
        return np.concatenate(parts) if parts else np.empty(0, np.float32)

    def forget(self, before: int) -> None:
        """Drop blocks that end at or before this sample."""
        while self._blocks and self._start + len(self._blocks[0]) <= before:
            self._start += len(self._blocks.popleft())


class SpeechCutter:
    """Cuts at detected speech."""

    problems: Sequence[str] = ()
    remarks: Sequence[str] = ()

    def __init__(self, options: SegmentOptions) -> None:
        self._context = round(options.context * SAMPLE_RATE)
        self._detector, self._tracker, self._buffer = SpeechDetector(), RegionTracker(options), AudioBuffer()
        self._last_end = 0

    def push(self, block: np.ndarray) -> Iterator[Chunk]:
        """See `Cutter`."""
        self._buffer.append(block)
        yield from self._chunks(self._detector.push(block))
        self._buffer.forget(self._tracker.open_since - self._context - SAMPLE_RATE)

    def close(self) -> Iterator[Chunk]:
        """See `Cutter`."""
        yield from self._chunks(self._detector.close())
        if region := self._tracker.close():
            yield self._chunk(region)

    def _chunks(self, probabilities: np.ndarray) -> Iterator[Chunk]:
        for probability in probabilities.tolist():
            if region := self._tracker.step(probability):
                yield self._chunk(region)

    def _chunk(self, region: Region) -> Chunk:
        end = min(region.end, self._buffer.end)  # the last frame may have been filled up with zeros
        first = region.start if region.follows_cut else max(region.start - self._context, self._last_end)
        # Audio after the moment of decision is not used, so that the chunk does not depend on the size of the blocks.
        last = end if region.is_cut else min(end + self._context, region.decided, self._buffer.end)
        self._last_end = end
        return Chunk(region.start / SAMPLE_RATE, end / SAMPLE_RATE, self._buffer.read(first, last))


class WindowCutter:
    """Cuts windows at equal steps; each stands for the stretch around its middle to which no other window is closer."""

    problems: Sequence[str] = ()
    remarks: Sequence[str] = ()

    def __init__(self, window: float, hop: float) -> None:
        self._window, self._hop = round(window * SAMPLE_RATE), round(hop * SAMPLE_RATE)
        self._buffer = AudioBuffer()
        self._next = self._covered = self._seen = 0

    def push(self, block: np.ndarray) -> Iterator[Chunk]:
        """See `Cutter`."""
        self._buffer.append(block)
        while self._next + self._window <= self._buffer.end:
            yield self._chunk(self._next, self._next + (self._window + self._hop) // 2)
            self._next += self._hop
        self._buffer.forget(self._buffer.end - self._window)

    def close(self) -> Iterator[Chunk]:
        """See `Cutter`: the last window that fits covers the rest of the recording."""
        if self._buffer.end > self._covered:
            yield self._chunk(max(self._buffer.end - self._window, 0), self._buffer.end)

    def _chunk(self, first: int, covers_until: int) -> Chunk:
        last = min(first + self._window, self._buffer.end)
        evidence = max(last - max(first, self._seen), 1) / (last - first)
        start, self._covered, self._seen = self._covered, covers_until, last
        return Chunk(start / SAMPLE_RATE, covers_until / SAMPLE_RATE, self._buffer.read(first, last), evidence)


class TurnCutter:
    """Cuts at given turns; a long turn is cut into equal chunks."""

    def __init__(self, turns: Sequence[Turn], max_duration: float) -> None:
        self.problems: list[str] = []
        self.remarks: list[str] = []
        self._turns = turns
        self._buffer = AudioBuffer()
        self._counts = [ceil((turn.end - turn.start) / max_duration) for turn in turns]
        self._ahead: list[tuple[int, int, int]] = []  # (start, turn, part): a heap
        for index, turn in enumerate(turns):
            start = self._edge(index, 0)
            if round(turn.end * SAMPLE_RATE) > start:
                self._ahead.append((start, index, 0))
            else:
                self.problems.append(f"The turn at {turn.start:.2f} s is shorter than one sample.")
        heapq.heapify(self._ahead)
        self._open: list[tuple[int, int, int]] = []  # (end, start, turn): a heap

    def push(self, block: np.ndarray) -> Iterator[Chunk]:
        """See `Cutter`."""
        self._buffer.append(block)
        while self._ahead and self._ahead[0][0] < self._buffer.end:
            start, index, part = heapq.heappop(self._ahead)
            end = self._edge(index, part + 1)
            heapq.heappush(self._open, (end, start, index))
            if part + 1 < self._counts[index]:  # one part at a time, as a turn may be endless
                heapq.heappush(self._ahead, (end, index, part + 1))
        while self._open and self._open[0][0] <= self._buffer.end:
            yield self._chunk(*heapq.heappop(self._open))
        self._buffer.forget(min((start for _, start, _ in self._open), default=self._buffer.end))

    def close(self) -> Iterator[Chunk]:
        """See `Cutter`: turns that run past the end of the recording are shortened; those behind it are problems."""
        while self._open:
            end, start, index = heapq.heappop(self._open)
            yield self._chunk(min(end, self._buffer.end), start, index)
        duration = f"{self._buffer.end / SAMPLE_RATE:.2f} s"
        self.problems += [
            f"A turn begins at {start / SAMPLE_RATE:.2f} s, after the end of the recording at {duration}."
            for start, _, part in sorted(self._ahead)
            if part == 0
        ]
        last = self._buffer.end / SAMPLE_RATE
        cut = [turn.end - last for turn in self._turns if turn.start < last and turn.end > last + ROUNDING]
        if cut:
            reach, end = ("turn reaches", "ends") if len(cut) == 1 else ("turns reach", "end")
            self.remarks.append(f"{len(cut)} {reach} up to {max(cut):.2f} s past the end, and {end} there.")

    def _edge(self, index: int, part: int) -> int:
        """Sample at which a part of a turn begins, and the one before it ends."""
        turn, count = self._turns[index], self._counts[index]
        first, last = turn.start * SAMPLE_RATE, turn.end * SAMPLE_RATE
        return round(last if part == count else first + part * ((last - first) / count))

    def _chunk(self, end: int, start: int, index: int) -> Chunk:
        waveform, speaker = self._buffer.read(start, end), self._turns[index].speaker
        return Chunk(start / SAMPLE_RATE, end / SAMPLE_RATE, waveform, turn=index, speaker=speaker or None)
