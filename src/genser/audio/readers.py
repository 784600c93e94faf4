"""Readers of audio: frames of float32 in order, from arrays, libsndfile or PyAV."""

import io
from collections.abc import Iterator
from typing import Any, BinaryIO, Protocol, cast

import numpy as np
import soundfile

from genser.errors import AudioError, MissingExtraError

ByteStream = io.RawIOBase | io.BytesIO
"""An open file that can seek."""

# The demuxer is always given: FFmpeg alone would accept a playlist and open the files and URLs in it.
SIGNATURES = (
    (4, b"ftyp", "mov"),
    (4, b"moov", "mov"),
    (4, b"mdat", "mov"),
    (0, b"\x1a\x45\xdf\xa3", "matroska"),
    (0, b"#!AMR", "amr"),
    (0, b"\x30\x26\xb2\x75", "asf"),
    (8, b"AVI ", "avi"),
    (0, b"FLV\x01", "flv"),
    (0, b"\x00\x00\x01\xba", "mpeg"),
    (0, b"wvpk", "wv"),
)


def media_format(head: bytes) -> str | None:
    """Return FFmpeg's name of the container that begins with these 16 bytes, None if it is not one of them."""
    for offset, signature, demuxer in SIGNATURES:
        if head[offset : offset + len(signature)] == signature:
            return demuxer
    is_adts = len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0
    return "aac" if is_adts else None


class MediaReader:
    """Frames of the first audio track of a container, through PyAV."""

    def __init__(self, stream: ByteStream, demuxer: str, name: str) -> None:
        try:
            import av
        except ImportError as error:
            raise MissingExtraError("media", f"Reading {name} ({demuxer})") from error
        self._av, self._name, self.format = av, name, demuxer.upper()
        self.remarks: list[str] = []
        try:
            self._container = av.open(stream, mode="r", format=demuxer)
        except (av.FFmpegError, ValueError) as error:
            raise AudioError(f"{name} cannot be read as {demuxer}: {error}. Convert it to wav or flac.") from error
        if not self._container.streams.audio:
            raise AudioError(f"{name} has no audio track. Choose a recording with audio.")
        self._track = self._container.streams.audio[0]
        self.sample_rate = self._track.codec_context.sample_rate
        self.channels = self._track.codec_context.channels
        assert self._track.time_base is not None  # every demuxer of FFmpeg sets it
        self._tick, duration = self._track.time_base, self._track.duration
        self.frames = duration and round(float(duration * self._tick) * self.sample_rate)
        self._start = 0
        self._pending = np.empty((0, self.channels), np.float32)
        self._blocks = self._decoded()

    def close(self) -> None:
        """Free the decoder."""
        self._container.close()

    def seek(self, frame: int) -> None:
        """Go to a frame; decoding starts half a second before it, as frames depend on earlier ones."""
        self._start = frame
        seconds = max(frame / self.sample_rate - 0.5, 0.0)
        offset = int(seconds / self._tick) + (self._track.start_time or 0)
        try:
            self._container.seek(offset, stream=self._track)
        except self._av.FFmpegError as error:
            raise AudioError(f"{self._name} cannot be cut at {seconds:.1f} s: {error}. Convert it to wav.") from error

    def read(self, frames: int) -> np.ndarray:
        """Return the next frames.

        Raises:
            AudioError: The data are damaged.
        """
        while len(self._pending) < frames:
            block = next(self._blocks, None)
            if block is None:
                break
            self._pending = np.concatenate([self._pending, block])
        block, self._pending = self._pending[:frames], self._pending[frames:]
        return block

    def _decoded(self) -> Iterator[np.ndarray]:
        converter = self._av.AudioResampler(format="flt", rate=self.sample_rate)
        try:
            for frame in self._container.decode(self._track):
                early = self._start - self._first_sample(frame)
                for packed in converter.resample(frame):
                    block = packed.to_ndarray().reshape(-1, self.channels)
                    yield block[max(early, 0) :]
                    early -= len(block)
        except (self._av.FFmpegError, ValueError) as error:
            raise AudioError(f"{self._name} is damaged: {error}. Copy or encode it again.") from error

    def _first_sample(self, frame: Any) -> int:
        if frame.pts is None:
            return self._start
        ticks = frame.pts - (self._track.start_time or 0)
        return round(float(ticks * frame.time_base) * self.sample_rate)


INTEGER_DTYPES = ("int8", "uint8", "int16", "int32")


class Reader(Protocol):
    """An open source: frames of float32 at its own rate, read in order."""

    @property
    def format(self) -> str:
        """Name of the format."""

    @property
    def sample_rate(self) -> float:
        """In Hz."""

    @property
    def channels(self) -> int:
        """Number of channels."""

    @property
    def frames(self) -> int | None:
        """Number of frames that the header declares; None if it leaves them open or only estimates them."""

    @property
    def remarks(self) -> list[str]:
        """Sentences about the source that a user must know, such as that it is cut off; may grow while reading."""

    def seek(self, frame: int) -> None:
        """Go to a frame of the recording's own clock without decoding what lies before it."""

    def read(self, frames: int) -> np.ndarray:
        """Return the next frames, shape (at most frames, channels); none at the end."""


class ArrayReader:
    """Frames of an array in memory; integers are scaled to ±1 by their type's range."""

    format = "array"

    def __init__(self, source: tuple[np.ndarray, int]) -> None:
        if len(source) != 2 or not isinstance(source[0], np.ndarray):
            raise AudioError("Audio in memory is (NumPy array, sample rate in Hz), such as (samples, 16000).")
        samples, rate = source
        if samples.ndim not in (1, 2) or not (samples.dtype.kind == "f" or samples.dtype.name in INTEGER_DTYPES):
            raise AudioError(
                f"An array of shape {samples.shape} and type {samples.dtype} is not audio. "
                "Pass floats in ±1 or int16, of shape (samples,) or (samples, channels)."
            )
        if isinstance(rate, bool) or not isinstance(rate, int | float | np.integer | np.floating):
            raise AudioError(f"A sample rate of {rate!r} is not a number of Hz. Pass one such as 16000.")
        self._samples = samples[:, None] if samples.ndim == 1 else samples
        self.sample_rate = rate
        self.frames, self.channels = self._samples.shape
        self.remarks: list[str] = []
        self._position = 0

    def seek(self, frame: int) -> None:
        """Go to a frame."""
        self._position = frame

    def read(self, frames: int) -> np.ndarray:
        """Return the next frames as float32."""
        block = self._samples[self._position : self._position + frames]
        self._position += len(block)
        if block.dtype.kind == "f":
            with np.errstate(over="ignore"):
                return block.astype(np.float32)
        offset = 128 if block.dtype == np.uint8 else 0
        return (block.astype(np.float32) - offset) / (1 << 8 * block.dtype.itemsize - 1)


class _InOrder(soundfile.SoundFile):
    """A SoundFile that does not seek after each read, which costs MP3 its bit reservoir (errors of 0.08 in ±1)."""

    def seekable(self) -> bool:
        return False


class SoundReader:
    """Frames of a file that libsndfile decodes."""

    def __init__(self, stream: ByteStream, name: str) -> None:
        self.remarks: list[str] = []
        self._name = name
        self._stream = cast("BinaryIO", stream)  # of it, soundfile needs only what a RawIOBase has
        self._is_cut = False
        try:
            self._file = _InOrder(self._stream)
        except soundfile.LibsndfileError as error:
            raise AudioError(
                f"{name} is not audio that can be read ({error.error_string}) "
                "Convert it to wav, flac, ogg, opus, mp3 or aiff."
            ) from error
        self.format = self._file.format
        self.sample_rate = self._file.samplerate
        self.channels = self._file.channels
        # The method of the parent class; GSM, G.721 and NMS ADPCM have neither a position nor seeking in libsndfile.
        self._is_seekable = soundfile.SoundFile.seekable(self._file)
        # libsndfile returns 2^63 - 1 if the header leaves the length open.
        self.frames = self._file.frames if self._file.frames < 1 << 62 else None

    def close(self) -> None:
        """Free the decoder."""
        self._file.close()

    def seek(self, frame: int) -> None:
        """Go to a frame; called before the first read.

        Raises:
            AudioError: The recording ends before it.
        """
        if not self._is_seekable:
            while frame > 0 and (skipped := len(self.read(min(frame, 1 << 16)))):
                frame -= skipped
            return
        # An MP3 frame depends on those before it: the decoder starts earlier, and the excess is dropped.
        early = min(frame, self.sample_rate // 2) if self.format == "MP3" else 0
        try:
            self._file.seek(frame - early)
            self._file.read(early)
        except soundfile.LibsndfileError as error:
            raise AudioError(
                f"{self._name} ends before {frame / self.sample_rate:.3f} s. Check the start of the clip."
            ) from error

    def read(self, frames: int) -> np.ndarray:
        """Return the next frames; of a truncated file, the frames up to its end.

        Raises:
            AudioError: The data are damaged, and intact data follow the damage.
        """
        block = np.empty((0 if self._is_cut else frames, self.channels), np.float32)
        position = self._file.tell() if self._is_seekable else 0
        try:
            return self._file.read(out=block)
        except soundfile.LibsndfileError as error:
            decoded = max(self._file.tell() - position, 0) if self._is_seekable else 0
            # libsndfile ends a truncated MP3 without an error, so an error is damage.
            self._is_cut = self.format != "MP3" and not self._readable_near_end()
            if self._is_cut:
                return block[:decoded]
            raise AudioError(
                f"{self._name} is damaged at or after {(position + decoded) / self.sample_rate:.2f} s "
                f"({error.error_string}) Copy or encode it again."
            ) from error

    def _readable_near_end(self) -> bool:
        self._stream.seek(0)
        try:
            with soundfile.SoundFile(self._stream) as again:  # a decoder that has failed cannot be trusted to seek
                again.seek(max((self.frames or 0) - 256, 0))
                return len(again.read(256)) > 0
        except soundfile.LibsndfileError:
            return False
