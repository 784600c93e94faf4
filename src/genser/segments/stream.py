"""Recognises live audio: blocks of any size go in, segments come out as soon as they are decided."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from genser.audio import HIGHEST_RATE, LOWEST_RATE, SAMPLE_RATE, AudioLimits
from genser.audio.mixing import BLOCK
from genser.audio.mono import MonoConverter, check_samples
from genser.audio.readers import ArrayReader
from genser.errors import AudioError, ConfigError
from genser.segments.chunking import Chunk, make_cutter
from genser.segments.decide import SpeechFilter, duration_of, make_segment
from genser.segments.options import LIVE, SegmentOptions
from genser.segments.segment import Segment
from genser.segments.smoothing import CausalFilter
from genser.segments.timeline import Scorer
from genser.segments.vad import CUT_SEARCH, FRAME

LIKELY_CHANNELS = 8
"""A first block with more channels than this, and fewer samples than channels, is of shape (channels, samples)."""


class ChunkStream:
    """Cuts audio that comes in blocks into chunks, and makes segments of them once they are scored elsewhere.

    Args:
        labels: Class names in the order of the scores.
        prior: Shares of the classes that the scores assume, shape (classes,).
        options: How to cut; smoothing must be ``"causal"`` or ``"none"``, and neighbours are not merged, as both would
            need audio that has not come yet.
        sample_rate: Sample rate of the blocks in Hz.
        channels: Number of channels of the blocks; if omitted, the first block decides.
        channel: Number of the channel to use, from 1; or "mix", as for files.

    Raises:
        AudioError: The sample rate is out of range, or there is no such channel.
        ConfigError: The options need audio that has not come yet.
    """

    def __init__(
        self,
        labels: Sequence[str],
        prior: np.ndarray,
        options: SegmentOptions = LIVE,
        sample_rate: int = SAMPLE_RATE,
        *,
        channels: int | None = None,
        channel: int | Literal["mix"] = "mix",
    ) -> None:
        if options.smoothing not in ("causal", "none"):
            raise ConfigError(
                f"Live audio has no future, which the smoothing {options.smoothing!r} needs. Choose causal or none."
            )
        if options.merge is not None:
            raise ConfigError(f"Live audio has no future, which merge {options.merge:g} needs. Omit it.")
        if not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
            raise AudioError(f"A stream cannot have {sample_rate} Hz. Use {LOWEST_RATE} to {HIGHEST_RATE} Hz.")
        self._labels, self._options, self._rate = tuple(labels), options, sample_rate
        self._filter = CausalFilter(prior, duration_of(None, options))
        self._cutter, self._speech_filter = make_cutter(options), SpeechFilter()
        self._channels, self._channel, self._frames = channels, channel, 0
        self._converter = None if channels is None else MonoConverter(sample_rate, channels, channel)
        self._is_closed = self._uses_range = False

    @property
    def latency(self) -> float:
        """Longest time in seconds between the end of a segment and its decision.

        Several channels that are mixed add half a second, which are decided together.
        """
        mixing = BLOCK if self._channel == "mix" and (self._channels or 1) > 1 else 0.0
        if self._options.window:
            return (self._options.window - self._options.step) / 2 + mixing
        return max(self._options.min_silence, CUT_SEARCH) + 2 * FRAME / SAMPLE_RATE + mixing

    @property
    def remark(self) -> str | None:
        """What a user must know about the audio so far, such as that channels cancel each other; None if nothing."""
        return self._converter.remark if self._converter else None

    def cut(self, samples: np.ndarray) -> list[Chunk]:
        """Take a block: floats in ±1 or integers, shape (samples,) or (samples, channels), at the stream's rate.

        Returns:
            The chunks that are now complete, often none, to be passed to `finish` in order.

        Raises:
            AudioError: The block is not audio, has another number of channels than the first one, or the stream has no
                such channel. Blocks before and after it are not affected.
            ConfigError: The stream is closed.
        """
        if self._is_closed:
            raise ConfigError("The stream is closed. Open another one.")
        return list(self._cutter.push(self._mono(samples)))

    def cut_last(self) -> list[Chunk]:
        """End the stream; return the last chunks."""
        if self._is_closed:
            return []
        self._is_closed = True
        rest = self._converter.close() if self._converter else np.empty(0, np.float32)
        return [*self._cutter.push(rest), *self._cutter.close()]

    def finish(
        self, chunk: Chunk, scores: np.ndarray, is_speech: bool = True, familiar: float | None = None
    ) -> Segment | None:
        """The segment of a scored chunk.

        Args:
            chunk: The next chunk of `cut`.
            scores: Scores of the model, shape (classes,).
            is_speech: Whether the speech gate of the model finds speech.
            familiar: In-domain score; None if the model has none.

        Returns:
            The segment; None without speech.
        """
        scored = self._speech_filter.take(chunk, scores, is_speech, familiar)
        if scored is None:
            return None
        scores = scored.scores
        if self._options.smoothing == "causal":
            scores = self._filter.step(scores, (scored.start + scored.end) / 2, scored.evidence)
        return make_segment(scored, scores, int(scores.argmax()), self._labels, self._options.confidence)

    def _mono(self, samples: np.ndarray) -> np.ndarray:
        reader = ArrayReader((samples, self._rate), self._uses_range)
        self._uses_range |= samples.dtype == np.int32 and bool(samples.any())
        if not reader.frames:
            return np.empty(0, np.float32)
        self._check_channels(reader.frames, reader.channels)
        block = reader.read(reader.frames)
        check_samples(block, "The block", self._frames / self._rate)
        if self._converter is None:
            self._channels = reader.channels
            self._converter = MonoConverter(self._rate, reader.channels, self._channel)
        self._frames += reader.frames
        return self._converter.push(block)

    def _check_channels(self, frames: int, channels: int) -> None:
        """Refuse blocks of shape (channels, samples), and a number of channels that changes."""
        most = AudioLimits().max_channels
        cure = "Pass blocks of shape (samples,) or (samples, channels); transpose (channels, samples)."
        if self._channels is None and (not 1 <= channels <= most or (frames < channels and channels > LIKELY_CHANNELS)):
            raise AudioError(f"A block of shape ({frames}, {channels}) has {channels} channels. {cure}")
        if self._channels is not None and channels != self._channels:
            raise AudioError(f"A block has {channels} channels, the stream has {self._channels}. {cure}")


class Stream(ChunkStream):
    """Recognises audio that comes in blocks; the segments do not depend on the sizes of the blocks.

    The segments are those of a file with causal smoothing. A segment is returned at most `latency` seconds after its
    end, plus the time of the model and the length of a block.

    Args:
        scorer: A recogniser.
        options: As for :class:`ChunkStream`.
        sample_rate: As for :class:`ChunkStream`.
        channels: As for :class:`ChunkStream`.
        channel: As for :class:`ChunkStream`.

    Raises:
        AudioError: As for :class:`ChunkStream`.
        ConfigError: As for :class:`ChunkStream`.
    """

    def __init__(
        self,
        scorer: Scorer,
        options: SegmentOptions = LIVE,
        sample_rate: int = SAMPLE_RATE,
        *,
        channels: int | None = None,
        channel: int | Literal["mix"] = "mix",
    ) -> None:
        super().__init__(scorer.labels, scorer.prior, options, sample_rate, channels=channels, channel=channel)
        self._scorer = scorer

    def push(self, samples: np.ndarray) -> list[Segment]:
        """Take a block as :meth:`cut` does; return the segments that are now complete, often none.

        Raises:
            AudioError: As for :meth:`cut`.
            ConfigError: As for :meth:`cut`.
        """
        return self._recognized(self.cut(samples))

    def close(self) -> list[Segment]:
        """End the stream; return the segments that were still open."""
        return self._recognized(self.cut_last())

    def _recognized(self, chunks: list[Chunk]) -> list[Segment]:
        segments = []
        for chunk in chunks:
            (row,) = self._scorer.gated_scores([chunk.waveform]).rows()
            segments.append(self.finish(chunk, *row))
        return [segment for segment in segments if segment is not None]
