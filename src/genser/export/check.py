"""Does an exported graph say what the model says? Asked with made-up voices of many lengths, alone and in batches."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from genser.audio import SAMPLE_RATE
from genser.errors import ModelError
from genser.inference.backend import ModelOutput

BATCHES = ((0.025,), (0.5,), (1.0, 3.0, 2.2), (4.0, 4.0), (0.04, 6.1, 1.7, 3.3), (30.0,))  # s
LARGEST_DIFFERENCE = {"float32": 1e-4, "int8": 0.1}
BATCH_DIFFERENCE = {"float32": 1e-4, "int8": 1e-2}
LABELS_ALIKE = {"float32": 1.0, "int8": 0.99}
MARGIN = 0.05  # of score between the first two classes, under which a label is a toss-up

Run = Callable[[np.ndarray, np.ndarray], ModelOutput]


@dataclass(frozen=True)
class Parity:
    """How far a graph is from its model, over all clips.

    Attributes:
        difference: Largest absolute difference of a score.
        agreement: Share of the clips with the same label, among those whose label is no toss-up.
        company: Largest absolute difference of a score between a clip alone and in a batch, in the graph.
        clips: Number of clips.
    """

    difference: float
    agreement: float
    company: float
    clips: int

    def check(self, precision: str, tolerance: float | None = None) -> None:
        """Refuse a graph that is too far away.

        Args:
            precision: ``"float32"`` or ``"int8"``.
            tolerance: Largest difference of a score allowed; None takes that of the precision.

        Raises:
            ModelError: Scores or labels differ by more than is allowed.
        """
        allowed = LARGEST_DIFFERENCE[precision] if tolerance is None else tolerance
        if not (
            self.difference <= allowed
            and self.agreement >= LABELS_ALIKE[precision]
            and self.company <= BATCH_DIFFERENCE[precision]
        ):
            raise ModelError(
                f"The exported graph is not the model: over {self.clips} clips scores differ by up to "
                f"{self.difference:.2g} ({allowed:g} are allowed), {100 * self.agreement:.1f} % of the labels agree "
                f"({100 * LABELS_ALIKE[precision]:g} % are needed), and a batch moves scores by up to "
                f"{self.company:.2g}. Export with precision float32, or allow a larger tolerance."
            )


def measure_parity(model: Run, graph: Run, batches: tuple = BATCHES, seed: int = 0) -> Parity:
    """Compare a graph with its model.

    Args:
        model: Runs the model.
        graph: Runs the graph.
        batches: Lengths of the clips of each batch in seconds.
        seed: Of the made-up voices.
    """
    wanted, found, alone = [], [], []
    for waveforms, lengths in _voices(batches, seed):
        wanted.append(model(waveforms, lengths))
        found.append(graph(waveforms, lengths))
        for waveform, length in zip(waveforms, lengths, strict=True):
            alone.append(graph(waveform[None, :length], np.array([length])).scores)
    scores, ours = (np.concatenate([output.scores for output in outputs]) for outputs in (wanted, found))
    differences = [
        np.abs(getattr(a, name) - getattr(b, name)).max()
        for a, b in zip(wanted, found, strict=True)
        for name in ("scores", "trajectory", "speech")
        if getattr(a, name) is not None
    ]
    return Parity(
        difference=_largest(differences),
        agreement=_agreement(scores, ours),
        company=_largest(np.abs(np.concatenate(alone) - ours).ravel()),
        clips=len(scores),
    )


def _largest(differences) -> float:
    """The maximum, infinite if one is not a number: NaN must not pass a comparison."""
    return float(np.nan_to_num(np.max(differences), nan=np.inf))


def _agreement(wanted: np.ndarray, found: np.ndarray) -> float:
    ranked = np.sort(wanted, axis=1)
    is_clear = ranked[:, -1] - ranked[:, -2] > MARGIN if wanted.shape[1] > 1 else np.ones(len(wanted), bool)
    same = wanted.argmax(1) == found.argmax(1)
    return float(same[is_clear].mean()) if is_clear.any() else 1.0


def _voices(batches: tuple, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Padded batches of buzzing, gliding, syllabic tones through two resonances, with some noise; then silence."""
    random = np.random.default_rng(seed)
    for durations in batches:
        lengths = np.array([round(duration * SAMPLE_RATE) for duration in durations])
        waveforms = random.standard_normal((len(lengths), lengths.max())).astype(np.float32)
        for row, length in zip(waveforms, lengths, strict=True):
            row[:length] = _voice(length, random)
        yield waveforms, lengths
    yield np.zeros((1, SAMPLE_RATE), np.float32), np.array([SAMPLE_RATE])


def _voice(length: int, random: np.random.Generator) -> np.ndarray:
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
