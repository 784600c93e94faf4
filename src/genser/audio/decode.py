"""Decodes any source to mono float32 at 16 kHz, within limits that hostile input cannot exceed.

A truncated file is decoded up to its end; a file that is damaged in the middle is refused. Silence is valid audio.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from genser.audio.mixing import BLOCK, Channel, check_channel
from genser.audio.mono import SAMPLE_RATE, MonoConverter, check_samples, joined
from genser.audio.readers import Reader
from genser.audio.sources import AudioSource, describe, open_reader
from genser.errors import AudioError, ConfigError, GenserError

BLOCK_SAMPLES = 1 << 17  # decoded at once, over all channels: bounds the memory
LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000  # Hz
INCOMPLETE = 0.05  # s; a recording that ends earlier than its header states by more than this gets a remark


@dataclass(frozen=True)
class AudioLimits:
    """Bounds of the audio that is accepted.

    Attributes:
        min_duration: Shortest duration in seconds. 25 ms is one analysis window of every encoder.
        max_duration: Longest duration in seconds, after cropping. Three hours take 690 MB as an array.
        max_bytes: Largest encoded size in bytes.
        max_channels: Most channels.
        cure_of_longer: What the error on longer audio advises.
    """

    min_duration: float = 0.025
    max_duration: float = 3 * 3600.0
    max_bytes: int = 4 << 30
    max_channels: int = 32
    cure_of_longer: str = field(default="Split it, or raise the limit.", repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.min_duration <= self.max_duration:
            raise ConfigError(
                f"min_duration {self.min_duration} and max_duration {self.max_duration} leave no valid duration. "
                "Choose 0 <= min_duration <= max_duration."
            )
        if self.max_bytes < 1 or self.max_channels < 1:
            raise ConfigError(
                f"max_bytes {self.max_bytes} and max_channels {self.max_channels} must be at least 1. Raise them."
            )


STREAM_LIMITS = AudioLimits(max_duration=math.inf)


@dataclass(frozen=True)
class AudioInfo:
    """Properties of audio from its header.

    Attributes:
        duration: In seconds, from the header.
        sample_rate: In Hz, of the source.
        channels: Of the source.
        format: As libsndfile names it ("WAV", "FLAC", …), PyAV's container in capitals, or "array".
    """

    duration: float
    sample_rate: int
    channels: int
    format: str


def load_audio(
    source: AudioSource,
    *,
    start: float | None = None,
    end: float | None = None,
    channel: Channel = "mix",
    limits: AudioLimits = AudioLimits(),
) -> np.ndarray:
    """Decode a source, or the part of it between two times, as mono float32 at 16 kHz.

    Channels are averaged, except those that would cancel each other, see :mod:`genser.audio.mixing`. Integers are
    scaled to ±1. Rates are converted by soxr in its high quality. Audio before `start` is skipped by seeking. An `end`
    after the end of the audio stops there. :func:`stream_audio` also returns remarks, such as that the file is cut off.

    Args:
        source: Path ("-" is standard input), bytes, binary file object or (array, sample rate in Hz).
        start: Start in seconds.
        end: End in seconds.
        channel: Number of a channel from 1, or "mix". "each" is refused: load the channels one by one.
        limits: Bounds beyond which the audio is refused.

    Returns:
        Samples of shape (samples,).

    Raises:
        AudioError: The source is missing, empty, not audio, damaged, not finite, too short, beyond the limits, or has
            no such channel.
        MissingExtraError: A container that needs PyAV, which is not installed.
    """
    return stream_audio(source, start=start, end=end, channel=channel, limits=limits).read()


def stream_audio(
    source: AudioSource,
    *,
    start: float | None = None,
    end: float | None = None,
    channel: Channel = "mix",
    block_duration: float = 30.0,
    limits: AudioLimits = STREAM_LIMITS,
) -> "AudioStream":
    """Decode audio of any length in consecutive blocks of mono float32 at 16 kHz, in bounded memory.

    Together the blocks are what `load_audio` returns. All but the last have the same length.

    Args:
        source: As for `load_audio`.
        start: Start in seconds.
        end: End in seconds.
        channel: As for `load_audio`.
        block_duration: Length of a block in seconds.
        limits: Bounds beyond which the audio is refused; any duration by default.

    Returns:
        An iterator of blocks of shape (samples,), with the duration and the remarks. The source is opened at the first
        block.

    Raises:
        AudioError: As for `load_audio`, when the decoder reaches the cause.
    """
    _check_crop(start, end)
    check_channel(channel)
    if channel == "each":
        raise ConfigError("Audio is decoded as mono, so not as channel 'each'. Choose a number from 1, or 'mix'.")
    size = round(block_duration * SAMPLE_RATE) if math.isfinite(block_duration) else 0
    if size < 1:
        raise ConfigError(f"block_duration {block_duration} is not a time in seconds above 0. Choose one such as 30.")
    return AudioStream(source, start or 0.0, end, channel, size, limits)


class AudioStream:
    """Blocks of mono audio at 16 kHz, and what is known about their source so far; made by :func:`stream_audio`.

    Attributes:
        name: Name of the source for messages.
    """

    def __init__(
        self,
        source: AudioSource,
        start: float,
        end: float | None,
        channel: int | Literal["mix"],
        size: int,
        limits: AudioLimits,
    ) -> None:
        self._source, self._start, self._end, self._channel = source, start, end, channel
        self._limits, self.name = limits, describe(source)
        self._samples = 0
        self._declared: float | None = None
        self._remarks: list[str] = []
        self.mixed = 0  # different channels that were mixed, complete after the last block
        self._blocks = _regrouped(self._decoded(), size)

    @property
    def heard(self) -> float:
        """Seconds that were decoded so far."""
        seconds = self._samples / SAMPLE_RATE
        stated = self._declared
        return stated if stated is not None and 0 < seconds - stated <= 1 / SAMPLE_RATE else seconds

    @property
    def duration(self) -> float:
        """Length in seconds of the source, or of the part between the times, by its header.

        Where the header does not state it, or states less than was decoded, the seconds that were decoded so far. The
        header of m4a and mp4 does not count what the encoder adds to fill its last frame.
        """
        return max(self.heard, self._declared or 0.0)

    @property
    def remark(self) -> str | None:
        """What a user must know about the source, complete after the last block; None if there is nothing."""
        return joined(self._remarks)

    def __iter__(self) -> Iterator[np.ndarray]:
        return self

    def __next__(self) -> np.ndarray:
        return next(self._blocks)

    def read(self) -> np.ndarray:
        """Decode the rest at once; shape (samples,), without samples if it was read before."""
        return np.concatenate([np.empty(0, np.float32), *self])

    def blocks(self, samples: int) -> Iterator[np.ndarray]:
        """The rest in blocks of another length."""
        return _regrouped(self, samples)

    def _decoded(self) -> Iterator[np.ndarray]:
        """Yield blocks of any length at 16 kHz; samples are counted, because a header can be wrong."""
        name, limits = self.name, self._limits
        with _audio_errors(name), open_reader(self._source, limits.max_bytes) as reader:
            _check_header(reader, name, limits)
            rate = reader.sample_rate
            first = round(self._start * rate)
            last = None if self._end is None or math.isinf(self._end) else round(self._end * rate)
            _check_declared(reader, name, first, last, limits)
            if reader.frames is not None:
                self._declared = (min(reader.frames, reader.frames if last is None else last) - first) / rate
            begin = _settled(first, rate)
            frames = None if last is None else last - first
            try:
                converter = MonoConverter(rate, reader.channels, self._channel, skip=first - begin, frames=frames)
            except AudioError as error:
                raise AudioError(f"{name}: {error}") from error
            for piece in _converted(reader, name, converter, begin, last, first):
                self._samples += len(piece)
                _check_longest(self.heard, name, limits)
                yield piece
            if reader.frames is None:  # another file followed what the header states
                self._declared = None
            self._remarks = [*reader.remarks, *filter(None, [self._shortfall(reader.remarks), converter.remark])]
            self.mixed = converter.mixed
        _check_shortest(self._samples, name, self._start, limits)

    def _shortfall(self, remarks: Sequence[str]) -> str | None:
        """A remark if less was decoded than the header states, unless the reader has one on it."""
        if self._declared is None or self.heard >= self._declared - INCOMPLETE or remarks:
            return None
        return f"The header states {self._declared:.2f} s, but the recording ends after {self.heard:.2f} s."


def count_channels(source: AudioSource, limits: AudioLimits = STREAM_LIMITS) -> int:
    """Number of channels of a source by its header.

    Raises:
        AudioError: The source is missing, empty, not audio or beyond the limits.
    """
    with _audio_errors(describe(source)), open_reader(source, limits.max_bytes) as reader:
        _check_header(reader, describe(source), limits)
        return reader.channels


def probe_audio(source: AudioSource) -> AudioInfo:
    """Read the header; decode the audio only if the header leaves its length open.

    Raises:
        AudioError: The source is missing, empty or not audio.
    """
    with _audio_errors(describe(source)), open_reader(source, STREAM_LIMITS.max_bytes) as reader:
        _check_header(reader, describe(source), STREAM_LIMITS)
        frames = _counted(reader) if reader.frames is None else reader.frames
        return AudioInfo(frames / reader.sample_rate, round(reader.sample_rate), reader.channels, reader.format)


@contextmanager
def _audio_errors(name: str) -> Iterator[None]:
    """Turn any error of a decoder into an AudioError, so that one unusual file cannot stop the work on others."""
    try:
        yield
    except (GenserError, MemoryError):
        raise
    except Exception as error:
        raise AudioError(f"{name} cannot be decoded: {error or repr(error)}. Convert it to wav or flac.") from error


def _counted(reader: Reader) -> int:
    frames = 0
    while block := len(reader.read(_block_frames(reader))):
        frames += block
    return frames


def _check_crop(start: float | None, end: float | None) -> None:
    if isinstance(start, bool) or not 0 <= (start or 0) < math.inf:
        raise AudioError(f"A clip cannot start at {start} s. Choose a start of 0 s or later.")
    if end is not None and (isinstance(end, bool) or not (start or 0) < end):
        raise AudioError(f"A clip from {start or 0} s to {end} s is empty. Choose an end after the start.")


def _check_header(reader: Reader, name: str, limits: AudioLimits) -> None:
    if not LOWEST_RATE <= reader.sample_rate <= HIGHEST_RATE:
        raise AudioError(
            f"{name} has a sample rate of {reader.sample_rate} Hz; {LOWEST_RATE} to {HIGHEST_RATE} Hz are allowed. "
            "Correct the rate, or resample it."
        )
    if not 1 <= reader.channels <= limits.max_channels:
        raise AudioError(
            f"{name} has {reader.channels} channels; 1 to {limits.max_channels} are allowed. "
            "Mix the channels down, or raise the limit."
        )


def _check_declared(reader: Reader, name: str, first: int, last: int | None, limits: AudioLimits) -> None:
    if reader.frames is None:
        return
    if first and first >= reader.frames:
        raise AudioError(
            f"{name} lasts {reader.frames / reader.sample_rate:.3f} s; a clip cannot start at "
            f"{first / reader.sample_rate:.3f} s. Correct the start."
        )
    frames = min(reader.frames, reader.frames if last is None else last) - first
    _check_longest(frames / reader.sample_rate, name, limits)


def _check_longest(duration: float, name: str, limits: AudioLimits) -> None:
    if duration > limits.max_duration:
        raise AudioError(
            f"{name} lasts {duration:.1f} s or more, the limit is {limits.max_duration:g} s. {limits.cure_of_longer}"
        )


def _check_shortest(samples: int, name: str, start: float, limits: AudioLimits) -> None:
    where = f" from {start:g} s on" if start else ""
    if samples == 0:
        raise AudioError(f"{name} holds no samples{where}. Record or copy it again.")
    # A rate that does not divide 16 kHz rounds the number of samples, by one at most.
    if samples + 1 < limits.min_duration * SAMPLE_RATE:
        raise AudioError(
            f"{name} holds {1000 * samples / SAMPLE_RATE:.1f} ms of audio{where}, at least "
            f"{1000 * limits.min_duration:g} ms are needed. Remove it, or join it with its neighbour."
        )


def _block_frames(reader: Reader) -> int:
    return max(BLOCK_SAMPLES // reader.channels, 1)


def _settled(first: int, sample_rate: float) -> int:
    """A frame from which decoding gives, from `first` on, the samples that decoding from the beginning gives.

    The mixer decides blocks that are counted from the beginning, and fades from the one before.
    """
    block = max(round(BLOCK * sample_rate), 1)
    return max(first // block - 1, 0) * block


def _converted(
    reader: Reader, name: str, converter: MonoConverter, begin: int, last: int | None, first: int
) -> Iterator[np.ndarray]:
    """Yield mono samples at 16 kHz, block by block, decoded from one frame up to another."""
    if begin:
        reader.seek(begin)
    position, wanted = begin, _block_frames(reader)
    if last is not None and reader.channels > 1:  # the mixer decides complete blocks
        size = max(round(BLOCK * reader.sample_rate), 1)
        last = -(-last // size) * size
    while last is None or position < last:
        block = reader.read(wanted if last is None else min(wanted, last - position))
        if len(block) == 0:
            break
        block[: max(first - position, 0)] = np.nan_to_num(block[: max(first - position, 0)], posinf=0, neginf=0)
        check_samples(block, name, position / reader.sample_rate)
        position += len(block)
        yield converter.push(block)
    yield converter.close()


def _regrouped(pieces: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    held: list[np.ndarray] = []
    count = 0
    for piece in pieces:
        held.append(piece)
        count += len(piece)
        if count < size:
            continue
        joined = np.concatenate(held)
        full = count - count % size
        yield from joined[:full].reshape(-1, size)
        held, count = [joined[full:]], count - full
    if count:
        yield np.concatenate(held)
