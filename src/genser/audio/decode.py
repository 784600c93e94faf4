"""Decodes any source to mono float32 at 16 kHz, within limits that hostile input cannot exceed.

A truncated file is decoded up to its end; a file that is damaged in the middle is refused. Silence is valid audio.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import soxr

from genser.audio.readers import Reader
from genser.audio.sources import AudioSource, describe, open_reader
from genser.errors import AudioError, ConfigError, GenserError

SAMPLE_RATE = 16_000  # Hz
BLOCK_SAMPLES = 1 << 17  # decoded at once, over all channels: bounds the memory
LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000  # Hz
LOUDEST = 128.0  # in units of full scale; larger samples are unscaled integers, or damaged


@dataclass(frozen=True)
class AudioLimits:
    """Bounds of the audio that is accepted.

    Attributes:
        min_duration: Shortest duration in seconds. 25 ms is one analysis window of every encoder.
        max_duration: Longest duration in seconds, after cropping. Three hours take 690 MB as an array.
        max_bytes: Largest encoded size in bytes.
        max_channels: Most channels.
    """

    min_duration: float = 0.025
    max_duration: float = 3 * 3600.0
    max_bytes: int = 4 << 30
    max_channels: int = 32

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
    limits: AudioLimits = AudioLimits(),
) -> np.ndarray:
    """Decode a source, or the part of it between two times, as mono float32 at 16 kHz.

    Channels are averaged; integers are scaled to ±1; rates are converted by soxr in its high quality. Audio
    before `start` is skipped by seeking. An `end` after the end of the audio stops there.

    Args:
        source: Path ("-" is standard input), bytes, binary file object or (array, sample rate in Hz).
        start: Start in seconds.
        end: End in seconds.
        limits: Bounds beyond which the audio is refused.

    Returns:
        Samples of shape (samples,).

    Raises:
        AudioError: The source is missing, empty, not audio, damaged, not finite, too short, or beyond the limits.
        MissingExtraError: A container that needs PyAV, which is not installed.
    """
    _check_crop(start, end)
    return np.concatenate(list(_decoded(source, start or 0.0, end, limits)))


def stream_audio(
    source: AudioSource, *, block_duration: float = 30.0, limits: AudioLimits = STREAM_LIMITS
) -> Iterator[np.ndarray]:
    """Decode audio of any length in consecutive blocks of mono float32 at 16 kHz, in bounded memory.

    Together the blocks are what `load_audio` returns. All but the last have the same length.

    Args:
        source: As for `load_audio`.
        block_duration: Length of a block in seconds.
        limits: Bounds beyond which the audio is refused; any duration by default.

    Yields:
        Blocks of shape (samples,).

    Raises:
        AudioError: As for `load_audio`, when the decoder reaches the cause.
    """
    size = round(block_duration * SAMPLE_RATE) if math.isfinite(block_duration) else 0
    if size < 1:
        raise ConfigError(f"block_duration {block_duration} is not a time in seconds above 0. Choose one such as 30.")
    return _regrouped(_decoded(source, 0.0, None, limits), size)


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
    if not 0 <= (start or 0) < math.inf:
        raise AudioError(f"A clip cannot start at {start} s. Choose a start of 0 s or later.")
    if end is not None and not (start or 0) < end:
        raise AudioError(f"A clip from {start or 0} s to {end} s is empty. Choose an end after the start.")


def _check_header(reader: Reader, name: str, limits: AudioLimits) -> None:
    if not LOWEST_RATE <= reader.sample_rate <= HIGHEST_RATE:
        raise AudioError(
            f"{name} has a sample rate of {reader.sample_rate} Hz; {LOWEST_RATE} to {HIGHEST_RATE} Hz are allowed. "
            "Correct the rate, or resample it."
        )
    if not 1 <= reader.channels <= limits.max_channels:
        raise AudioError(
            f"{name} has {reader.channels} channels; 1 to {limits.max_channels} are allowed. An array is of shape "
            "(samples, channels), so transpose it; else mix the channels down, or raise AudioLimits.max_channels."
        )


def _decoded(source: AudioSource, start: float, end: float | None, limits: AudioLimits) -> Iterator[np.ndarray]:
    """Yield blocks of any length at 16 kHz; samples are counted, because a header can be wrong."""
    name, total = describe(source), 0
    with _audio_errors(name), open_reader(source, limits.max_bytes) as reader:
        _check_header(reader, name, limits)
        first = round(start * reader.sample_rate)
        last = None if end is None or math.isinf(end) else round(end * reader.sample_rate)
        _check_declared(reader, name, first, last, limits)
        for piece in _resampled(_mono(reader, name, first, last), reader.sample_rate):
            total += len(piece)
            _check_longest(total / SAMPLE_RATE, name, limits)
            yield piece
    _check_shortest(total, name, start, limits)


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
            f"{name} lasts {duration:.1f} s or more, the limit is {limits.max_duration:g} s. "
            "Stream it in blocks, split it, or raise AudioLimits.max_duration."
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


def _mono(reader: Reader, name: str, first: int, last: int | None) -> Iterator[np.ndarray]:
    """Yield the mean of the channels, block by block, from one frame up to another."""
    if first:
        reader.seek(first)
    position = first
    while last is None or position < last:
        wanted = _block_frames(reader)
        block = reader.read(wanted if last is None else min(wanted, last - position))
        if len(block) == 0:
            return
        _check_samples(block, name, position / reader.sample_rate)
        position += len(block)
        yield block.mean(axis=1)


def _check_samples(block: np.ndarray, name: str, seconds: float) -> None:
    peak = float(np.abs(block).max())
    if not math.isfinite(peak):
        raise AudioError(f"{name} holds NaN or infinite samples at or after {seconds:.2f} s. Repair or remove it.")
    if peak > LOUDEST:
        raise AudioError(
            f"{name} holds floating-point samples up to {peak:.4g}, where ±1 is full scale. "
            "Divide 16-bit values by 32768, or pass them as int16."
        )


def _resampled(blocks: Iterator[np.ndarray], sample_rate: float) -> Iterator[np.ndarray]:
    if sample_rate == SAMPLE_RATE:
        yield from blocks
        return
    resampler = soxr.ResampleStream(sample_rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.empty(0, np.float32), last=True)


def _regrouped(pieces: Iterator[np.ndarray], size: int) -> Iterator[np.ndarray]:
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
