"""Readers of audio: frames of float32 in order, from arrays or libsndfile."""

import io
from contextlib import suppress
from typing import Any, BinaryIO, Protocol, cast

import numpy as np
import soundfile

from genser.audio.view import ByteStream
from genser.errors import AudioError

CUT_OFF = "The file is cut off: it holds {:.2f} s of {:.2f} s."
LACKS = "Sound is missing: {:.2f} s could be read, and the header states {:.2f} s."
DAMAGED = "{} is damaged at or after {:.2f} s. Copy or encode it again."
MORE = "The file holds {:.2f} s, more than the {:.2f} s of its header; all was read."
CHANNELS_CHANGE = "From {:.2f} s on there are {} channels instead of {}; their mean stands in for each."
LITTLE = 1152  # frames, one frame of MP3
LEAST_CUT = 0.05  # seconds by which a header may state more than there is
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
    """Frames of an array in memory; integers are scaled to ±1 by their type's range.

    Args:
        source: The array of shape (samples,) or (samples, channels), and its sample rate in Hz.
        uses_range: Whether int32 samples are known to use the range of their type, as earlier blocks did.

    Raises:
        AudioError: It is not audio, or its values belong to another type.
    """

    format = "array"

    def __init__(self, source: tuple[np.ndarray, int], uses_range: bool = False) -> None:
        if len(source) != 2 or not isinstance(source[0], np.ndarray):
            raise AudioError(
                "Audio in memory is (NumPy array or torch tensor, sample rate in Hz), such as (samples, 16000). "
                "Convert a list by numpy.array."
            )
        samples, rate = source
        if isinstance(samples, np.ma.MaskedArray):
            raise AudioError(
                "A masked array has no samples where it is masked. Pass samples.filled(0), or an unmasked part."
            )
        samples = np.asarray(samples)  # of a subclass such as numpy.matrix, which has methods of its own
        if samples.ndim not in (1, 2) or not (samples.dtype.kind == "f" or samples.dtype.name in INTEGER_DTYPES):
            raise AudioError(
                f"An array of shape {samples.shape} and type {samples.dtype} is not audio. "
                "Pass floats in ±1 or int16, of shape (samples,) or (samples, channels); 16-bit values of another type "
                "as samples.astype('int16'), unsigned ones minus 32768."
            )
        if isinstance(rate, bool) or not isinstance(rate, int | float | np.integer | np.floating):
            raise AudioError(f"A sample rate of {rate!r} is not a number of Hz. Pass one such as 16000.")
        if samples.dtype.kind == "f":
            _check_floats(samples)
        elif samples.dtype.name == "int32" and not uses_range:
            _check_int32(samples)
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
        return scaled(block)


def _check_floats(samples: np.ndarray) -> None:
    """Refuse whole numbers above 1: integers that were converted without being scaled."""
    peak = float(np.abs(samples).max(initial=0))
    if 1 < peak < np.inf and np.array_equal(samples, np.rint(samples)):
        raise AudioError(
            f"The array holds whole numbers up to {peak:g} as floats, where ±1 is full scale. "
            "Divide 16-bit values by 32768, or pass them as int16."
        )


def _check_int32(samples: np.ndarray) -> None:
    """Refuse values of 16 or 24 bits in 32, which would be 96 or 48 dB too quiet.

    A quiet recording of a 24-bit converter has 0 in its lowest eight bits; these values have not.
    """
    peak = max(int(samples.max(initial=0)), -1 - int(samples.min(initial=0)))
    if peak >= 1 << 23 or not np.bitwise_or.reduce(samples, axis=None) & 0xFF:
        return
    bits, cure = (16, "samples.astype('int16')") if peak < 1 << 15 else (24, "samples / 2**23")
    raise AudioError(
        f"The int32 array holds values up to {peak}, as {bits}-bit samples do; in 32 bits they are "
        f"{6 * (32 - bits)} dB too quiet. Pass {cure}. If the recording is as quiet as that, pass samples / 2**31."
    )


def scaled(block: np.ndarray) -> np.ndarray:
    """Return samples as float32; integers are scaled to ±1 by their type's range."""
    if block.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return block.astype(np.float32)
    offset = 128 if block.dtype == np.uint8 else 0
    return (block.astype(np.float32) - offset) / (1 << 8 * block.dtype.itemsize - 1)


class _InOrder(soundfile.SoundFile):
    """A SoundFile that does not seek after each read, which costs MP3 its bit reservoir (errors of 0.08 in ±1)."""

    def seekable(self) -> bool:
        return False


def _buffered(stream: ByteStream) -> ByteStream | io.BufferedReader:
    """Buffer a stream, because libsndfile reads MP3 in pieces of a few hundred bytes."""
    return io.BufferedReader(stream, 1 << 16) if isinstance(stream, io.RawIOBase) else stream


def _release(stream: Any) -> None:
    """Let go of a buffered stream, which would otherwise be closed with its buffer."""
    if isinstance(stream, io.BufferedReader):
        stream.detach()


class SoundReader:
    """Frames of a file that libsndfile decodes.

    Args:
        stream: The file.
        name: Name of the source for messages.
        declared: Length by the header, if it is wrong, in units of the length of what is there.

    Raises:
        AudioError: libsndfile cannot read it.
    """

    def __init__(self, stream: ByteStream, name: str, declared: float = 1.0) -> None:
        self.remarks: list[str] = []
        self._name = name
        self._stream = cast("BinaryIO", _buffered(stream))  # of it, soundfile needs only what a RawIOBase has
        self._is_cut = False
        stream.seek(0)
        try:
            self._file = _InOrder(self._stream)
        except soundfile.LibsndfileError as error:
            _release(self._stream)
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
        self._length = self._file.frames if self._file.frames < 1 << 62 else None
        self.frames = self._length
        self._position = 0
        if self.frames and abs(declared - 1) * self.frames > LEAST_CUT * self.sample_rate:
            there, stated = self.frames / self.sample_rate, self.frames * declared / self.sample_rate
            if declared > 1:
                self.frames = round(self.frames * declared)
                self.remarks.append(CUT_OFF.format(there, stated))
            else:
                self.remarks.append(MORE.format(there, stated))

    def close(self) -> None:
        """Free the decoder."""
        self._file.close()
        _release(self._stream)

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
            self._position = frame
        except soundfile.LibsndfileError as error:
            raise AudioError(
                f"{self._name} ends before {frame / self.sample_rate:.3f} s. Check the start of the clip."
            ) from error

    def read(self, frames: int) -> np.ndarray:
        """Return the next frames; of a truncated file, the frames up to its end.

        Raises:
            AudioError: The data are damaged, and intact data follow the damage.
        """
        # libsndfile would go on decoding beyond the end of the sound, to fill the block.
        left = frames if self._length is None else max(self._length - self._position, 0)
        block = np.empty((0 if self._is_cut else min(frames, left), self.channels), np.float32)
        position = self._file.tell() if self._is_seekable else 0
        try:
            block = self._file.read(out=block)
            self._position += len(block)
            if len(block) < frames:
                self._remark_at_end()
            return block
        except soundfile.LibsndfileError as error:
            decoded = max(self._file.tell() - position, 0) if self._is_seekable else 0
            # libsndfile ends a truncated MP3 without an error, so an error is damage.
            self._is_cut = self.format != "MP3" and not self._readable_near_end()
            if self._is_cut:
                self._position += decoded
                self._remark_at_end()
                return block[:decoded]
            damage = (position + decoded) / self.sample_rate if decoded else self._damage()
            raise AudioError(DAMAGED.format(self._name, damage)) from error

    def _remark_at_end(self) -> None:
        there = self._position / self.sample_rate
        if self.remarks:
            return
        if self.frames and self.frames / self.sample_rate - there > LEAST_CUT:
            self.remarks.append(CUT_OFF.format(there, self.frames / self.sample_rate))
        elif self._is_cut:
            self.remarks.append(f"The file is cut off after {there:.2f} s.")

    def _damage(self) -> float:
        """The time in seconds up to which a second decoder, which reads little at once, can read."""
        self._stream.seek(0)
        frames = 0
        with suppress(soundfile.LibsndfileError), _InOrder(self._stream) as again:
            while block := len(again.read(LITTLE)):
                frames += block
        return frames / self.sample_rate

    def _readable_near_end(self) -> bool:
        self._stream.seek(0)
        try:
            with soundfile.SoundFile(self._stream) as again:  # a decoder that has failed cannot be trusted to seek
                again.seek(max((self._length or 0) - 256, 0))
                return len(again.read(256)) > 0
        except soundfile.LibsndfileError:
            return False
