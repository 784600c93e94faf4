"""Sounds that pass for speech, made from formulas, and a recogniser that knows them by their pitch."""

import copy
from dataclasses import replace
from typing import ClassVar

import numpy as np

from genser.audio import describe, load_audio
from genser.errors import NothingToLearnError
from genser.inference.backend import ModelOutput
from genser.inference.prediction import NO_SPEECH, Prediction
from genser.inference.profile import Profile
from genser.segments.scores import GatedScores

RATE = 16_000
VOWELS = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410))  # Hz: formants
LABELS = ("low", "middle", "high")
PITCHES = (90.0, 120.0, 160.0)  # Hz, of LABELS


def babble(duration: float, pitch: float = 120.0, seed: int = 0) -> np.ndarray:
    """Vowels at four syllables a second, voiced at a falling and wavering pitch, with hissed consonants between."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(duration * RATE)) / RATE
    phase = np.cumsum(pitch * (1.04 - 0.08 * (t / 1.7 % 1) + 0.03 * np.sin(2 * np.pi * 5 * t))) / RATE
    syllable = (t * 4).astype(int)
    vowels = np.array(VOWELS, float)[rng.integers(len(VOWELS), size=syllable.max(initial=0) + 1)][syllable]
    sound = np.zeros_like(t)
    for harmonic in range(1, int(4000 / pitch)):
        gain = sum(1 / (1 + ((harmonic * pitch - vowels[:, i]) / 90) ** 2) / (1 + i) for i in range(3))
        sound += gain / np.sqrt(harmonic) * np.sin(2 * np.pi * harmonic * phase)
    loudness = 0.1 + 0.9 * np.abs(np.sin(np.pi * 4 * t)) ** 0.5
    hiss = np.diff(rng.standard_normal(len(t) + 1)) * (np.cos(2 * np.pi * 4 * t) > 0.8)
    sound = sound * loudness + 0.15 * hiss
    return (0.3 * sound / np.abs(sound).max(initial=1)).astype(np.float32)


def hush(duration: float, seed: int = 0) -> np.ndarray:
    """Faint noise."""
    return (1e-3 * np.random.default_rng(seed).standard_normal(round(duration * RATE))).astype(np.float32)


class PitchRecognizer:
    """Knows three voices by the strongest pitch; its scores depend on the whole sound that it is given.

    Its speech gate takes the voice called `machine`, if any, for no speech. With a profile it takes each voice for the
    next one.
    """

    labels = LABELS
    prior = np.full(len(LABELS), 1 / len(LABELS))
    metadata: ClassVar = {"genders": ["female", "male"]}
    profile = None

    has_transport = True

    def __init__(self, machine: str | None = None, *, familiar: float | None = None) -> None:
        self.machine, self.familiar = machine, familiar
        self.heard: list[int] = []

    def for_task(self, task: str) -> "PitchRecognizer":
        return VoiceGender() if task == "gender" else self

    def learn_profile_of_clips(self, groups) -> Profile:
        windows = [window for group in groups for clip in group for window in clip.windows]
        if not windows:
            raise NothingToLearnError("There is no recording to learn a profile from.")
        return Profile("voices", np.zeros((1, 1), np.float32), len(windows), sum(map(len, windows)) / RATE)

    def adapted(self, to: Profile | None) -> "PitchRecognizer":
        other = copy.copy(self)
        other.profile = to
        return other

    def scores(self, waveforms: list[np.ndarray]) -> np.ndarray:
        self.heard += [len(waveform) for waveform in waveforms]
        return np.array([self._scores(waveform) for waveform in waveforms])

    def gated_scores(self, waveforms: list[np.ndarray]) -> GatedScores:
        rows = self.scores(waveforms)
        spoken = np.array([LABELS[winner] != self.machine for winner in rows.argmax(axis=1)])
        return GatedScores(rows, spoken, np.full(len(rows), np.nan if self.familiar is None else self.familiar))

    def predict_many(self, sources):
        return [replace(self._prediction(load_audio(source)), path=describe(source)) for source in sources]

    def predict_waveforms(self, waveforms):
        return [self._prediction(waveform) for waveform in waveforms]

    def _prediction(self, waveform: np.ndarray) -> Prediction:
        row, seconds = self._scores(waveform), len(waveform) / RATE
        named = dict(zip(LABELS, row.tolist(), strict=True))
        label = LABELS[row.argmax()]
        label = NO_SPEECH if label == self.machine else label
        return Prediction("a waveform", label, named, duration=seconds, familiar=self.familiar, heard=seconds)

    def trajectory(self, waveform: np.ndarray) -> np.ndarray:
        end = self._scores(waveform)
        return np.array([(1 - t) / len(LABELS) + t * end for t in np.linspace(0, 1, 5)])

    def state_coordinates(self, waveform: np.ndarray) -> np.ndarray:
        return np.linspace(0, 1, 5)[:, None] * self._scores(waveform)

    def _scores(self, waveform: np.ndarray) -> np.ndarray:
        spectrum = np.abs(np.fft.rfft(waveform.astype(float), 1 << 17)) ** 2
        per_bin = RATE / (1 << 17)
        energy = [spectrum[round(p * 0.92 / per_bin) : round(p * 1.08 / per_bin)].sum() for p in PITCHES]
        shares = np.roll(np.sqrt(np.array(energy) + 1e-9), 0 if self.profile is None else 1)
        return shares / shares.sum()


class VoiceGender(PitchRecognizer):
    """Takes the high voice for that of a woman and the others for those of men; it has no transport."""

    labels = ("female", "male")
    prior = np.full(2, 1 / 2)

    def _prediction(self, waveform: np.ndarray) -> Prediction:
        high, rest = self._scores(waveform)[2], self._scores(waveform)[:2].sum()
        named = {"female": high / (high + rest), "male": rest / (high + rest)}
        return replace(super()._prediction(waveform), label=max(named, key=named.__getitem__), scores=named)

    def trajectory(self, waveform: np.ndarray) -> None:
        return None

    def state_coordinates(self, waveform: np.ndarray) -> None:
        return None


class PitchBackend:
    """The voices' recogniser as a model of the library."""

    labels, metadata = LABELS, {}

    def outputs(self, windows, batch_samples, shift=None):
        rows = PitchRecognizer().scores(windows)
        still = np.repeat(rows[:, None], 5, axis=1)
        yield range(len(windows)), ModelOutput(rows, still, np.zeros((len(rows), 5, 4)), None)
