"""Reads streams that follow each other in one file as one recording."""

from collections.abc import Callable, Iterator
from typing import Union

import numpy as np

from genser.audio.converter import Converter
from genser.audio.media import MediaReader
from genser.audio.readers import CHANNELS_CHANGE, SoundReader
from genser.errors import AudioError

FileReader = Union[SoundReader, MediaReader, "JoinedReader"]


class JoinedReader:
    """Frames of streams one after the other, at the sample rate and with the channels of the first.

    Args:
        openers: Open the streams; each is called when its turn comes.
        frames: Length of the first stream, if it is probably the only one; `frames` becomes None if another follows.
    """

    def __init__(self, openers: Iterator[Callable[[], FileReader]], frames: int | None = None) -> None:
        self._openers, self.frames, self._position, self._begin = openers, frames, 0, 0
        self._remarks: list[str] = []
        self._reader: FileReader | None = next(openers)()
        self.format, self.channels = self._reader.format, self._reader.channels
        self.sample_rate: float = self._reader.sample_rate
        self._converter = Converter((self.sample_rate, self.sample_rate), self.channels)
        self._pending = np.empty((0, self.channels), np.float32)

    @property
    def remarks(self) -> list[str]:
        """Sentences about the streams so far; times in those about one stream count from its beginning."""
        ours = self._reader.remarks if self._reader else []
        if self._begin:
            where = f"In the part that begins at {self._begin / self.sample_rate:.2f} s: "
            ours = [where + remark for remark in ours]
        return self._remarks + ours

    def close(self) -> None:
        """Free the decoder."""
        if self._reader:
            self._reader.close()

    def seek(self, frame: int) -> None:
        """Go to a frame; in several streams by decoding what lies before it, as no header states where it is."""
        if self.frames and self._reader:
            self._reader.seek(frame)
            self._position, self._pending = frame, self._pending[:0]
            return
        while self._position < frame and len(self.read(min(frame - self._position, 1 << 16))):
            pass

    def read(self, frames: int) -> np.ndarray:
        """Return the next frames.

        Raises:
            AudioError: The data are damaged.
        """
        blocks, self._pending = [self._pending[:frames]], self._pending[frames:]
        wanted = frames - len(blocks[0])
        self._position += len(blocks[0])
        while wanted > 0 and self._reader:
            block = self._reader.read(wanted)
            is_last = len(block) == 0
            converted = self._converter.flush() if is_last else self._converter.convert(block)
            blocks.append(converted[:wanted])
            self._pending = converted[wanted:]
            wanted -= len(blocks[-1])
            self._position += len(blocks[-1])
            if is_last:
                self._open_next()
        blocks = [block for block in blocks if len(block)] or blocks[:1]
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)

    def _open_next(self) -> None:
        self._remarks = self.remarks
        self.close()
        self._reader, self._begin = None, self._position
        for opener in self._openers:
            try:
                self._reader = opener()
                break
            except AudioError as error:
                self._remarks.append(f"What follows {self._position / self.sample_rate:.2f} s is missing: {error}")
        if self._reader is None:
            return
        self.frames = None
        self._converter = Converter((self._reader.sample_rate, self.sample_rate), self.channels)
        if self._reader.channels != self.channels:
            self._remarks.append(
                CHANNELS_CHANGE.format(self._position / self.sample_rate, self._reader.channels, self.channels)
            )
