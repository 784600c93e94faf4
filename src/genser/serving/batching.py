"""Sounds of many requests are recognised together: a bounded queue and a thread a core that takes its share of it.

A batch is a share of whatever came while the ones before were at work, so nobody waits for others to come, and hardly
for others to be done.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from genser.audio import SAMPLE_RATE, AudioSource
from genser.errors import AudioError
from genser.inference.backend import SHORTEST
from genser.inference.prediction import NO_SPEECH, Prediction
from genser.serving.errors import Problem
from genser.serving.metrics import Metrics

BATCH_SECONDS = 48.0  # of sound at once: bounds the memory
MEMORY = 0.9  # share of the past in the running mean of the speed
LOGGER = logging.getLogger("genser.serving")


class Recognizer(Protocol):
    """What a server needs of a recogniser."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the scores."""

    def predict_many(self, sources: Iterable[AudioSource], *, workers: int) -> Iterator[Prediction]:
        """Predictions of sounds, in their order."""

    def trajectory(self, waveform: np.ndarray) -> np.ndarray | None:
        """Class probabilities along the N transport steps, shape (N + 1, classes); None without a transport head."""


@dataclass(frozen=True)
class Item:
    """A sound that waits: mono 16 kHz samples, and the promise of its prediction."""

    waveform: np.ndarray
    promise: Future = field(default_factory=Future)

    @property
    def duration(self) -> float:
        """In seconds."""
        return len(self.waveform) / SAMPLE_RATE


class Batcher:
    """Recognises what is submitted, in batches.

    Args:
        recognizer: What recognises; asked by several threads at once where there are several workers.
        metrics: Where to count.
        max_batch: Most sounds at once in one thread.
        max_queue: Most sounds that wait.
        workers: Threads.
    """

    def __init__(
        self, recognizer: Recognizer, metrics: Metrics, max_batch: int, max_queue: int, workers: int = 1
    ) -> None:
        self._recognizer, self._metrics = recognizer, metrics
        self._max_batch, self._max_queue = max_batch, max_queue
        self._urgent: deque[Item] = deque()
        self._waiting: deque[Item] = deque()
        self._changed = threading.Condition()
        self._is_stopping = False
        self._pace = 0.02  # seconds until one second of sound is done, a running mean
        self._threads = [
            threading.Thread(target=self._work, name=f"genser-batcher-{n}", daemon=True) for n in range(workers)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Finish what was taken, and end the threads."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    @property
    def is_alive(self) -> bool:
        """Whether sounds are being recognised."""
        return all(thread.is_alive() for thread in self._threads) and not self._is_stopping

    def submit(self, waveforms: list[np.ndarray], *, urgent: bool = False) -> list[Future]:
        """Queue sounds; all of them or none.

        Args:
            waveforms: Mono 16 kHz samples.
            urgent: Ahead of what waits, for live sound. It never finds the queue full: a stream sends no more sound
                to recognise before it has the answer, so there are never more of these than streams.

        Returns:
            A promise of a `Prediction` each; a cancelled one costs nothing unless it is at work.

        Raises:
            Problem: The queue is full (503, with the time in which it will have shrunk by half).
        """
        items = [Item(waveform) for waveform in waveforms]
        with self._changed:
            self._check_room(0 if urgent else len(items))
            (self._urgent if urgent else self._waiting).extend(items)
            self._count()
            self._changed.notify_all()
        return [item.promise for item in items]

    def submit_when_free(self, waveforms: list[np.ndarray], cancelled: threading.Event) -> list[Future]:
        """Queue sounds as room comes, for work that can wait; stop early when cancelled."""
        promises: list[Future] = []
        for waveform in waveforms:
            with self._changed:
                room = self._max_queue // 2  # the other half stays free for short requests
                while len(self._waiting) >= room and not cancelled.is_set() and not self._is_stopping:
                    self._changed.wait(0.5)
                if cancelled.is_set() or self._is_stopping:
                    break
                item = Item(waveform)
                self._waiting.append(item)
                self._changed.notify_all()
            promises.append(item.promise)
        return promises

    def _check_room(self, count: int) -> None:
        if self._is_stopping:
            raise Problem(503, "The server is stopping. Try again in a moment.", retry_after=5)
        waiting = len(self._waiting)
        if count > self._max_queue:
            raise Problem(413, f"{count} sounds at once are more than the server's queue of {self._max_queue} holds.")
        if count and waiting + count > self._max_queue:
            self._metrics.refused.labels("queue").inc(count)
            seconds = self._pace * sum(item.duration for item in self._waiting)
            raise Problem(503, f"{waiting} sounds wait already. Try again later.", retry_after=seconds / 2)

    def _count(self) -> None:
        self._metrics.queued.set(len(self._urgent) + len(self._waiting))

    def _work(self) -> None:
        while batch := self._next_batch():
            self._recognize(batch)

    def _next_batch(self) -> list[Item]:
        """Wait for sounds; return none when the server stops and nothing waits."""
        batch: list[Item] = []
        seconds = 0.0
        with self._changed:
            while not batch:
                while not self._urgent and not self._waiting:
                    if self._is_stopping:
                        return []
                    self._changed.wait()
                share = -(-(len(self._urgent) + len(self._waiting)) // len(self._threads))
                while (queue := self._urgent or self._waiting) and len(batch) < min(share, self._max_batch):
                    if batch and seconds + queue[0].duration > BATCH_SECONDS:
                        break
                    item = queue.popleft()
                    if item.promise.set_running_or_notify_cancel():
                        batch.append(item)
                        seconds += item.duration
            self._count()
            self._changed.notify_all()
        return batch

    def _recognize(self, batch: list[Item]) -> None:
        begin = time.perf_counter()
        try:
            sounds = [(item.waveform, SAMPLE_RATE) for item in batch]
            answers = list(self._recognizer.predict_many(sounds, workers=1))
            for item, answer in zip(batch, answers, strict=True):
                item.promise.set_result(answer)
        except Exception as error:  # whatever a model raises belongs to its requests, not to the thread
            self._recover(batch, error)
        self._measure(batch, time.perf_counter() - begin)

    def _recover(self, batch: list[Item], error: Exception) -> None:
        """One sound must not spoil the others of its batch: try each alone."""
        LOGGER.warning("a batch of %d failed: %s", len(batch), error)
        if len(batch) > 1:
            for item in batch:
                self._recognize([item])
            return
        with suppress(InvalidStateError):
            batch[0].promise.set_exception(error)

    def _measure(self, batch: list[Item], seconds: float) -> None:
        duration = sum(item.duration for item in batch)
        self._metrics.batches.observe(len(batch))
        self._metrics.inference.observe(seconds)
        self._metrics.audio.inc(duration)
        pace = seconds / max(duration, 0.1) / len(self._threads)
        self._pace = MEMORY * self._pace + (1 - MEMORY) * pace


class Abandoned(Exception):
    """Nobody waits for the work any more."""


def row_of(prediction: Prediction) -> np.ndarray:
    """Scores of a prediction, shape (classes,).

    Raises:
        AudioError: It has none.
    """
    if prediction.error:
        raise AudioError(prediction.error)
    return np.array(list(prediction.scores.values()))


def long_enough(waveform: np.ndarray) -> np.ndarray:
    """Fill a sound up to the shortest that a model takes, as the model itself would."""
    return np.pad(waveform, (0, max(SHORTEST - len(waveform), 0)))


class BatchedScorer:
    """A recogniser for work in a thread, which shares the batches of all requests and ends when it is cancelled."""

    def __init__(self, recognizer: Recognizer, batcher: Batcher) -> None:
        self.labels = tuple(recognizer.labels)
        self.cancelled = threading.Event()
        self._batcher = batcher

    def gated_scores(self, waveforms: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Class probabilities of shape (n, classes), and whether somebody speaks, of shape (n,).

        Raises:
            Abandoned: The work was cancelled.
        """
        waveforms = [long_enough(waveform) for waveform in waveforms]
        promises = self._batcher.submit_when_free(waveforms, self.cancelled)
        if len(promises) < len(waveforms):
            for promise in promises:
                promise.cancel()
            raise Abandoned
        answers = [promise.result() for promise in promises]
        spoken = np.array([answer.label != NO_SPEECH for answer in answers])
        return np.stack([row_of(answer) for answer in answers]), spoken
