"""Recognises live audio: blocks of any size go in, segments come out as soon as they are decided."""

import numpy as np
import soxr

from genser.audio import HIGHEST_RATE, LOUDEST, LOWEST_RATE, SAMPLE_RATE
from genser.audio.readers import ArrayReader
from genser.errors import AudioError, ConfigError
from genser.segments.chunking import Chunk, make_cutter
from genser.segments.decide import SpeechFilter, duration_of, make_segment, prior_of
from genser.segments.options import LIVE, SegmentOptions
from genser.segments.segment import Segment
from genser.segments.smoothing import CausalFilter
from genser.segments.timeline import Scorer
from genser.segments.vad import CUT_SEARCH, FRAME


class Stream:
    """Recognises audio that comes in blocks; the segments do not depend on the sizes of the blocks.

    The segments are those of a file with causal smoothing. A segment is returned at most `latency` seconds after its
    end, plus the time of the model and the length of a block.

    Args:
        scorer: A recogniser.
        options: How to cut; smoothing must be ``"causal"`` or ``"none"``, and neighbours are not merged, as both would
            need audio that has not come yet.
        sample_rate: Sample rate of the blocks in Hz.
    """

    def __init__(
        self,
        scorer: Scorer,
        options: SegmentOptions = LIVE,
        sample_rate: int = SAMPLE_RATE,
    ) -> None:
        if options.smoothing not in ("causal", "none") or options.merge is not None:
            raise ConfigError(
                f"A stream cannot look ahead: smoothing {options.smoothing!r} and merge {options.merge} need the "
                "complete recording. Use smoothing='causal' or 'none' and merge=None."
            )
        if not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
            raise AudioError(f"A stream cannot have {sample_rate} Hz. Use {LOWEST_RATE} to {HIGHEST_RATE} Hz.")
        self._scorer, self._options, self._rate = scorer, options, sample_rate
        self._labels = tuple(scorer.labels)
        self._filter = CausalFilter(prior_of(self._labels, options), duration_of(None, options))
        self._cutter, self._speech_filter = make_cutter(options), SpeechFilter()
        self._resampler = None
        if sample_rate != SAMPLE_RATE:
            self._resampler = soxr.ResampleStream(sample_rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        self._is_closed = self._uses_range = False

    @property
    def latency(self) -> float:
        """Longest time in seconds between the end of a segment and its decision."""
        frame = FRAME / SAMPLE_RATE
        if self._options.window:
            return (self._options.window - self._options.step) / 2
        return max(self._options.min_silence, CUT_SEARCH) + 2 * frame

    def push(self, samples: np.ndarray) -> list[Segment]:
        """Take a block: floats in ±1 or integers, shape (samples,) or (samples, channels), at the stream's rate.

        Returns:
            The segments that are now complete, often none.

        Raises:
            AudioError: The block is not audio.
            ConfigError: The stream is closed.
        """
        return self._recognized(self.cut(samples))

    def close(self) -> list[Segment]:
        """End the stream; return the segments that were still open."""
        return self._recognized(self.cut_last())

    def cut(self, samples: np.ndarray) -> list[Chunk]:
        """Take a block like `push`; return chunks, to be scored elsewhere and passed to `finish` in order."""
        if self._is_closed:
            raise ConfigError("The stream is closed. Open another one.")
        return list(self._cutter.push(self._resampled(self._mono(samples))))

    def cut_last(self) -> list[Chunk]:
        """End the stream like `close`; return the last chunks."""
        if self._is_closed:
            return []
        self._is_closed = True
        rest = self._resampled(np.empty(0, np.float32), last=True)
        return [*self._cutter.push(rest), *self._cutter.close()]

    def finish(self, chunk: Chunk, scores: np.ndarray, is_speech: bool = True) -> Segment | None:
        """The segment of a scored chunk.

        Args:
            chunk: The next chunk of `cut`.
            scores: Scores of the model, shape (classes,).
            is_speech: Whether the speech gate of the model finds speech.

        Returns:
            The segment; None without speech.
        """
        scored = self._speech_filter.take(chunk, scores, is_speech)
        if scored is None:
            return None
        scores = scored.scores
        if self._options.smoothing == "causal":
            scores = self._filter.step(scores, (scored.start + scored.end) / 2, scored.evidence)
        return make_segment(scored, scores, int(scores.argmax()), self._labels, self._options.confidence)

    def _recognized(self, chunks: list[Chunk]) -> list[Segment]:
        segments = []
        for chunk in chunks:
            rows, spoken = self._scorer.gated_scores([chunk.waveform])
            segments.append(self.finish(chunk, rows[0], bool(spoken[0])))
        return [segment for segment in segments if segment is not None]

    def _mono(self, samples: np.ndarray) -> np.ndarray:
        reader = ArrayReader((samples, self._rate), self._uses_range)
        self._uses_range |= samples.dtype == np.int32 and bool(samples.any())
        if not reader.frames or not reader.channels:
            return np.empty(0, np.float32)
        block = reader.read(reader.frames)
        peak = float(np.abs(block).max())
        if not peak <= LOUDEST:
            raise AudioError(
                f"A block holds samples up to {peak:g}, where ±1 is full scale. Pass int16, or floats in ±1."
            )
        return block.mean(axis=1)

    def _resampled(self, samples: np.ndarray, last: bool = False) -> np.ndarray:
        return self._resampler.resample_chunk(samples, last=last) if self._resampler else samples
