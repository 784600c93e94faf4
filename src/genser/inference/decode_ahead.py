"""Decodes many sounds in threads, ahead of the model and in bounded memory, in the order given."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock

import numpy as np

from genser.audio import SAMPLE_RATE, STREAM_LIMITS, AudioLimits, AudioSource, describe, stream_audio
from genser.errors import GenserError
from genser.inference.windows import BLOCK, windows_of

BUFFER_SECONDS = 600.0  # of sound decoded ahead: 38 MB
GROUP_CLIPS = 128  # handed on at once at most


@dataclass
class Clip:
    """A sound on its way to the model.

    Attributes:
        name: How it was named.
        windows: Its first windows, usually all.
        rest: The others of a sound too long to be held, decoded as they are taken; may raise AudioError.
        error: Why it has no windows.
    """

    name: str
    windows: list[np.ndarray] = field(default_factory=list)
    rest: Iterator[np.ndarray] = field(default_factory=lambda: iter(()))
    error: str | None = None

    @property
    def samples(self) -> int:
        """Samples held."""
        return sum(map(len, self.windows))


class Decoder:
    """Threads that decode.

    Args:
        workers: How many.
        limits: Bounds beyond which a sound is refused.
        group_seconds: Sound in a group.
    """

    def __init__(self, workers: int, limits: AudioLimits = STREAM_LIMITS, group_seconds: float = 240.0) -> None:
        self._workers, self._limits = workers, limits
        self._group = group_seconds * SAMPLE_RATE
        self._held = 0  # samples decoded and not yet handed on
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
                    yield self._released(group)
                    group = []
            if group:
                yield self._released(group)
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

    def _released(self, group: list[Clip]) -> list[Clip]:
        self._hold(-sum(clip.samples for clip in group))
        return group

    def _hold(self, samples: int) -> None:
        with self._lock:
            self._held += samples

    def decode(self, source: AudioSource) -> Clip:
        """Decode a sound as far as there is room for it; what fails becomes its error."""
        windows = windows_of(stream_audio(source, block_duration=BLOCK / SAMPLE_RATE, limits=self._limits))
        clip = Clip(_named(source), rest=windows)
        try:
            while self._held < BUFFER_SECONDS * SAMPLE_RATE:
                window = next(windows, None)
                if window is None:
                    break
                clip.windows.append(window)
                self._hold(len(window))
        except (GenserError, OSError) as error:
            self._hold(-clip.samples)
            return Clip(clip.name, error=str(error))
        return clip


def _named(source: AudioSource) -> str:
    """A path as it was given, "-" too; a description of what has no path."""
    return os.fspath(source) if isinstance(source, str | os.PathLike) else describe(source)
