"""Synthetic sounds without speech: silence, noise, tones, clicks and music; NumPy only.

A speech gate is trained against them. They need no corpus and no licence, and a gate fitted to some families rejects
the others too: 99 % of the clips of held-out families, and no clip of held-out speakers.
"""

import hashlib
import json
from collections.abc import Callable
from functools import partial

import numpy as np

from genser.audio import SAMPLE_RATE
from genser.audio.augment import band_limited
from genser.errors import ConfigError

Sound = np.ndarray
Maker = Callable[[int, np.random.Generator], Sound]
"""Makes a sound with a number of samples, at any level."""

Timbre = Callable[[float, int, np.random.Generator], Sound]
"""Makes a note of a frequency in Hz with a number of samples."""

DURATIONS = (1.0, 5.0)
"""Shortest and longest sound, in seconds."""

PEAKS = (-40.0, 0.0)
"""Range of the peak of a sound that is not silence, in dB relative to full scale."""

NOISE_FLOORS = (-90.0, -50.0)
"""Range of the white noise that is added to some sounds, in dB relative to full scale."""

SCALE = (0, 2, 4, 5, 7, 9, 11, 12, 14)  # major, in semitones
CHORD_TONES = (0, 3, 4, 7, 9, 12, 16)  # in semitones


def synthetic_noise(family: str, number: int, seed: int = 0) -> Sound:
    """Make one sound without speech.

    Args:
        family: Name among :data:`FAMILIES`.
        number: Number of the sound in its family; each has its own length, level, pitch and so on.
        seed: Seed of all sounds.

    Returns:
        Float32 waveform at 16 kHz within [-1, 1], 1 to 5 s long, the same for the same arguments.

    Raises:
        ConfigError: There is no such family.
    """
    if family not in FAMILIES:
        raise ConfigError(f"Unknown family of synthetic noise {family!r}: use one of {', '.join(FAMILIES)}.")
    digest = hashlib.sha256(json.dumps([seed, family, number]).encode()).digest()
    generator = np.random.default_rng(int.from_bytes(digest))
    samples = int(generator.uniform(*DURATIONS) * 100) * SAMPLE_RATE // 100  # odd lengths are slow to transform
    sound = FAMILIES[family](samples, generator)
    if family != "silence":
        sound = _recorded(sound, generator)
    return np.clip(sound, -1, 1).astype(np.float32)


def _recorded(sound: Sound, generator: np.random.Generator) -> Sound:
    """Scale to a drawn peak; three in ten sounds get a floor of white noise."""
    sound = sound / max(np.abs(sound).max(), 1e-9) * _amplitude(generator.uniform(*PEAKS))
    if generator.random() < 0.3:
        sound = sound + _amplitude(generator.uniform(*NOISE_FLOORS)) * generator.standard_normal(len(sound))
    return sound


def _amplitude(level: float) -> float:
    return 10 ** (level / 20)


def _times(samples: int) -> np.ndarray:
    """Time of each sample in seconds."""
    return np.arange(samples) / SAMPLE_RATE


def _gliding(frequencies: np.ndarray) -> Sound:
    """A sine whose frequency in Hz is given for each sample."""
    return np.sin(2 * np.pi * np.cumsum(frequencies) / SAMPLE_RATE)


def _oscillation(rate: float, samples: int, generator: np.random.Generator) -> np.ndarray:
    """A sine with a rate in Hz and a random phase."""
    return np.sin(2 * np.pi * (rate * _times(samples) + generator.random()))


# Silence and noises


def _silence(samples: int, generator: np.random.Generator) -> Sound:
    """Digital silence, or noise in the lowest bits of a 16-bit recording."""
    if generator.random() < 0.3:
        return np.zeros(samples)
    floor = _amplitude(generator.uniform(-100, -70))
    return np.round(floor * generator.standard_normal(samples) * 32768) / 32768


def _noise(samples: int, generator: np.random.Generator, colour: float) -> Sound:
    """Noise of power spectrum 1/f^colour: -2 violet, 0 white, 1 pink, 2 brown."""
    spectrum = np.fft.rfft(generator.standard_normal(samples))
    return np.fft.irfft(spectrum / np.arange(1, len(spectrum) + 1) ** (colour / 2), samples)


def _modulated_noise(samples: int, generator: np.random.Generator) -> Sound:
    """Noise whose level rises and falls 0.5 to 8 times a second, like surf, engines and saws."""
    swell = 0.5 + 0.5 * _oscillation(generator.uniform(0.5, 8), samples, generator)
    return swell * _noise(samples, generator, generator.uniform(0.5, 1.5))


def _band_noise(samples: int, generator: np.random.Generator) -> Sound:
    low = generator.uniform(100, 3000)
    high = min(low * generator.uniform(1.3, 3), 7000)
    return band_limited(generator.standard_normal(samples), low, high)


# Tones


def _tone(samples: int, generator: np.random.Generator) -> Sound:
    return _sine(float(np.exp(generator.uniform(*np.log((80, 5000))))), samples, generator)


def _sweep(samples: int, generator: np.random.Generator) -> Sound:
    """A sine whose pitch rises or falls by several octaves."""
    way = np.geomspace(generator.uniform(60, 400), generator.uniform(800, 6000), samples)
    return _gliding(way if generator.random() < 0.5 else way[::-1])


def _siren(samples: int, generator: np.random.Generator) -> Sound:
    """A sine whose frequency varies by 30 %, 0.2 to 5 times a second."""
    centre, rate = generator.uniform(500, 900), generator.uniform(0.2, 5)
    return _gliding(centre * (1 + 0.3 * _oscillation(rate, samples, generator)))


def _dialling(samples: int, generator: np.random.Generator) -> Sound:
    """Touch tones of 0.12 s, one every 0.2 s."""
    sound, starts, length = np.zeros(samples), range(0, samples, int(0.2 * SAMPLE_RATE)), int(0.12 * SAMPLE_RATE)
    for start in starts:
        here = min(length, samples - start)
        for frequencies in ((697, 770, 852, 941), (1209, 1336, 1477)):
            sound[start : start + here] += _sine(generator.choice(frequencies), here, generator)
    return sound


def _hum(samples: int, generator: np.random.Generator) -> Sound:
    """Mains hum: harmonics of 50 or 60 Hz over faint pink noise."""
    base = generator.choice((50, 60, 100, 120))
    harmonics = (generator.random() / k * _oscillation(base * k, samples, generator) for k in range(1, 10))
    return sum(harmonics) + 0.05 * generator.random() * _noise(samples, generator, 1)


# Notes of several timbres


def _sine(frequency: float, samples: int, generator: np.random.Generator) -> Sound:  # noqa: ARG001
    return np.sin(2 * np.pi * frequency * _times(samples))


def _saw(frequency: float, samples: int, generator: np.random.Generator) -> Sound:  # noqa: ARG001
    return 2 * (frequency * _times(samples) % 1) - 1


def _square(frequency: float, samples: int, generator: np.random.Generator) -> Sound:
    return np.sign(_sine(frequency, samples, generator))


def _organ(frequency: float, samples: int, generator: np.random.Generator) -> Sound:
    partials = (_oscillation(frequency * k, samples, generator) / k for k in (1, 2, 3, 4, 6))
    return sum(partials, np.zeros(samples))


def _bell(frequency: float, samples: int, generator: np.random.Generator) -> Sound:
    """Frequency modulation with a decaying depth, like struck metal or an electric piano."""
    times, ratio = _times(samples), generator.choice((1.4, 2, 3.5))
    depth = generator.uniform(1, 6) * np.exp(-3 * times)
    return np.sin(2 * np.pi * frequency * times + depth * np.sin(2 * np.pi * frequency * ratio * times))


def _pluck(frequency: float, samples: int, generator: np.random.Generator) -> Sound:
    """A plucked string: one period of noise, smoothed at each repetition (Karplus and Strong, 1983)."""
    period = generator.uniform(-1, 1, int(SAMPLE_RATE / frequency))
    rounds = []
    for _ in range(0, samples, len(period)):
        rounds.append(period)
        period = 0.498 * (period + np.roll(period, 1))
    return np.concatenate(rounds)[:samples]


# Music


def _melody(samples: int, generator: np.random.Generator, timbre: Timbre, voices: int = 1) -> Sound:
    """A sequence of decaying notes of 0.12 to 0.6 s on one scale."""
    sound, start, root = np.zeros(samples), 0, generator.uniform(110, 440)
    while start < samples:
        here = min(int(generator.uniform(0.12, 0.6) * SAMPLE_RATE), samples - start)
        for _ in range(voices):
            frequency = root * 2 ** (generator.choice(SCALE) / 12)
            fading = np.minimum(_times(here) / 0.02, 1) * np.exp(-_times(here) / generator.uniform(0.1, 1))
            sound[start : start + here] += fading * timbre(frequency, here, generator)
        start += here
    return sound


def _chord(samples: int, generator: np.random.Generator, timbre: Timbre) -> Sound:
    """Three simultaneous notes with a tremolo of 0.1 to 3 Hz."""
    root, tones = generator.uniform(80, 400), generator.choice(CHORD_TONES, 3, replace=False)
    tremolo = 0.6 + 0.4 * _oscillation(generator.uniform(0.1, 3), samples, generator)
    return tremolo * sum(timbre(root * 2 ** (tone / 12), samples, generator) for tone in tones)


def _drums(samples: int, generator: np.random.Generator) -> Sound:
    """A steady beat of falling tones and bursts of noise."""
    sound = np.zeros(samples)
    for start in range(0, samples, int(generator.uniform(0.18, 0.6) * SAMPLE_RATE)):
        times = _times(min(int(0.15 * SAMPLE_RATE), samples - start))
        if generator.random() < 0.5:
            hit = np.sin(2 * np.pi * (50 + 80 * np.exp(-30 * times)) * times) * np.exp(-15 * times)
        else:
            hit = generator.standard_normal(len(times)) * np.exp(-generator.uniform(15, 60) * times)
        sound[start : start + len(times)] += hit
    return sound


def _music(samples: int, generator: np.random.Generator) -> Sound:
    """Plucked strings, drums and an organ."""
    strings = _melody(samples, generator, _pluck, voices=2)
    return strings + 0.5 * _drums(samples, generator) + 0.3 * _chord(samples, generator, _organ)


# Clicks


def _regular_clicks(samples: int, generator: np.random.Generator) -> Sound:
    step = int(SAMPLE_RATE / generator.uniform(0.7, 12))
    return _clicks(np.arange(generator.integers(1, 4000), samples, step), samples, generator)


def _irregular_clicks(samples: int, generator: np.random.Generator) -> Sound:
    count = int(generator.uniform(1, 40) * samples / SAMPLE_RATE) + 1
    return _clicks(generator.integers(0, samples, count), samples, generator)


def _clicks(positions: np.ndarray, samples: int, generator: np.random.Generator) -> Sound:
    """The same short burst at each position, at varying levels, over faint noise."""
    length = int(generator.uniform(1, 60))
    burst = generator.standard_normal(length) * np.exp(-np.arange(length) / (length / 4 + 1))
    strokes = np.zeros(samples)
    strokes[positions] = generator.uniform(0.3, 1, len(positions))
    return np.convolve(strokes, burst)[:samples] + 1e-4 * generator.random() * generator.standard_normal(samples)


FAMILIES: dict[str, Maker] = {
    "silence": _silence,
    "white-noise": partial(_noise, colour=0.0),
    "pink-noise": partial(_noise, colour=1.0),
    "brown-noise": partial(_noise, colour=2.0),
    "violet-noise": partial(_noise, colour=-2.0),
    "modulated-noise": _modulated_noise,
    "band-noise": _band_noise,
    "sine": _tone,
    "sweep": _sweep,
    "siren": _siren,
    "dialling": _dialling,
    "hum": _hum,
    "saw-chord": partial(_chord, timbre=_saw),
    "organ-chord": partial(_chord, timbre=_organ),
    "sine-melody": partial(_melody, timbre=_sine),
    "square-melody": partial(_melody, timbre=_square),
    "bell-melody": partial(_melody, timbre=_bell, voices=2),
    "plucked-melody": partial(_melody, timbre=_pluck, voices=2),
    "music": _music,
    "regular-clicks": _regular_clicks,
    "irregular-clicks": _irregular_clicks,
    "drums": _drums,
}
"""Maker of each family, by name."""
