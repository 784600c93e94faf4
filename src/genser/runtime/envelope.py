"""The outline of a sound of any length, in bounded memory."""

import numpy as np

from genser.audio import SAMPLE_RATE

MOST_BINS = 4000
FINEST = 160  # samples a bin at first: 10 ms


class Envelope:
    """Lowest and highest sample in equal steps of time; the steps double whenever there are too many."""

    def __init__(self) -> None:
        self._bins: list[np.ndarray] = []
        self._count, self._samples, self._size = 0, 0, FINEST
        self._rest = np.empty(0, np.float32)

    @property
    def duration(self) -> float:
        """Seconds taken in so far."""
        return self._samples / SAMPLE_RATE

    @property
    def step(self) -> float:
        """Duration of a bin in seconds."""
        return self._size / SAMPLE_RATE

    def push(self, samples: np.ndarray) -> None:
        """Take mono 16 kHz samples of shape (samples,) in."""
        self._samples += len(samples)
        samples = np.concatenate([self._rest, samples])
        whole = len(samples) // self._size
        self._rest = samples[whole * self._size :]
        self._add(samples[: whole * self._size].reshape(whole, self._size))
        while self._count > MOST_BINS:
            self._halve()

    def peaks(self) -> np.ndarray:
        """Return (lowest, highest) of every step, shape (steps, 2)."""
        last = [[[self._rest.min(), self._rest.max()]]] if len(self._rest) else []
        return np.concatenate([np.empty((0, 2), np.float32), *self._bins, *last]).astype(np.float32)

    def _add(self, rows: np.ndarray) -> None:
        if len(rows):
            self._bins.append(np.stack([rows.min(axis=1), rows.max(axis=1)], axis=1))
            self._count += len(rows)

    def _halve(self) -> None:
        bins = np.concatenate(self._bins)
        odd = bins[len(bins) - len(bins) % 2 :]
        pairs = bins[: len(bins) - len(odd)].reshape(-1, 2, 2)
        halved = np.stack([pairs[:, :, 0].min(axis=1), pairs[:, :, 1].max(axis=1)], axis=1)
        self._size *= 2
        # A bin without its pair goes back among the samples, as its two extremes within the new step.
        if len(odd):
            filler = np.full(self._size // 2 - 1, odd[0, 1], np.float32)
            self._rest = np.concatenate([odd[0, :1], filler, self._rest])
        self._bins, self._count = [halved], len(halved)
