"""Decodes many clips in threads ahead of the model: in order, and in bounded memory."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Literal

import numpy as np

from genser.audio import (
    SAMPLE_RATE,
    STREAM_LIMITS,
    AudioLimits,
    AudioSource,
    AudioStream,
    Channel,
    count_channels,
    describe,
    reusable,
    stream_audio,
)
from genser.inference.windows import BLOCK, windows_of

BUFFER_SECONDS = 600.0  # of decoded audio that waits for the model: 38 MB
GROUP_CLIPS = 128  # clips in a group at most


@dataclass
class Clip:
    """A clip on its way to the model.

    Attributes:
        name: The source as it was given.
        windows: Its first windows, usually all.
        rest: The other windows of a clip that does not fit into the buffer, decoded as they are taken; may raise.
        error: Why decoding failed.
        stream: Where its samples come from; None if that failed, or if they were decoded before.
        channel: Number of its channel from 1; None if the channels are mixed.
    """

    name: str
    windows: list[np.ndarray] = field(default_factory=list)
    rest: Iterator[np.ndarray] = field(default_factory=lambda: iter(()))
    error: str | None = None
    stream: AudioStream | None = None
    channel: int | None = None

    @property
    def samples(self) -> int:
        """Number of decoded samples."""
        return sum(map(len, self.windows))


class Decoder:
    """Decodes clips in threads.

    Args:
        workers: Number of threads.
        limits: Bounds beyond which a clip is refused.
        group_seconds: Length of audio in a group, in seconds.
        channel: Number of the channel of every clip, "mix", or "each" for one clip per channel.
    """

    def __init__(
        self,
        workers: int,
        limits: AudioLimits = STREAM_LIMITS,
        group_seconds: float = 240.0,
        channel: Channel = "mix",
    ) -> None:
        self._workers, self._limits, self._channel = workers, limits, channel
        self._group = group_seconds * SAMPLE_RATE
        self._buffered = 0  # samples that are decoded and not yet in a yielded group
        self._lock = Lock()

    def groups(self, sources: Iterable[AudioSource | AudioStream]) -> Iterator[list[Clip]]:
        """Yield groups of consecutive clips, while the next ones are being decoded."""
        executor = ThreadPoolExecutor(self._workers, thread_name_prefix="genser-decode")
        pending: deque[Future[list[Clip]]] = deque()
        group: list[Clip] = []
        remaining = iter(sources)
        try:
            while self._fill(pending, remaining, executor):
                group += pending.popleft().result()
                if len(group) >= GROUP_CLIPS or sum(clip.samples for clip in group) >= self._group:
                    self._fill(pending, remaining, executor)
                    self._count(-sum(clip.samples for clip in group))
                    yield group
                    group = []
            if group:
                self._count(-sum(clip.samples for clip in group))
                yield group
        finally:
            executor.shutdown(cancel_futures=True)

    def _fill(self, pending: deque, remaining: Iterator, executor: ThreadPoolExecutor) -> bool:
        while len(pending) < GROUP_CLIPS:
            try:
                source = next(remaining)
            except StopIteration:
                break
            pending.append(executor.submit(self.decode, source))
        return bool(pending)

    def _count(self, samples: int) -> None:
        with self._lock:
            self._buffered += samples

    def decode(self, source: AudioSource | AudioStream) -> list[Clip]:
        """Decode a source as far as the buffer has room: one clip, or with "each" one per channel."""
        if isinstance(source, AudioStream):
            return [self._clip(source.name, lambda: source)]
        name = os.fspath(source) if isinstance(source, str | os.PathLike) else describe(source)
        if self._channel != "each":
            return [self._channel_clip(name, source, self._channel)]
        try:
            source = reusable(source)
            channels = count_channels(source)
        except MemoryError:
            raise
        except Exception as error:
            return [Clip(name, error=str(error) or repr(error))]
        return [self._channel_clip(name, source, number) for number in range(1, channels + 1)]

    def _channel_clip(self, name: str, source: AudioSource, channel: int | Literal["mix"]) -> Clip:
        clip = self._clip(name, lambda: stream_audio(source, channel=channel, limits=self._limits))
        clip.channel = None if channel == "mix" else channel
        return clip

    def _clip(self, name: str, open_stream: Callable[[], AudioStream]) -> Clip:
        """Decode a clip. Any failure but a lack of memory becomes its error."""
        clip = Clip(name)
        try:
            clip.stream = open_stream()
            clip.rest = windows_of(clip.stream.blocks(BLOCK))
            while self._buffered < BUFFER_SECONDS * SAMPLE_RATE and (window := next(clip.rest, None)) is not None:
                clip.windows.append(window)
                self._count(len(window))
        except MemoryError:
            raise
        except Exception as error:  # one unreadable clip must not stop the others, whatever the reason
            self._count(-clip.samples)
            return Clip(name, error=str(error) or repr(error))
        return clip
