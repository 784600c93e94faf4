"""Brings a stream whose sample rate or channels change to those with which it began."""

import numpy as np
import soxr


class Converter:
    """Brings blocks of a stream to another sample rate and number of channels.

    Args:
        rates: Sample rates before and after, in Hz.
        channels: Number of channels after.
    """

    def __init__(self, rates: tuple[float, float], channels: int) -> None:
        self._channels = channels
        self._resampler = soxr.ResampleStream(*rates, channels, dtype="float32") if rates[0] != rates[1] else None

    def convert(self, block: np.ndarray, last: bool = False) -> np.ndarray:
        """Convert a block of shape (frames, channels before) to (frames, channels after)."""
        if block.shape[1] != self._channels:  # every channel holds the mean, as nothing says which is which
            block = np.repeat(block.mean(axis=1, keepdims=True), self._channels, axis=1)
        if self._resampler is None:
            return block
        flat = block[:, 0] if self._channels == 1 else block
        return self._resampler.resample_chunk(np.ascontiguousarray(flat), last=last).reshape(-1, self._channels)

    def flush(self) -> np.ndarray:
        """End the stream; return the frames that were held back."""
        return self.convert(np.empty((0, self._channels), np.float32), last=True)
