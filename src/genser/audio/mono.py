"""The one way from frames at a source's rate to mono float32 at 16 kHz, for files, arrays and live audio."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import soxr

from genser.audio.mixing import Mixer
from genser.errors import AudioError

SAMPLE_RATE = 16_000  # Hz
MOST_REMARKS = 10
LOUDEST = 128.0  # in units of full scale; larger samples are unscaled integers, or damaged


class MonoConverter:
    """Mixes channels and resamples, for blocks of any size.

    Args:
        sample_rate: Of the source in Hz.
        channels: Of the source.
        channel: Number of the channel to use, from 1; or "mix".
        skip: Frames at the beginning on which only the mixer decides; no samples are returned for them.
        frames: Frames to convert after those; None means all.

    Raises:
        AudioError: There is no such channel.
    """

    def __init__(
        self,
        sample_rate: float,
        channels: int,
        channel: int | Literal["mix"] = "mix",
        *,
        skip: int = 0,
        frames: int | None = None,
    ) -> None:
        self._mixer = Mixer(sample_rate, channels, channel)
        self._skip, self._left = skip, frames
        self._resampler = None
        if sample_rate != SAMPLE_RATE:
            self._resampler = soxr.ResampleStream(sample_rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")

    @property
    def remark(self) -> str | None:
        """A sentence on what was wrong with the channels so far; None if nothing was."""
        return self._mixer.remark

    @property
    def mixed(self) -> int:
        """Number of different channels that were mixed so far; 0 if none differ."""
        return self._mixer.mixed

    def push(self, block: np.ndarray) -> np.ndarray:
        """Take frames of shape (frames, channels); return mono samples at 16 kHz, which may be of earlier frames."""
        return self._resampled(self._wanted(self._mixer.push(block)), last=False)

    def close(self) -> np.ndarray:
        """End the source; return the remaining samples."""
        return self._resampled(self._wanted(self._mixer.close()), last=True)

    def _wanted(self, samples: np.ndarray) -> np.ndarray:
        skipped = min(self._skip, len(samples))
        self._skip -= skipped
        samples = samples[skipped:]
        if self._left is not None:
            samples = samples[: self._left]
            self._left -= len(samples)
        return samples

    def _resampled(self, samples: np.ndarray, last: bool) -> np.ndarray:
        return self._resampler.resample_chunk(samples, last=last) if self._resampler else samples


def check_samples(block: np.ndarray, name: str, seconds: float) -> None:
    """Refuse samples that are not finite, or so large that they are not scaled to ±1.

    Args:
        block: Any shape, not empty.
        name: Name of the source for the message.
        seconds: Time of the first frame.

    Raises:
        AudioError: The samples cannot be used.
    """
    peak = float(np.abs(block).max())
    if not math.isfinite(peak):
        raise AudioError(f"{name} holds NaN or infinite samples at or after {seconds:.2f} s. Repair or remove it.")
    if peak > LOUDEST:
        raise AudioError(
            f"{name} holds floating-point samples up to {peak:.4g}, where ±1 is full scale. "
            "Divide 16-bit values by 32768, or pass them as int16."
        )


def joined(remarks: Sequence[str]) -> str | None:
    """Several remarks as one text, each once, at most `MOST_REMARKS` of them; None if there are none."""
    different = list(dict.fromkeys(remarks))
    if more := len(different[MOST_REMARKS:]):
        different[MOST_REMARKS:] = [f"There are {more} more remarks."]
    return " ".join(different) or None
