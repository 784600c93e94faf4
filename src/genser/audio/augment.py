"""Altered copies of a clip: a part of it, another speed, level, room, channel, with noise; NumPy and soxr only.

Features of altered copies are computed once and kept like any others, so every alteration follows from a seed and the
clip alone.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from genser.audio import SAMPLE_RATE
from genser.errors import ConfigError

Waveform = np.ndarray
Alteration = Callable[[Waveform, np.random.Generator], Waveform]
TELEPHONE_BAND = (300.0, 3400.0)
"""Passband of a telephone line, in Hz."""

BLOCK = 4096
"""Samples; Fourier transforms of its multiples are fast, those of arbitrary lengths up to ten times slower."""

FRAME = 320
"""Samples, 20 ms, over which the level is taken that tells speech from pauses."""

QUIET = -35.0
"""Level in dB against the loudest frame below which a clip's begin and end count as pauses."""


@dataclass(frozen=True)
class Augmentation:
    """How strongly clips are altered; every range is drawn from evenly, every chance is a probability.

    Attributes:
        speed: Range of playback speeds (log-even); speed changes pitch and tempo together, as a tape does.
        gain: Range of level changes in dB.
        noise: Range of signal-to-noise ratios in dB.
        noise_chance: How often noise is added; its colour is drawn from white to brown.
        tilt: Largest first-order pre- or de-emphasis coefficient.
        telephone_chance: How often the clip is limited to a telephone's band.
        room_chance: How often a synthetic exponential reverberation of 0.15 to 0.8 s is added.
        crop: Range of the share of the spoken part that is kept, where a clip is cropped; see :func:`cropped`.
        crop_chance: How often it is.
        exclusive: Whether at most one of the four that have a chance befalls a copy. Across corpora this was better
            than letting them meet: nEMO, left out, 47.3 against 46.1 % UA, and less lost under noise and telephone.
    """

    speed: tuple[float, ...] = (0.87, 1.15)
    gain: tuple[float, ...] = (-8.0, 8.0)
    noise: tuple[float, ...] = (15.0, 35.0)
    noise_chance: float = 0.5
    tilt: float = 0.4
    telephone_chance: float = 0.0
    room_chance: float = 0.0
    crop: tuple[float, ...] = (0.5, 1.0)
    crop_chance: float = 0.0
    exclusive: bool = False

    def __post_init__(self) -> None:
        for name in ("speed", "gain", "noise"):
            low, high = getattr(self, name)
            if low > high or (name == "speed" and low <= 0):
                raise ConfigError(f"{name} is a range from low to high, got {low} to {high}.")
        if not 0 < self.crop[0] <= self.crop[1] <= 1:
            raise ConfigError(f"crop is a range of shares in (0, 1], got {list(self.crop)}.")
        for name in ("noise_chance", "telephone_chance", "room_chance", "crop_chance"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is a probability in [0, 1], got {getattr(self, name)}.")
        together = sum(chance for chance, _ in self._by_chance())
        if self.exclusive and together > 1 + 1e-9:
            raise ConfigError(f"Chances of which at most one comes true cannot sum to {together:g}.")
        if not 0 <= self.tilt < 1:
            raise ConfigError(f"tilt must lie in [0, 1), got {self.tilt}.")

    def __call__(self, waveform: Waveform, generator: np.random.Generator) -> Waveform:
        """An altered copy of a 16 kHz waveform of shape (samples,), float32; its length changes with the speed."""
        altered = change_speed(waveform, float(np.exp(generator.uniform(*np.log(self.speed)))))
        altered = tilted(altered, generator.uniform(-self.tilt, self.tilt))
        for alter in self._drawn(generator):
            altered = alter(altered, generator)
        return (altered * 10 ** (generator.uniform(*self.gain) / 20)).astype(np.float32)

    def _drawn(self, generator: np.random.Generator) -> list[Alteration]:
        """What befalls a copy, in the order in which sound meets it."""
        chances, alterations = zip(*self._by_chance(), strict=True)
        if not self.exclusive:
            return [alter for chance, alter in zip(chances, alterations, strict=True) if generator.random() < chance]
        place = int(np.searchsorted(np.cumsum(chances), generator.random(), side="right"))
        return list(alterations[place : place + 1])

    def _by_chance(self) -> list[tuple[float, Alteration]]:
        return [
            (self.crop_chance, lambda x, g: cropped(x, g.uniform(*self.crop), g)),
            (self.room_chance, lambda x, g: add_room(x, g.uniform(0.15, 0.8), g.uniform(0, 12), g)),
            (self.noise_chance, lambda x, g: add_noise(x, g.uniform(*self.noise), g, colour=g.uniform(0, 2))),
            (self.telephone_chance, lambda x, g: band_limited(x, *TELEPHONE_BAND)),  # noqa: ARG005
        ]


@dataclass(frozen=True)
class AugmentedCopy:
    """One altered copy of every clip, the same whenever and wherever it is made.

    Attributes:
        augmentation: How strongly clips are altered.
        number: Which of the copies, from 1 on.
        seed: Draw of all copies.
    """

    augmentation: Augmentation = field(default_factory=Augmentation)
    number: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.number < 1:
            raise ConfigError(f"Views are numbered from 1, got {self.number}; view 0 would be the clip itself.")

    def __call__(self, waveform: Waveform, sound: str) -> Waveform:
        """The altered copy of a 16 kHz waveform of shape (samples,).

        Args:
            waveform: The clip.
            sound: What tells the clip from all others, such as the hash of its bytes. The draw follows from it, the
                seed and the number alone, so that neither the order of clips nor their folder matters.
        """
        digest = hashlib.sha256(json.dumps([self.seed, self.number, sound]).encode()).digest()
        return self.augmentation(waveform, np.random.default_rng(int.from_bytes(digest)))


def cropped(waveform: Waveform, share: float, generator: np.random.Generator) -> Waveform:
    """A share of the spoken part, at a random place and at least a second long where there is as much.

    Pauses around the speech tell a corpus, not an emotion, and live sound comes without them. Speech reaches from the
    first to the last 20 ms within 35 dB of the loudest.
    """
    frames = waveform[: len(waveform) // FRAME * FRAME].reshape(-1, FRAME)
    if not len(frames):
        return waveform
    power = np.square(frames, dtype=np.float64).mean(axis=1)
    loud = np.flatnonzero(power >= power.max() * 10 ** (QUIET / 10))
    spoken = waveform[loud[0] * FRAME : (loud[-1] + 1) * FRAME]
    length = min(max(round(share * len(spoken)), SAMPLE_RATE), len(spoken))
    start = int(generator.integers(len(spoken) - length + 1))
    return spoken[start : start + length]


def change_speed(waveform: Waveform, speed: float) -> Waveform:
    """Play faster (speed above 1) or slower, which moves pitch and tempo together."""
    import soxr

    return soxr.resample(waveform, SAMPLE_RATE, SAMPLE_RATE / speed).astype(np.float32)


def add_noise(waveform: Waveform, snr: float, generator: np.random.Generator, colour: float = 0.0) -> Waveform:
    """Add noise of power spectrum 1/f^colour (0 white, 1 pink, 2 brown) at a signal-to-noise ratio in dB."""
    size = _transform_size(len(waveform))
    spectrum = np.fft.rfft(generator.standard_normal(size))
    noise = np.fft.irfft(spectrum / np.arange(1, len(spectrum) + 1) ** (colour / 2), size)[: len(waveform)]
    scale = root_mean_square(waveform) / root_mean_square(noise) * 10 ** (-snr / 20)
    return (waveform + scale * noise).astype(np.float32)


def tilted(waveform: Waveform, coefficient: float) -> Waveform:
    """First-order emphasis y[n] = x[n] + coefficient·x[n−1]; negative lifts high frequencies."""
    return np.concatenate([waveform[:1], waveform[1:] + coefficient * waveform[:-1]]).astype(np.float32)


def band_limited(waveform: Waveform, low: float, high: float) -> Waveform:
    """Remove everything outside a band in Hz, with edges of a tenth of each corner."""
    size = _transform_size(len(waveform))
    frequencies = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    rise = np.clip((frequencies - 0.9 * low) / (0.2 * low), 0, 1)
    fall = np.clip((1.1 * high - frequencies) / (0.2 * high), 0, 1)
    return np.fft.irfft(np.fft.rfft(waveform, size) * rise * fall, size)[: len(waveform)].astype(np.float32)


def add_room(waveform: Waveform, decay: float, direct: float, generator: np.random.Generator) -> Waveform:
    """Add an exponentially decaying reverberation.

    Args:
        waveform: Shape (samples,).
        decay: Time in seconds in which it falls by 60 dB.
        direct: Level of the direct sound over the reverberation, in dB.
        generator: Draws the response.
    """
    taps = int(decay * SAMPLE_RATE)
    response = generator.standard_normal(taps) * np.exp(-6.9 * np.arange(taps) / taps)
    response *= 10 ** (-direct / 20) / np.linalg.norm(response)
    response[0] = 1.0
    size = _transform_size(len(waveform) + taps)
    wet = np.fft.irfft(np.fft.rfft(waveform, size) * np.fft.rfft(response, size), size)
    return wet[: len(waveform)].astype(np.float32)


def _transform_size(samples: int) -> int:
    """Length to which a waveform is padded for Fourier transforms: one that they divide well, at most 0.26 s more."""
    return -(-samples // BLOCK) * BLOCK


def root_mean_square(waveform: Waveform) -> float:
    """Root mean square, never 0."""
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64)) + 1e-20))
