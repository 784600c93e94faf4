"""Sound from containers that libsndfile does not know (m4a, mp4, webm, …), decoded by PyAV from the extra [media]."""

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from genser.errors import AudioError, MissingExtraError

# The demuxer is always named: left to guess, FFmpeg would take a playlist and open what that names, files and URLs.
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
    """Frames of the first sound track of a container."""

    def __init__(self, stream: BinaryIO, demuxer: str, name: str) -> None:
        try:
            import av
        except ImportError as error:
            raise MissingExtraError("media", f"Reading {name} ({demuxer})") from error
        self._av, self._name, self.format = av, name, demuxer.upper()
        try:
            self._container = av.open(stream, format=demuxer)
        except (av.FFmpegError, ValueError) as error:
            raise AudioError(f"{name} cannot be read as {demuxer}: {error}. Convert it to wav or flac.") from error
        if not self._container.streams.audio:
            raise AudioError(f"{name} has no sound track. Choose a recording with sound.")
        self._track = self._container.streams.audio[0]
        self.sample_rate = self._track.codec_context.sample_rate
        self.channels = self._track.codec_context.channels
        duration = self._track.duration
        self.frames = duration and round(float(duration * self._track.time_base) * self.sample_rate)
        self._start = 0
        self._pending = np.empty((0, self.channels), np.float32)
        self._blocks = self._decoded()

    def close(self) -> None:
        """Free the decoder."""
        self._container.close()

    def seek(self, frame: int) -> None:
        """Go to a frame: to a packet half a second before it, on which its decoding leans; what is early is dropped."""
        self._start = frame
        seconds = max(frame / self.sample_rate - 0.5, 0.0)
        offset = int(seconds / self._track.time_base) + (self._track.start_time or 0)
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

    def _first_sample(self, frame) -> int:
        if frame.pts is None:
            return self._start
        ticks = frame.pts - (self._track.start_time or 0)
        return round(float(ticks * frame.time_base) * self.sample_rate)
