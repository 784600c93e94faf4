"""High-pass filter that removes a constant offset, rumble and hum, which a listener hardly notices but a model does."""

import math

import numpy as np

CUTOFF = 80.0  # Hz, 3 dB down, as the low cut of microphones; measured by benchmarks/channels.py
SETTLING = 0.1  # s; the mean over this time is the offset at the start, and by then the filter has settled
ROW = 128  # samples that are filtered at once, as a cumulative sum


class HighPass:
    """Butterworth high-pass of second order for audio that comes in blocks of any size.

    Its transfer function is H(z) = g (1 − z⁻¹)² / ((1 − p z⁻¹)(1 − p* z⁻¹)), by the bilinear transform. A partial
    fraction turns the denominator into the real part of s[n] = p s[n−1] + v[n], which NumPy can compute as a
    cumulative sum of v[n] p⁻ⁿ over rows that are short enough not to overflow.

    Rows are counted from the beginning, so the size of the blocks changes no bit of the result. The filter starts from
    the mean of the first 0.1 s, so an offset causes no click there.

    Args:
        sample_rate: In Hz.
    """

    def __init__(self, sample_rate: float) -> None:
        w = math.tan(math.pi * CUTOFF / sample_rate)
        scale = 1 + math.sqrt(2) * w + w * w
        real = (1 - w * w) / scale
        self._pole = complex(real, math.sqrt((1 - math.sqrt(2) * w + w * w) / scale - real * real))
        self._weight = 2 / scale * self._pole / (self._pole - self._pole.conjugate())
        self._powers = self._pole ** np.arange(ROW)
        self._inverse = 1 / self._powers
        self._state = 0j
        self._last = np.zeros(2)  # the two samples before the block, without the offset
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
        samples, self._held = self._held[:count], self._held[count:]
        known = np.concatenate([self._last, samples.astype(np.float64) - self._offset])
        self._last = known[-2:].copy()
        return (self._weight * self._recurrence(np.diff(known, 2))).real.astype(np.float32)

    def _recurrence(self, v: np.ndarray) -> np.ndarray:
        rows = np.concatenate([v, np.zeros(-len(v) % ROW)]).reshape(-1, ROW)
        s = np.cumsum(rows * self._inverse, axis=1)
        s *= self._powers
        carried = np.empty(len(rows), complex)
        carry, across = self._state, complex(self._powers[-1] * self._pole)
        for row, last in enumerate(s[:, -1].tolist()):
            carried[row] = carry
            carry = carry * across + last
        s += carried[:, None] * (self._powers * self._pole)
        flat = s.reshape(-1)[: len(v)]
        self._state = complex(flat[-1])
        return flat
