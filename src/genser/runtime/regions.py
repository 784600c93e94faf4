"""Speech probabilities become regions of speech: two thresholds, least durations, and a cut where speech never pauses.

Every decision uses the past alone, so a file and a live stream of the same sound give the same regions.
"""

from collections import deque
from dataclasses import dataclass

from genser.audio import SAMPLE_RATE
from genser.runtime.options import SegmentOptions
from genser.runtime.vad import FRAME

SHORT_PAUSE = 0.096  # s: ends a region that is past half of its longest duration (98 ms in silero-vad)
CUT_SEARCH = 0.4  # s before the longest duration in which the least speech-like frame is sought
HYSTERESIS = 0.15  # speech goes on until its probability falls this far below the threshold, as in silero-vad


@dataclass(frozen=True)
class Region:
    """A stretch of speech, in samples.

    Attributes:
        start: First sample.
        end: One past the last sample.
        follows_cut: It begins where the one before was cut for its length, not after a pause.
        is_cut: It was cut for its length.
        decided: Number of samples after which it was decided.
    """

    start: int
    end: int
    follows_cut: bool
    is_cut: bool
    decided: int


class RegionTracker:
    """Finds regions frame by frame."""

    def __init__(self, options: SegmentOptions) -> None:
        self._options = options
        self._position = 0
        self._start: int | None = None
        self._quiet: int | None = None
        self._follows_cut = False
        self._recent: deque[tuple[float, int]] = deque(maxlen=round(CUT_SEARCH * SAMPLE_RATE / FRAME))

    @property
    def open_since(self) -> int:
        """First sample that may still become part of a region."""
        return self._position if self._start is None else self._start

    def step(self, probability: float) -> Region | None:
        """Take the probability of the next frame; return the region that it decides, if any."""
        frame, self._position = self._position, self._position + FRAME
        self._recent.append((probability, frame))
        if probability >= self._options.threshold:
            self._quiet = None
            if self._start is None:
                self._start, self._follows_cut = frame, False
        if self._start is None:
            return None
        if probability < self._options.threshold - HYSTERESIS and self._quiet is None:
            self._quiet = frame
        return self._decide(self._start)

    def close(self) -> Region | None:
        """End the sound; return the region that was still open, if it is long enough."""
        if self._start is None:
            return None
        return self._end(self._start, self._position if self._quiet is None else self._quiet)

    def _decide(self, start: int) -> Region | None:
        duration = (self._position - start) / SAMPLE_RATE
        pause = self._options.min_silence
        if duration >= self._options.max_duration / 2:
            pause = min(pause, SHORT_PAUSE)
        if self._quiet is not None and self._position - self._quiet >= pause * SAMPLE_RATE:
            return self._end(start, self._quiet)
        if duration >= self._options.max_duration:
            return self._cut(start)
        return None

    def _end(self, start: int, end: int) -> Region | None:
        region = Region(start, end, self._follows_cut, False, self._position)
        self._start = self._quiet = None
        return region if end - start >= self._options.min_speech * SAMPLE_RATE else None

    def _cut(self, start: int) -> Region:
        _, end = min(self._recent)
        region = Region(start, end, self._follows_cut, True, self._position)
        self._start, self._follows_cut = end, True
        if self._quiet is not None and self._quiet < end:
            self._quiet = end
        return region
