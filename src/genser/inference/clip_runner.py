"""Runs a model on clips: on their windows in batches, whose outputs are then combined for each clip."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from genser.audio import SAMPLE_RATE
from genser.errors import AudioError
from genser.inference.backend import Backend, ModelOutput
from genser.inference.decode_ahead import Clip
from genser.inference.progress import ClipProgress, Progress
from genser.inference.windows import WINDOW, cut, window_weights

BATCH_SECONDS = 60.0  # of audio in a batch, padding included

Read = Callable[[ModelOutput], np.ndarray]
"""Selects one output of a model, of shape (batch, …)."""


@dataclass(frozen=True)
class WindowOutput:
    """Output of the model for one window: its number of samples, P(speech) (NaN without a gate) and the values read."""

    samples: int
    speech: float
    values: np.ndarray


class ClipRunner:
    """Runs a model on clips of any length.

    Args:
        backend: Runs the model on windows.
        shift: Added to the features, see :class:`genser.inference.profile.Profile`; None adds nothing.
    """

    def __init__(self, backend: Backend, shift: np.ndarray | None = None) -> None:
        self._backend, self._shift = backend, shift

    def run(
        self,
        groups: Iterable[list[Clip]],
        read: Read,
        batch_seconds: float | None = None,
        progress: Progress | None = None,
    ) -> Iterator[tuple[Clip, list[WindowOutput]]]:
        """Run the model on clips; damage behind the beginning of one becomes its error and does not stop the others."""
        for group in groups:
            counter = ClipProgress(progress) if progress else None
            windows = list(chain.from_iterable(clip.windows for clip in group))
            done = counter.of([clip for clip in group for _ in clip.windows], windows) if counter else None
            found = iter(self._run_windows(windows, read, batch_seconds, done))
            for clip in group:
                outputs = [next(found) for _ in clip.windows]
                try:
                    for rest in _batched(clip.rest, (batch_seconds or BATCH_SECONDS) * SAMPLE_RATE):
                        done = counter.of([clip] * len(rest), rest) if counter else None
                        outputs += self._run_windows(rest, read, batch_seconds, done)
                except MemoryError:
                    raise
                except Exception as error:
                    clip.error = str(error) or repr(error)
                yield clip, outputs

    def run_waveforms(
        self, waveforms: Sequence[np.ndarray], read: Read, batch_seconds: float | None = None
    ) -> list[tuple[np.ndarray, float]]:
        """Values and P(speech) of clips in memory."""
        clips = [windows_in_memory(waveform, index) for index, waveform in enumerate(waveforms)]
        outputs = iter(self._run_windows(list(chain.from_iterable(clips)), read, batch_seconds))
        return [self.combined([next(outputs) for _ in clip]) for clip in clips]

    def combined(self, outputs: Sequence[WindowOutput]) -> tuple[np.ndarray, float]:
        """Values and P(speech) of a clip from the outputs for its windows."""
        if len(outputs) == 1:
            return outputs[0].values, outputs[0].speech
        speech = [output.speech for output in outputs]
        lengths = [output.samples for output in outputs]
        weights = window_weights(lengths, speech, self._backend.metadata.get("speech_threshold"))
        return np.average([output.values for output in outputs], axis=0, weights=weights), max(speech)

    def is_speech(self, speech: float) -> bool:
        """Whether P(speech) reaches the model's threshold; NaN, without a gate, always does."""
        return not speech < (self._backend.metadata.get("speech_threshold") or 0.0)

    def _run_windows(
        self,
        windows: Sequence[np.ndarray],
        read: Read,
        batch_seconds: float | None,
        done: Callable[[Sequence[int]], None] | None = None,
    ) -> list[WindowOutput]:
        """Run the model on windows of any clips; the outputs come in the order of the windows."""
        found: dict[int, WindowOutput] = {}
        samples = None if batch_seconds is None else batch_seconds * SAMPLE_RATE
        for indices, output in self._backend.outputs(windows, samples, self._shift):
            speech = np.full(len(indices), np.nan) if output.speech is None else output.speech
            for index, probability, values in zip(indices, speech, read(output), strict=True):
                found[index] = WindowOutput(len(windows[index]), float(probability), values)
            if done:
                done(indices)
        return [found[index] for index in range(len(windows))]


def windows_in_memory(waveform: np.ndarray, index: int) -> list[np.ndarray]:
    """The windows of a waveform of shape (samples,), mono at 16 kHz; `index` is its number in the error.

    Raises:
        AudioError: It is empty, not finite, or of another shape.
    """
    waveform = np.asarray(waveform)
    if waveform.ndim != 1 or not len(waveform) or waveform.dtype.kind != "f":
        raise AudioError(
            f"Waveform {index} has the shape {waveform.shape} and type {waveform.dtype}. Pass floats in ±1 of shape "
            "(samples,), mono at 16 kHz, as genser.audio.load_audio returns."
        )
    if not np.isfinite(waveform).all():
        raise AudioError(f"Waveform {index} contains NaN or infinite samples. Repair or remove it.")
    return cut(waveform)


def _batched(windows: Iterator[np.ndarray], samples: float) -> Iterator[list[np.ndarray]]:
    """Lists of consecutive windows of at most so many samples, at least one window each."""
    batch: list[np.ndarray] = []
    for window in windows:
        batch.append(window)
        if sum(map(len, batch)) + WINDOW > samples:
            yield batch
            batch = []
    if batch:
        yield batch
