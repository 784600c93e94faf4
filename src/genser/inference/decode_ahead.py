"""Decodes many clips in threads or processes ahead of the model: in order, and in bounded memory."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from threading import Lock
from typing import Literal, Protocol

import numpy as np

from genser.audio import (
    SAMPLE_RATE,
    STREAM_LIMITS,
    AudioLimits,
    AudioSource,
    AudioStream,
    Channel,
    channels_of,
    count_channels,
    describe,
    reusable,
    stream_audio,
)
from genser.inference.windows import LONGEST, WINDOW, windows_of

BUFFER_SECONDS = 600.0  # of decoded audio that waits for the model: 38 MB
GROUP_CLIPS = 128  # clips in a group at most
SENT_CLIPS = 4  # files that a process decodes at once, as sending takes time
SENT_SECONDS = LONGEST / SAMPLE_RATE  # of audio in a file that a process decodes, at most


class Known(Protocol):
    """What is known about a source, such as a :class:`genser.audio.AudioStream`."""

    @property
    def duration(self) -> float:
        """In seconds."""

    @property
    def remark(self) -> str | None:
        """What was unusual about it."""

    @property
    def mixed(self) -> int:
        """Number of its different channels that were mixed; 0 if none differ."""


@dataclass(frozen=True)
class Decoded:
    """What is known about a source that was decoded elsewhere, see :class:`genser.audio.AudioStream`."""

    duration: float
    remark: str | None
    mixed: int


@dataclass
class Clip:
    """A clip on its way to the model.

    Attributes:
        name: The source as it was given, or what describes it.
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
    stream: Known | None = None
    channel: int | None = None

    @property
    def samples(self) -> int:
        """Number of decoded samples."""
        return sum(map(len, self.windows))


def is_full(group: list[Clip], samples: float) -> bool:
    """Whether a group has 128 clips or enough audio for the model."""
    return len(group) >= GROUP_CLIPS or sum(clip.samples for clip in group) >= samples


class Decoder:
    """Decodes clips in threads, or files of up to 30 s in the processes of a pool.

    A clip holds the interpreter lock for about a millisecond, so threads cannot keep up with a GPU.

    Args:
        workers: Number of threads.
        limits: Bounds beyond which a clip is refused.
        group_seconds: Length of audio in a group, in seconds.
        channel: Number of the channel of every clip, "mix", or "each" for one clip per channel.
        pool: Processes that decode.
        buffer_seconds: Length of decoded audio that waits for the model, in seconds; None means 600.
    """

    def __init__(
        self,
        workers: int,
        limits: AudioLimits = STREAM_LIMITS,
        group_seconds: float = 240.0,
        channel: Channel = "mix",
        pool: Executor | None = None,
        buffer_seconds: float | None = None,
    ) -> None:
        self._workers, self._limits, self._channel, self._pool = workers, limits, channel, pool
        self._buffer = (BUFFER_SECONDS if buffer_seconds is None else buffer_seconds) * SAMPLE_RATE
        self._group = group_seconds * SAMPLE_RATE
        self._buffered = 0  # samples that are decoded and not yet in a yielded group
        self._lock = Lock()
        self._is_abandoned = False

    def groups(self, sources: Iterable[AudioSource | AudioStream]) -> Iterator[list[Clip]]:
        """Yield groups of consecutive clips, while the next ones are being decoded.

        An iterator that is not read to its end waits for no thread when it is closed. The garbage collector may close
        it anywhere, even while the standard library starts a thread under a lock that the end of a thread needs.
        """
        executor = ThreadPoolExecutor(self._workers, thread_name_prefix="genser-decode")
        pending: deque[Callable[[], list[Clip]]] = deque()
        group: list[Clip] = []
        remaining = iter(sources)
        try:
            while self._fill(pending, remaining, executor):
                group += pending.popleft()()
                if is_full(group, self._group):
                    self._fill(pending, remaining, executor)
                    self._count(-sum(clip.samples for clip in group))
                    yield group
                    group = []
            if group:
                self._count(-sum(clip.samples for clip in group))
                yield group
        except GeneratorExit:
            self._is_abandoned = True  # the threads finish what they do, and end with their executor
            raise
        finally:
            if not self._is_abandoned:
                executor.shutdown(cancel_futures=True)

    def _fill(self, pending: deque, remaining: Iterator, executor: ThreadPoolExecutor) -> bool:
        size = SENT_CLIPS if self._pool else 1
        while len(pending) < GROUP_CLIPS // size and (sources := list(islice(remaining, size))):
            if future := self._sent(sources):
                pending.append(partial(self._received, sources, future))
            else:
                pending += [executor.submit(self.decode, source).result for source in sources]
        return bool(pending)

    def _sent(self, sources: list) -> "Future[list[list[Clip] | None]] | None":
        """Send sources to the pool; None if there is none, or if not all are files."""
        if self._pool is None or not all(isinstance(one, str | os.PathLike) and one != "-" for one in sources):
            return None
        try:
            return self._pool.submit(decode_short, sources, self._limits, self._channel)
        except BrokenExecutor:
            return None

    def _received(self, sources: list, future: "Future[list[list[Clip] | None]]") -> list[Clip]:
        """Clips that a process has decoded; it leaves long files, and all if it was killed, to this process."""
        try:
            found = future.result()
        except BrokenExecutor:
            found = [None] * len(sources)
        self._count(sum(clip.samples for clips in found for clip in clips or []))
        return [
            clip
            for source, clips in zip(sources, found, strict=True)
            for clip in (self.decode(source) if clips is None else clips)
        ]

    def _has_room(self) -> bool:
        return self._buffered < self._buffer and not self._is_abandoned

    def _count(self, samples: int) -> None:
        with self._lock:
            self._buffered += samples

    def decode(self, source: AudioSource | AudioStream) -> list[Clip]:
        """Decode a source as far as the buffer has room: one clip, or with "each" one per channel."""
        if self._is_abandoned:
            return []
        if isinstance(source, AudioStream):
            return [self._clip(source.name, lambda: source)]
        name = describe(source)
        try:
            source = reusable(source, self._limits.max_bytes) if self._channel == "each" else source
            channels = channels_of(self._channel, lambda: count_channels(source, self._limits))
        except MemoryError:
            raise
        except Exception as error:
            return [Clip(name, error=str(error) or repr(error))]
        return [self._channel_clip(name, source, one) for one in channels]

    def _channel_clip(self, name: str, source: AudioSource, channel: int | Literal["mix"]) -> Clip:
        clip = self._clip(name, lambda: stream_audio(source, channel=channel, limits=self._limits))
        clip.channel = None if channel == "mix" else channel
        return clip

    def _clip(self, name: str, open_stream: Callable[[], AudioStream]) -> Clip:
        """Decode a clip. Any failure but a lack of memory becomes its error."""
        clip = Clip(name)
        try:
            clip.stream = open_stream()
            clip.rest = windows_of(clip.stream.blocks(WINDOW))
            while self._has_room() and (window := next(clip.rest, None)) is not None:
                clip.windows.append(window)
                self._count(len(window))
        except MemoryError:
            raise
        except Exception as error:  # one unreadable clip must not stop the others, whatever the reason
            self._count(-clip.samples)
            return Clip(name, error=str(error) or repr(error))
        return clip


def decode_short(sources: list, limits: AudioLimits, channel: Channel) -> list[list[Clip] | None]:
    """Decode files completely, for another process.

    Returns:
        The clips of each file; None if it is longer than 30 s, or damaged behind its beginning.
    """
    return [_whole(Decoder(1, limits, channel=channel, buffer_seconds=SENT_SECONDS).decode(one)) for one in sources]


def _whole(clips: list[Clip]) -> list[Clip] | None:
    """The clips without what cannot be sent; None if one has more windows."""
    try:
        if any(next(clip.rest, None) is not None for clip in clips):
            return None
    except MemoryError:
        raise
    except Exception:  # the process that reads this file again reports it
        return None
    for clip in clips:
        clip.rest = iter(())
        known = clip.stream
        clip.stream = known and Decoded(known.duration, known.remark, known.mixed)
    return clips
