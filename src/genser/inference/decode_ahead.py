"""Decodes many clips in threads ahead of the model: in order, and in bounded memory."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock

import numpy as np

from genser.audio import SAMPLE_RATE, STREAM_LIMITS, AudioLimits, AudioSource, describe, stream_audio
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
    """

    name: str
    windows: list[np.ndarray] = field(default_factory=list)
    rest: Iterator[np.ndarray] = field(default_factory=lambda: iter(()))
    error: str | None = None

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
    """

    def __init__(self, workers: int, limits: AudioLimits = STREAM_LIMITS, group_seconds: float = 240.0) -> None:
        self._workers, self._limits = workers, limits
        self._group = group_seconds * SAMPLE_RATE
        self._buffered = 0  # samples that are decoded and not yet in a yielded group
        self._lock = Lock()

    def groups(self, sources: Iterable[AudioSource]) -> Iterator[list[Clip]]:
        """Yield groups of consecutive clips, while the next ones are being decoded."""
        executor = ThreadPoolExecutor(self._workers, thread_name_prefix="genser-decode")
        pending: deque[Future[Clip]] = deque()
        group: list[Clip] = []
        remaining = iter(sources)
        try:
            while self._fill(pending, remaining, executor):
                group.append(pending.popleft().result())
                if len(group) == GROUP_CLIPS or sum(clip.samples for clip in group) >= self._group:
                    self._fill(pending, remaining, executor)
                    self._count(-sum(clip.samples for clip in group))
                    yield group
                    group = []
            if group:
                self._count(-sum(clip.samples for clip in group))
                yield group
        finally:
            executor.shutdown(cancel_futures=True)

    def _fill(self, pending: deque, remaining: Iterator[AudioSource], executor: ThreadPoolExecutor) -> bool:
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

    def decode(self, source: AudioSource) -> Clip:
        """Decode a clip as far as the buffer has room. Any failure but a lack of memory becomes the clip's error."""
        name = os.fspath(source) if isinstance(source, str | os.PathLike) else describe(source)
        clip = Clip(name)
        try:
            clip.rest = windows_of(stream_audio(source, block_duration=BLOCK / SAMPLE_RATE, limits=self._limits))
            while self._buffered < BUFFER_SECONDS * SAMPLE_RATE and (window := next(clip.rest, None)) is not None:
                clip.windows.append(window)
                self._count(len(window))
        except MemoryError:
            raise
        except Exception as error:  # one unreadable clip must not stop the others, whatever the reason
            self._count(-clip.samples)
            return Clip(name, error=str(error) or repr(error))
        return clip
