"""Voice activity detection: finds regions of speech with silero-vad, two thresholds and minimum durations.

Every decision uses the past only, so a file and a live stream give the same regions.
"""

from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from genser.audio import SAMPLE_RATE
from genser.onnx_runtime import cpu_session
from genser.segments.options import SegmentOptions

FRAME = 512  # samples per probability: 32 ms
CONTEXT = 64  # samples before the frame that the network also receives
MOST_FRAMES = 512  # frames per run, which bounds the memory
MODEL = Path(__file__).parents[1] / "models" / "silero_vad.onnx"


@lru_cache(maxsize=1)
def _session() -> Any:
    return cpu_session(MODEL, threads=1)  # an LSTM over frames cannot use more


class SpeechDetector:
    """Speech probability of every frame of audio that comes in blocks."""

    def __init__(self) -> None:
        self._session = _session()
        self._hidden = self._cell = np.zeros((1, 1, 128), np.float32)
        self._context = np.zeros(CONTEXT, np.float32)
        self._rest = np.empty(0, np.float32)

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take mono 16 kHz samples of shape (samples,); return the probabilities of the frames that are complete."""
        samples = np.concatenate([self._rest, samples])
        frames = len(samples) // FRAME
        self._rest = samples[frames * FRAME :]
        whole = samples[: frames * FRAME].reshape(frames, FRAME)
        parts = [self._run(whole[i : i + MOST_FRAMES]) for i in range(0, frames, MOST_FRAMES)]
        return np.concatenate(parts) if parts else np.empty(0, np.float32)

    def close(self) -> np.ndarray:
        """Return the probability of the last, unfinished frame, padded with zeros; empty if there is none."""
        if not len(self._rest):
            return self._rest
        return self.push(np.zeros(FRAME - len(self._rest), np.float32))

    def _run(self, frames: np.ndarray) -> np.ndarray:
        before = np.concatenate([self._context[None], frames[:-1, -CONTEXT:]])
        inputs = {"input": np.concatenate([before, frames], axis=1), "h": self._hidden, "c": self._cell}
        self._context = frames[-1, -CONTEXT:]
        probabilities, self._hidden, self._cell = self._session.run(["speech_probs", "hn", "cn"], inputs)
        return probabilities


SHORT_PAUSE = 0.096  # s: pause that ends a region past half of its maximum duration (98 ms in silero-vad)
CUT_SEARCH = 0.4  # s before the maximum duration in which the least speech-like frame is chosen
HYSTERESIS = 0.15  # speech continues until its probability falls this far below the threshold, as in silero-vad


@dataclass(frozen=True)
class Region:
    """A stretch of speech, in samples.

    Attributes:
        start: First sample.
        end: One past the last sample.
        follows_cut: Whether it begins where the region before was cut for its length, not after a pause.
        is_cut: Whether it was cut for its length.
        decided: Number of samples after which the region was decided.
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
        """Take the probability of the next frame; return a region if this frame decides one."""
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
        """End the recording; return the region that was still open, if it is long enough."""
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
