"""Scores the waveforms of all requests in shared batches: one bounded queue, and one thread per core.

Each thread takes its share of the queue as soon as it is free; requests never wait for a batch to fill.
"""

import logging
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from genser.audio import SAMPLE_RATE
from genser.encoders.batches import SHORTEST
from genser.errors import AudioError, GenserError, counted
from genser.inference.prediction import Prediction
from genser.inference.recognizer import Recognizer
from genser.serving.errors import Problem
from genser.serving.metrics import Metrics

BATCH_SECONDS = 48.0  # of audio in a batch at most: bounds the memory
MEMORY = 0.9  # share of the past in the running mean of the speed
LOGGER = logging.getLogger("genser.serving")


@dataclass(frozen=True)
class Item:
    """A queued waveform (mono, 16 kHz), the model that scores it, and the promise of its prediction."""

    waveform: np.ndarray
    recognizer: Recognizer
    promise: Future[Prediction] = field(default_factory=Future)

    @property
    def duration(self) -> float:
        """In seconds."""
        return len(self.waveform) / SAMPLE_RATE


class Batcher:
    """Scores submitted waveforms in batches.

    Args:
        metrics: Counts and times are recorded here.
        max_batch: Most waveforms that a thread takes at once.
        max_queue: Most waveforms that wait.
        workers: Threads.
    """

    def __init__(self, metrics: Metrics, max_batch: int, max_queue: int, workers: int = 1) -> None:
        self._metrics = metrics
        self._max_batch, self._max_queue = max_batch, max_queue
        self._urgent: deque[Item] = deque()
        self._waiting: deque[Item] = deque()
        self._changed = threading.Condition()
        self._is_stopping = False
        self._pace = 0.02  # seconds of work per second of audio, a running mean
        self._threads = [
            threading.Thread(target=self._work, name=f"genser-batcher-{n}", daemon=True) for n in range(workers)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Score what is queued, then end the threads."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    @property
    def is_alive(self) -> bool:
        """Whether waveforms are accepted and scored."""
        return all(thread.is_alive() for thread in self._threads) and not self._is_stopping

    def submit(
        self, recognizer: Recognizer, waveforms: list[np.ndarray], *, urgent: bool = False
    ) -> list[Future[Prediction]]:
        """Queue all waveforms, or none if there is not enough room.

        Args:
            recognizer: Scores them; with several workers, several threads call it at once.
            waveforms: Mono, 16 kHz, each of shape (samples,).
            urgent: Queue ahead of the others, for live sound. Urgent waveforms never find the queue full: a stream
                waits for each answer before it submits the next, so there are never more of them than streams.

        Returns:
            A promise for each waveform; a cancelled one is skipped unless its batch has started.

        Raises:
            Problem: 413 more waveforms than the queue holds, 503 the queue is full (with the time in which half of it
                will be done) or the server is stopping.
        """
        items = [Item(waveform, recognizer) for waveform in waveforms]
        with self._changed:
            self._check_room(0 if urgent else len(items))
            (self._urgent if urgent else self._waiting).extend(items)
            self._metrics.queued.set(len(self._urgent) + len(self._waiting))
            self._changed.notify_all()
        return [item.promise for item in items]

    def submit_when_free(
        self, recognizer: Recognizer, waveforms: list[np.ndarray], cancelled: threading.Event
    ) -> list[Future[Prediction]]:
        """Queue waveforms of a recording as the queue empties; stop early when cancelled.

        Returns:
            Promises; fewer than waveforms if it was cancelled or the server is stopping.
        """
        promises: list[Future[Prediction]] = []
        for waveform in waveforms:
            with self._changed:
                room = self._max_queue // 2  # the other half stays free for short requests
                while len(self._waiting) >= room and not cancelled.is_set() and not self._is_stopping:
                    self._changed.wait(0.5)
                if cancelled.is_set() or self._is_stopping:
                    break
                item = Item(waveform, recognizer)
                self._waiting.append(item)
                self._changed.notify_all()
            promises.append(item.promise)
        return promises

    def _check_room(self, count: int) -> None:
        if self._is_stopping:
            raise Problem(503, "The server is stopping. Try again later.", retry_after=5)
        waiting = len(self._waiting)
        if count > self._max_queue:
            raise Problem(
                413,
                f"{count} clips are more than the {self._max_queue} that may wait in the server. Send fewer at once.",
            )
        if count and waiting + count > self._max_queue:
            self._metrics.refused.labels("queue").inc(count)
            seconds = self._pace * sum(item.duration for item in self._waiting)
            raise Problem(
                503,
                f"{counted(waiting, 'clip is', 'clips are')} waiting already. Try again later.",
                retry_after=seconds / 2,
            )

    def _work(self) -> None:
        while batch := self._next_batch():
            begin = time.perf_counter()
            self._score(batch)
            seconds, duration = time.perf_counter() - begin, sum(item.duration for item in batch)
            self._metrics.batches.observe(len(batch))
            self._metrics.inference.observe(seconds)
            self._metrics.audio.inc(duration)
            pace = seconds / max(duration, 0.1) / len(self._threads)
            self._pace = MEMORY * self._pace + (1 - MEMORY) * pace

    def _next_batch(self) -> list[Item]:
        """Wait for waveforms; return none when the server stops and the queue is empty."""
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
                    is_full = batch and seconds + queue[0].duration > BATCH_SECONDS
                    if is_full or (batch and queue[0].recognizer is not batch[0].recognizer):
                        break
                    item = queue.popleft()
                    if item.promise.set_running_or_notify_cancel():
                        batch.append(item)
                        seconds += item.duration
            self._metrics.queued.set(len(self._urgent) + len(self._waiting))
            self._changed.notify_all()
        return batch

    def _score(self, batch: list[Item]) -> None:
        """Keep the promises of a batch; if the model fails on it, score each waveform alone."""
        try:
            waveforms = [item.waveform for item in batch]
            answers = list(zip(batch, batch[0].recognizer.predict_waveforms(waveforms), strict=True))
        except Exception as error:  # an error of the model belongs to its requests, not to this thread
            LOGGER.warning("A batch of %d failed: %s", len(batch), error, exc_info=not isinstance(error, GenserError))
            if len(batch) == 1:
                batch[0].promise.set_exception(error)
            else:
                for item in batch:
                    self._score([item])
            return
        for item, prediction in answers:
            item.promise.set_result(prediction)


def row_of(prediction: Prediction) -> np.ndarray:
    """Return the scores of a prediction, shape (classes,).

    Raises:
        AudioError: It has none.
    """
    if prediction.error:
        raise AudioError(prediction.error)
    return np.array(list(prediction.scores.values()))


def long_enough(waveform: np.ndarray) -> np.ndarray:
    """Pad a waveform with silence to the shortest one that a model accepts, as the model itself would."""
    return np.pad(waveform, (0, max(SHORTEST - len(waveform), 0)))
