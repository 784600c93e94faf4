"""Readers of sound: frames of float32 in order, from memory or through libsndfile."""

from typing import BinaryIO, Protocol

import numpy as np
import soundfile

from genser.errors import AudioError

INTEGER_DTYPES = ("int8", "uint8", "int16", "int32")


class Reader(Protocol):
    """One open sound: frames of float32 at their own rate, read in order."""

    format: str
    sample_rate: float
    channels: int
    frames: int | None  # as the header says, None where it does not

    def seek(self, frame: int) -> None:
        """Go to a frame without decoding what lies before it."""

    def read(self, frames: int) -> np.ndarray:
        """Return the next frames, shape (at most frames, channels); none at the end."""


class ArrayReader:
    """Frames of an array in memory; integers are scaled to ±1 by their type's range."""

    format = "array"

    def __init__(self, source: tuple[np.ndarray, int]) -> None:
        if len(source) != 2 or not isinstance(source[0], np.ndarray):
            raise AudioError("A sound in memory is (NumPy array, sample rate in Hz), such as (samples, 16000).")
        samples, rate = source
        if samples.ndim not in (1, 2) or not (samples.dtype.kind == "f" or samples.dtype.name in INTEGER_DTYPES):
            raise AudioError(
                f"An array of shape {samples.shape} and type {samples.dtype} is no sound. "
                "Pass floats in ±1 or int16, of shape (samples,) or (samples, channels)."
            )
        if isinstance(rate, bool) or not isinstance(rate, int | float | np.integer | np.floating):
            raise AudioError(f"A sample rate of {rate!r} is not a number of Hz. Pass one such as 16000.")
        self._samples = samples[:, None] if samples.ndim == 1 else samples
        self.sample_rate = rate
        self.frames, self.channels = self._samples.shape
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
    """A SoundFile that does not seek after each read: that costs MP3 its bit reservoir (errors of 0.08 in ±1)."""

    def seekable(self) -> bool:
        return False


class SoundReader:
    """Frames of whatever libsndfile decodes."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._name, self._stream = name, stream
        self._is_cut = False
        try:
            self._file = _InOrder(stream)
        except soundfile.LibsndfileError as error:
            raise AudioError(
                f"{name} is not a sound that can be read ({error.error_string}) "
                "Convert it to wav, flac, ogg, opus, mp3 or aiff."
            ) from error
        self.format = self._file.format
        self.sample_rate = self._file.samplerate
        self.channels = self._file.channels
        # libsndfile answers 2^63 - 1 where a header leaves the length open.
        self.frames = self._file.frames if self._file.frames < 1 << 62 else None

    def close(self) -> None:
        """Free the decoder."""
        self._file.close()

    def seek(self, frame: int) -> None:
        """Go to a frame.

        Raises:
            AudioError: The sound ends before it.
        """
        # An MP3 frame leans on those before it: the decoder starts earlier, and what it decodes there is dropped.
        early = min(frame, self.sample_rate // 2) if self.format == "MP3" else 0
        try:
            self._file.seek(frame - early)
            self._file.read(early)
        except soundfile.LibsndfileError as error:
            raise AudioError(
                f"{self._name} ends before {frame / self.sample_rate:.3f} s. Check the start of the clip."
            ) from error

    def read(self, frames: int) -> np.ndarray:
        """Return the next frames; those before a cut end as well.

        Raises:
            AudioError: The data are damaged, and the sound goes on behind the damage.
        """
        block = np.empty((0 if self._is_cut else frames, self.channels), np.float32)
        position = self._file.tell()
        try:
            return self._file.read(out=block)
        except soundfile.LibsndfileError as error:
            decoded = max(self._file.tell() - position, 0)
            # libsndfile ends an MP3 at a cut without an error, so an error there is damage.
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
