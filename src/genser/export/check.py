"""Checks an exported graph against its model on synthetic voices of many lengths, alone and in batches."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from genser.audio import SAMPLE_RATE
from genser.errors import ModelError, counted
from genser.inference.backend import ModelOutput

BATCHES = ((0.025,), (0.5,), (1.0, 3.0, 2.2), (4.0, 4.0), (0.04, 6.1, 1.7, 3.3), (30.0,))  # s
LARGEST_DIFFERENCE = {"float32": 1e-4, "int8": 0.1}
BATCH_DIFFERENCE = {"float32": 1e-4, "int8": 1e-2}
LABEL_AGREEMENT = {"float32": 1.0, "int8": 0.99}
MARGIN = 0.05  # between the two largest scores; labels with a smaller one are not compared

Run = Callable[[np.ndarray, np.ndarray], ModelOutput]


@dataclass(frozen=True)
class Parity:
    """Differences between a graph and its model over all clips.

    Attributes:
        difference: Largest absolute difference of a score.
        agreement: Share of clips with the same label, among those with a clear label.
        batch_difference: Largest absolute difference of a score between a clip alone and in a batch, in the graph.
        clips: Number of clips.
    """

    difference: float
    agreement: float
    batch_difference: float
    clips: int

    def check(self, precision: str, tolerance: float | None = None) -> None:
        """Refuse a graph that differs too much.

        Args:
            precision: ``"float32"`` or ``"int8"``.
            tolerance: Largest allowed difference of a score; None takes that of the precision.

        Raises:
            ModelError: Scores or labels differ by more than is allowed.
        """
        allowed = LARGEST_DIFFERENCE[precision] if tolerance is None else tolerance
        if not (
            self.difference <= allowed
            and self.agreement >= LABEL_AGREEMENT[precision]
            and self.batch_difference <= BATCH_DIFFERENCE[precision]
        ):
            raise ModelError(
                f"The exported graph differs from the model: over {counted(self.clips, 'clip')} scores differ by up to "
                f"{self.difference:.2g} (allowed: {allowed:g}), {100 * self.agreement:.1f} % of the labels agree "
                f"(needed: {100 * LABEL_AGREEMENT[precision]:g} %), and a batch changes scores by up to "
                f"{self.batch_difference:.2g} (allowed: {BATCH_DIFFERENCE[precision]:g}). Use precision float32, or "
                "allow a larger tolerance."
            )


def measure_parity(model: Run, graph: Run, batches: tuple = BATCHES, seed: int = 0) -> Parity:
    """Compare a graph with its model.

    Args:
        model: Runs the model.
        graph: Runs the graph.
        batches: Durations of the clips of each batch in seconds.
        seed: Of the synthetic voices.
    """
    expected, found, alone = [], [], []
    for waveforms, lengths in _voices(batches, seed):
        expected.append(model(waveforms, lengths))
        found.append(graph(waveforms, lengths))
        for waveform, length in zip(waveforms, lengths, strict=True):
            alone.append(graph(waveform[None, :length], np.array([length])).scores)
    scores, ours = (np.concatenate([output.scores for output in outputs]) for outputs in (expected, found))
    differences = [
        np.abs(getattr(a, name) - getattr(b, name)).max()
        for a, b in zip(expected, found, strict=True)
        for name in ("scores", "trajectory", "speech", "gender")
        if getattr(a, name) is not None
    ]
    return Parity(
        difference=_largest(differences),
        agreement=_agreement(scores, ours),
        batch_difference=_largest(np.abs(np.concatenate(alone) - ours).ravel()),
        clips=len(scores),
    )


def _largest(differences) -> float:
    """The maximum; infinite if a value is NaN, which must not pass a comparison."""
    return float(np.nan_to_num(np.max(differences), nan=np.inf))


def _agreement(expected: np.ndarray, found: np.ndarray) -> float:
    ranked = np.sort(expected, axis=1)
    is_clear = ranked[:, -1] - ranked[:, -2] > MARGIN if expected.shape[1] > 1 else np.ones(len(expected), bool)
    same = expected.argmax(1) == found.argmax(1)
    return float(same[is_clear].mean()) if is_clear.any() else 1.0


def _voices(batches: tuple, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Padded batches of synthetic voices with some noise, then one clip of silence."""
    random = np.random.default_rng(seed)
    for durations in batches:
        lengths = np.array([round(duration * SAMPLE_RATE) for duration in durations])
        waveforms = random.standard_normal((len(lengths), lengths.max())).astype(np.float32)
        for row, length in zip(waveforms, lengths, strict=True):
            row[:length] = _voice(length, random)
        yield waveforms, lengths
    yield np.zeros((1, SAMPLE_RATE), np.float32), np.array([SAMPLE_RATE])


def _voice(length: int, random: np.random.Generator) -> np.ndarray:
    """A gliding harmonic tone with two formants and syllables of 2 to 6 Hz."""
    time = np.arange(length) / SAMPLE_RATE
    pitch, level, rate = random.uniform(90, 320), 10 ** random.uniform(-1.6, -0.4), random.uniform(2, 6)
    phase = 2 * np.pi * pitch * (time + 0.05 * np.sin(2 * np.pi * random.uniform(0.3, 2) * time))
    formants = random.uniform((300, 900), (800, 2600))
    sound = np.zeros(length)
    for harmonic in range(1, 24):
        frequency = harmonic * pitch
        gain = sum(1 / (1 + ((frequency - formant) / 120) ** 2) for formant in formants) / harmonic**0.5
        sound += gain * np.sin(harmonic * phase)
    syllables = np.clip(np.sin(2 * np.pi * rate * time + random.uniform(0, 6)), 0.02, 1)
    sound = level * syllables * sound / (np.abs(sound).max() + 1e-9)
    return (sound + random.uniform(1e-4, 3e-2) * level * random.standard_normal(length)).astype(np.float32)
