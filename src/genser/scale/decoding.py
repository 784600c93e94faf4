"""Decoding in child processes, so that no file can hang, exhaust or crash the process that holds the model."""

from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np

from genser.audio import (
    SAMPLE_RATE,
    STREAM_LIMITS,
    AudioLimits,
    AudioStream,
    Channel,
    channels_of,
    count_channels,
    stream_audio,
)
from genser.errors import AudioError, GenserError
from genser.inference.decode_ahead import Clip
from genser.inference.windows import LONGEST, WINDOW, cut, windows_of
from genser.scale.blocks import Row
from genser.scale.child import ChildDiedError, Children, Limits

BLOCK_SECONDS = WINDOW / SAMPLE_RATE  # as windows are made of such blocks
TRIES = 3  # of a file whose decoder was killed


@dataclass(frozen=True)
class About:
    """What is known about a recording after its last block, see :class:`genser.audio.AudioStream`."""

    duration: float
    heard: float
    remark: str | None
    mixed: int

    @classmethod
    def of(cls, stream: AudioStream) -> "About":
        """What is known of a stream so far."""
        return cls(stream.duration, stream.heard, stream.remark, stream.mixed)


class Decoders:
    """Child processes that decode; several threads may use them at once."""

    def __init__(self, limits: Limits) -> None:
        self._children = Children(limits)

    def clips(self, row: Row, channel: Channel) -> list[Clip]:
        """One clip, or one per channel: in memory up to 30 s, else decoded as it is taken."""
        if row.error is not None:
            return [Clip(row.path, error=row.error)]
        try:
            channels = channels_of(channel, lambda: self.count_channels(row.path))
        except GenserError as error:
            return [Clip(row.path, error=str(error))]
        return [self._clip(row, one) for one in channels]

    def _clip(self, row: Row, channel: int | Literal["mix"]) -> Clip:
        number = None if channel == "mix" else channel
        try:
            samples, about = self._one(row.path, whole, row, channel, LONGEST)
        except GenserError as error:
            return Clip(row.path, error=str(error), channel=number)
        if samples is None:
            stream = Stream(self, row, channel)
            return Clip(row.path, rest=windows_of(stream), stream=stream, channel=number)
        return Clip(row.path, cut(samples), stream=about, channel=number)

    def waveform(self, row: Row) -> np.ndarray:
        """The whole clip, mono at 16 kHz.

        Raises:
            AudioError: It cannot be decoded.
        """
        if row.error is not None:
            raise AudioError(row.error)
        return self._one(row.path, whole, row, "mix", None)[0]

    def stream(self, row: Row, _source: object, *, channel: int | Literal["mix"], **_: object) -> "Stream":
        """The recording of a row in blocks, in place of :func:`genser.audio.stream_audio`."""
        return Stream(self, row, channel)

    def count_channels(self, path: str) -> int:
        """Number of channels by the header.

        Raises:
            AudioError: It cannot be read.
        """
        return self._one(path, counted_channels, path)

    def items(self, path: str, function: Callable[..., Iterator[Any]], *arguments: Any) -> Iterator[Any]:
        """What a function in a child yields; the death of the child becomes an AudioError that names the file.

        A child that something else killed is no fault of the file: another one starts again, and passes over the items
        that are there.
        """
        done = 0
        for attempt in range(1, TRIES + 1):
            try:
                for item in islice(self._children.run(function, *arguments), done, None):
                    done += 1
                    yield item
                return
            except ChildDiedError as death:
                if not death.was_killed or attempt == TRIES:
                    raise AudioError(f"{path} cannot be decoded: {death} Convert it, or remove it.") from death

    def _one(self, path: str, function: Callable[..., Iterator[Any]], *arguments: Any) -> Any:
        (item,) = self.items(path, function, *arguments)
        return item

    def close(self) -> None:
        """End the processes."""
        self._children.close()


class Stream:
    """As :class:`genser.audio.AudioStream`, with the decoder in a child; what is known is complete after the end."""

    def __init__(self, decoders: Decoders, row: Row, channel: int | Literal["mix"]) -> None:
        self.name, self.duration, self.heard = row.path, 0.0, 0.0
        self.remark: str | None = None
        self.mixed = 0
        self._items = decoders.items(row.path, blocks_of, row, channel)

    def __iter__(self) -> Iterator[np.ndarray]:
        for item in self._items:
            if isinstance(item, About):
                self.duration, self.heard, self.remark, self.mixed = astuple(item)
            else:
                yield item


def whole(row: Row, channel: int | Literal["mix"], longest: int | None) -> Iterator[tuple[np.ndarray | None, About]]:
    """Decode a clip; None stands for one of more samples than `longest`, which is not decoded to its end."""
    limits = STREAM_LIMITS if longest else AudioLimits()  # the whole clip must fit into memory
    part: dict[str, Any] = {"start": row.start, "end": row.end, "channel": channel}
    stream = stream_audio(row.path, **part, block_duration=BLOCK_SECONDS, limits=limits)
    blocks: list[np.ndarray] = []
    is_long = False
    for block in stream:
        blocks.append(block)
        is_long = longest is not None and max(stream.duration * SAMPLE_RATE, sum(map(len, blocks))) > longest
        if is_long:
            break
    yield None if is_long else np.concatenate(blocks), About.of(stream)


def blocks_of(row: Row, channel: int | Literal["mix"]) -> Iterator[np.ndarray | About]:
    """Decode a recording in blocks of 10 s, and say at the end what is known about it."""
    stream = stream_audio(row.path, start=row.start, end=row.end, channel=channel, block_duration=BLOCK_SECONDS)
    yield from stream
    yield About.of(stream)


def counted_channels(path: str) -> Iterator[int]:
    """Number of channels."""
    yield count_channels(path)
