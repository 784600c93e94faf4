"""High-pass filter that removes a constant offset, rumble and hum, which a listener hardly notices but a model does."""

import math
from functools import lru_cache

import numpy as np

CUTOFF = 80.0  # Hz, 3 dB down, as the low cut of microphones; measured by benchmarks/channels.py
SETTLING = 0.1  # s; the mean over this time is the offset at the start, and by then the filter has settled
ROW = 128  # samples that are filtered at once


class HighPass:
    """Butterworth high-pass of second order for audio that comes in blocks of any size.

    Its transfer function is H(z) = g (1 − z⁻¹)² / (1 + a₁ z⁻¹ + a₂ z⁻²), by the bilinear transform. The filter is
    linear in the samples of a row and in its state before the row, so all rows are filtered by one product of matrices;
    only the two numbers of the state go from row to row.

    Rows are counted from the beginning, so the result does not depend on the size of the blocks. The filter starts from
    the mean of the first 0.1 s, so an offset causes no click there.

    Args:
        sample_rate: In Hz.
    """

    def __init__(self, sample_rate: float) -> None:
        self._row, self._from_state, self._carry = _matrices(sample_rate)
        self._state = (0.0, 0.0)
        self._offset: float | None = None
        self._settling, self._held = max(round(SETTLING * sample_rate), 1), np.empty(0, np.float32)

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take samples of shape (samples,); return the filtered ones of all complete rows, at first of 0.1 s."""
        self._held = np.concatenate([self._held, samples])
        if self._offset is None and len(self._held) < self._settling:
            return np.empty(0, np.float32)
        return self._filtered(len(self._held) - len(self._held) % ROW)

    def close(self) -> np.ndarray:
        """End the recording; return the remaining samples."""
        return self._filtered(len(self._held))

    def _filtered(self, count: int) -> np.ndarray:
        if not count:
            return np.empty(0, np.float32)
        if self._offset is None:
            self._offset = float(self._held[: self._settling].mean(dtype=np.float64))
        samples, self._held = self._held[:count].astype(np.float64) - self._offset, self._held[count:]
        rows = np.concatenate([samples, np.zeros(-count % ROW)]).reshape(-1, ROW)
        filtered = rows @ self._row  # from the state (0, 0): the samples, then the state after the row
        (a, b), (c, d) = self._carry
        one, two = self._state
        states = []
        for first, second in filtered[:, ROW:].tolist():
            states.append((one, two))
            one, two = one * a + two * c + first, one * b + two * d + second
        self._state = (one, two)
        return (filtered[:, :ROW] + np.array(states) @ self._from_state).reshape(-1)[:count].astype(np.float32)


@lru_cache(maxsize=16)
def _matrices(sample_rate: float) -> tuple[np.ndarray, np.ndarray, list[list[float]]]:
    """The filter as matrices: row (ROW, ROW + 2) from samples, (2, ROW) from the state, and from state to state."""
    w = math.tan(math.pi * CUTOFF / sample_rate)
    scale = 1 + math.sqrt(2) * w + w * w
    a_1, a_2 = 2 * (w * w - 1) / scale, (1 - math.sqrt(2) * w + w * w) / scale

    def response(sample: float, one: float, two: float) -> np.ndarray:
        """Output and state after each sample (ROW, 3) of a row that begins with one sample and a state."""
        found = []
        for x in (sample / scale, *[0.0] * (ROW - 1)):
            y = x + one
            one, two = two - 2 * x - a_1 * y, x - a_2 * y
            found.append((y, one, two))
        return np.array(found)

    impulse, first, second = response(1, 0, 0), response(0, 1, 0), response(0, 0, 1)
    row = np.zeros((ROW, ROW + 2))
    for at in range(ROW):
        row[at, at:ROW] = impulse[: ROW - at, 0]
        row[at, ROW:] = impulse[ROW - 1 - at, 1:]
    return row, np.stack([first[:, 0], second[:, 0]]), [first[-1, 1:].tolist(), second[-1, 1:].tolist()]
