"""Turns the channels of a recording into mono: one channel, or their mean without channels that would cancel it.

Every block of 0.5 s, counted from the beginning of the recording, is decided by itself, so a file, a part of it and a
live stream give the same samples. Two channels cancel each other if one holds the other's sound inverted (a wrongly
wired cable) or delayed (spaced microphones, which make a comb filter): their cross-correlation r(lag) between 200 and
4,000 Hz has a high peak within 20 ms, and r(0) is far below it. Of channels that cancel, one is used. All other blocks
are the plain mean. At a change, 10 ms are faded.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, Literal

import numpy as np

from genser.audio.likeness import Likeness, mixed_remark
from genser.errors import AudioError, ConfigError

Channel = int | Literal["mix", "each"]
"""Number of a channel from 1, or "mix", or "each" for every channel by itself."""

BLOCK = 0.5  # s that are decided at once
FADE = 0.01  # s
SHORTEST = 0.1  # s; a shorter last block is mixed as the one before it
BAND = (200.0, 4000.0)  # Hz, where most of the energy of speech is
LONGEST_LAG = 0.02  # s; sound travels 7 m
LAGS = 8192  # points of the cross-correlation of a block: 0.06 ms each
SIMILAR = 0.5  # peak of |r|; two voices reach 0.42 at most, a delayed copy has 0.8 and more
LOST = 0.8  # r(0) relative to the peak, below which the mean loses sound
LOUD = 4.0  # the first channel with this share (1/4) of the largest energy is the one that is kept
AUDIBLE = 16.0  # channels with less than this share (1/16) of its energy cancel nothing


def check_channel(channel: Any) -> Channel:
    """Return a channel if it is one.

    Raises:
        ConfigError: It is neither a number from 1 nor "mix" nor "each".
    """
    is_number = isinstance(channel, int) and not isinstance(channel, bool) and channel >= 1
    if not is_number and channel not in ("mix", "each"):
        raise ConfigError(f"{channel!r} is not a channel. Choose a number from 1, 'mix' or 'each'.")
    return channel


def channels_of(channel: Channel, count: Callable[[], int]) -> Sequence[int | Literal["mix"]]:
    """What is recognised of a recording, one after the other: each of its channels for "each", else the channel itself.

    Args:
        channel: Number of a channel from 1, "mix" or "each".
        count: Returns the number of channels of the recording; called for "each" only.
    """
    return range(1, count() + 1) if channel == "each" else [channel]


class Mixer:
    """Mono audio from blocks of any size.

    Args:
        sample_rate: In Hz.
        channels: Number of channels.
        channel: Number of the channel to use, from 1; or "mix".

    Raises:
        AudioError: There is no such channel.
    """

    def __init__(self, sample_rate: float, channels: int, channel: int | Literal["mix"] = "mix") -> None:
        if channel != "mix" and not 1 <= channel <= channels:
            known = "only channel 1" if channels == 1 else f"channels 1 to {channels}"
            raise AudioError(f"There is no channel {channel}: the recording has {known}. Choose one of them, or 'mix'.")
        self._rate, self._channels, self._channel = sample_rate, channels, channel
        self._size = max(round(BLOCK * sample_rate), 1)
        self._held: list[np.ndarray] = []
        self._count = 0
        self._before: tuple[int, ...] | None = None
        self._kept: set[int] = set()
        self._frames = self._cancelled = 0
        self._likeness = Likeness(channels)

    @property
    def delay(self) -> float:
        """Longest time in seconds for which samples are held back."""
        return BLOCK if self._channel == "mix" and self._channels > 1 else 0.0

    @property
    def remark(self) -> str | None:
        """Sentences on channels that cancelled each other or differ so far; None if there are none."""
        sentences = [self._cancelling(), mixed_remark(self.mixed) if self.mixed else None]
        return " ".join(filter(None, sentences)) or None

    @property
    def mixed(self) -> int:
        """Number of different channels that were mixed so far; 0 if none differ."""
        different = self._likeness.different
        return different if different > 1 else 0

    def _cancelling(self) -> str | None:
        if not self._cancelled:
            return None
        used = "some of them were used" if len(self._kept) > 1 else f"channel {min(self._kept) + 1} was used"
        if self._cancelled == self._frames:
            return f"Channels cancel each other; {used}."
        part = f"in {self._cancelled / self._rate:.1f} of {self._frames / self._rate:.1f} s"
        return f"Channels cancel each other {part}; there {used}."

    def push(self, block: np.ndarray) -> np.ndarray:
        """Take frames of shape (frames, channels); return mono samples, which may be those of earlier frames."""
        if self._channel != "mix":
            return block[:, int(self._channel) - 1]
        if self._channels == 1:
            return block[:, 0]
        self._held.append(block)
        self._count += len(block)
        if self._count < self._size:
            return np.empty(0, np.float32)
        frames = np.concatenate(self._held)
        whole = len(frames) - len(frames) % self._size
        self._held, self._count = [frames[whole:]], len(frames) - whole
        return np.concatenate([self._mixed(frames[at : at + self._size]) for at in range(0, whole, self._size)])

    def close(self) -> np.ndarray:
        """End the recording; return the remaining samples."""
        return self._mixed(np.concatenate(self._held)) if self._count else np.empty(0, np.float32)

    def _mixed(self, frames: np.ndarray) -> np.ndarray:
        if len(frames) < SHORTEST * self._rate and self._before is not None:
            kept = self._before
        else:
            kept = kept_channels(frames, self._rate)
        self._frames += len(frames)
        if len(kept) < self._channels:
            self._cancelled += len(frames)
            self._kept.update(kept)
        else:
            self._likeness.add(frames)
        mono, before = _mean(frames, kept), self._before
        self._before = kept
        if before is not None and before != kept:
            length = min(round(FADE * self._rate), len(frames))
            weight = np.linspace(0, 1, length, endpoint=False, dtype=np.float32)
            mono[:length] = weight * mono[:length] + (1 - weight) * _mean(frames[:length], before)
        return mono


def _mean(frames: np.ndarray, kept: tuple[int, ...]) -> np.ndarray:
    """Mean of the kept channels, which numpy.mean takes several times as long for."""
    return reduce(np.add, (frames.T[index] for index in kept)) / np.float32(len(kept))


def kept_channels(frames: np.ndarray, sample_rate: float) -> tuple[int, ...]:
    """Indices of the channels whose mean loses nothing, for frames of shape (frames, channels).

    These are all channels, unless some cancel each other. Then the first channel that is nearly as loud as the loudest
    is kept, and each other one that cancels no kept channel.
    """
    everything = tuple(range(frames.shape[1]))
    if (frames == frames[:, :1]).all():
        return everything
    first, last = (round(edge * len(frames) / sample_rate) for edge in BAND)
    spectra = np.fft.rfft(frames.T)[:, first : last + 1]
    energies = (np.abs(spectra) ** 2).sum(axis=1)
    main = int(np.argmax(energies * LOUD >= energies.max()))
    kept = [main]
    reach = round(LAGS * min(LONGEST_LAG * sample_rate / len(frames), 0.5))
    for index in everything:
        pairs = ([index, other] for other in kept)
        if index != main and not any(_cancel(spectra[pair], energies[pair], first, reach) for pair in pairs):
            kept.append(index)
    return tuple(sorted(kept))


def _cancel(spectra: np.ndarray, energies: np.ndarray, first: int, reach: int) -> bool:
    """Whether two channels cancel each other, from their spectra of shape (2, bins), which begin at bin `first`."""
    if energies.min() * AUDIBLE < energies.max() or energies.min() <= 0:
        return False
    cross = np.zeros(LAGS // 2 + 1, complex)
    cross[first : first + spectra.shape[1]] = spectra[0] * spectra[1].conj()
    r = np.fft.irfft(cross) * LAGS / (2 * np.sqrt(energies.astype(np.float64)).prod())  # in float32 it could be 0
    peak = np.abs(np.concatenate([r[-reach:], r[: reach + 1]])).max()
    return bool(peak > SIMILAR and r[0] < LOST * peak)
