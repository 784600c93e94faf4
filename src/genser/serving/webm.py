"""Opus in WebM, as browsers record it, decoded while it comes."""

import queue
import threading

import numpy as np

from genser.audio import SAMPLE_RATE
from genser.errors import AudioError, MissingExtraError

WAITING_CHUNKS = 64  # fed but not decoded: beyond it `feed` waits


class WebmDecoder:
    """Decodes a WebM stream in a thread of its own, for FFmpeg asks for data instead of being given them.

    Raises:
        MissingExtraError: PyAV is not installed.
    """

    def __init__(self) -> None:
        try:
            import av
        except ImportError as error:
            raise MissingExtraError("media", "Live sound in WebM") from error
        self._av = av
        self._chunks: queue.Queue[bytes] = queue.Queue(WAITING_CHUNKS)
        self._blocks: queue.Queue[np.ndarray] = queue.Queue()
        self._rest, self._is_over = b"", False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._decode, name="genser-webm", daemon=True)
        self._thread.start()

    def feed(self, chunk: bytes) -> np.ndarray:
        """Take bytes in; return the mono 16 kHz samples that are decoded by now, shape (samples,), often of before.

        Raises:
            AudioError: The stream is not WebM, or damaged.
        """
        while chunk and self._thread.is_alive():
            try:
                self._chunks.put(chunk, timeout=0.5)
                break
            except queue.Full:
                continue
        return self._decoded()

    def close(self) -> np.ndarray:
        """End the stream; return the samples that were left.

        Raises:
            AudioError: The stream was not WebM, or damaged.
        """
        while self._thread.is_alive():
            try:
                self._chunks.put(b"", timeout=0.5)
                break
            except queue.Full:
                continue
        self._thread.join()
        return self._decoded()

    def abandon(self) -> None:
        """End the thread without its samples, whatever it is at."""
        self._is_over = True
        while self._thread.is_alive():
            try:
                self._chunks.put_nowait(b"")
            except queue.Full:
                self._chunks.get_nowait()
            self._thread.join(0.05)

    def read(self, size: int) -> bytes:
        """For FFmpeg: wait for the next bytes; none at the end."""
        while not self._rest and not self._is_over:
            self._rest = self._chunks.get()
            self._is_over = self._is_over or not self._rest
        head, self._rest = self._rest[:size], self._rest[size:]
        return head

    def _decoded(self) -> np.ndarray:
        if self._error is not None:
            raise AudioError(f"The stream cannot be read as WebM: {self._error}. Send Opus in WebM from its beginning.")
        blocks = []
        while not self._blocks.empty():
            blocks.append(self._blocks.get())
        return np.concatenate(blocks) if blocks else np.empty(0, np.float32)

    def _decode(self) -> None:
        options = {"analyzeduration": "0", "probesize": "2048"}  # else it waits for seconds of sound before the first
        try:
            with self._av.open(self, format="matroska", options=options, buffer_size=4096) as container:
                converter = self._av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
                for frame in container.decode(audio=0):
                    self._take(converter.resample(frame))
                self._take(converter.resample(None))
        except (self._av.FFmpegError, ValueError, IndexError) as error:
            self._error = error

    def _take(self, frames: list) -> None:
        for frame in frames:
            self._blocks.put(frame.to_ndarray().reshape(-1).astype(np.float32))
