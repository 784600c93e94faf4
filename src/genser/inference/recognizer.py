"""The one class for users: sound in, calibrated class probabilities out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from genser.audio import SAMPLE_RATE, STREAM_LIMITS, AudioLimits, AudioSource
from genser.errors import AudioError, ConfigError, GenserError
from genser.files import usable_cores
from genser.inference.backend import Backend, ModelOutput
from genser.inference.decode_ahead import Clip, Decoder
from genser.inference.prediction import NO_SPEECH, TOLD, Prediction
from genser.inference.windows import BLOCK, cut, mean_by_duration, run_windows

if TYPE_CHECKING:
    from genser.segments.options import SegmentOptions
    from genser.segments.segment import Segment
    from genser.segments.stream import Stream
    from genser.segments.turns import Turn

BATCH_SECONDS = 60.0  # of sound run at once, padding included


class Recognizer:
    """A loaded model.

    The same sound gets the same scores alone or in a batch, from a path or an array.

    Args:
        backend: What runs the model.
        limits: Bounds beyond which a sound is refused.
    """

    def __init__(self, backend: Backend, *, limits: AudioLimits = STREAM_LIMITS) -> None:
        self._backend, self._limits = backend, limits

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the scores."""
        return self._backend.labels

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the model tells of itself: labels, task, encoder, head, precision, info, license, card."""
        return self._backend.metadata

    def predict(self, source: AudioSource) -> Prediction:
        """Recognise one sound.

        Args:
            source: Path ("-" is standard input), bytes, binary file object or (array, sample rate in Hz).

        Raises:
            AudioError: The sound cannot be read.
        """
        prediction = next(self.predict_many([source], workers=1))
        if prediction.error:
            raise AudioError(prediction.error)
        return prediction

    def predict_many(
        self, sources: Iterable[AudioSource], *, batch_seconds: float = BATCH_SECONDS, workers: int | None = None
    ) -> Iterator[Prediction]:
        """Recognise any number of sounds in bounded memory; decoding runs ahead of the model in threads.

        Args:
            sources: Taken as they are needed.
            batch_seconds: Sound run at once in seconds, padding included.
            workers: Threads that decode; None means one a core, four at most.

        Yields:
            One prediction a source, in their order. A source that fails costs the others nothing: its prediction
            carries the reason.

        Raises:
            ConfigError: An argument is out of range.
        """
        workers = min(usable_cores(), 4) if workers is None else workers
        if not batch_seconds > 0 or workers < 1:
            raise ConfigError(f"batch_seconds {batch_seconds} must be above 0 and workers {workers} at least 1.")
        decoder = Decoder(workers, self._limits, group_seconds=4 * batch_seconds)
        return chain.from_iterable(self._predict_group(group, batch_seconds) for group in decoder.groups(sources))

    def scores(self, waveforms: Sequence[np.ndarray], *, batch_seconds: float = BATCH_SECONDS) -> np.ndarray:
        """Class probabilities of sounds in memory.

        Sounds longer than 30 s are cut into windows of 10 s, whose scores are averaged by their lengths.

        Args:
            waveforms: Mono at 16 kHz, each of shape (samples,).
            batch_seconds: Sound run at once in seconds.

        Returns:
            Shape (n, classes); every row sums to 1.

        Raises:
            AudioError: A waveform is empty, not finite, or of another shape.
        """
        rows = self._read(waveforms, lambda output: output.scores, batch_seconds)
        return np.stack(rows) if rows else np.empty((0, len(self.labels)), np.float32)

    def gated_scores(
        self, waveforms: Sequence[np.ndarray], *, batch_seconds: float = BATCH_SECONDS
    ) -> tuple[np.ndarray, np.ndarray]:
        """Class probabilities of sounds in memory, and whether somebody speaks in them.

        Args:
            waveforms: As for :meth:`scores`.
            batch_seconds: Sound run at once in seconds.

        Returns:
            Scores of shape (n, classes), and booleans of shape (n,), False where the model's speech gate hears nobody.

        Raises:
            AudioError: A waveform is empty, not finite, or of another shape.
        """
        found = self._read(waveforms, _row, batch_seconds)
        rows = np.stack(found).astype(float) if found else np.empty((0, len(self.labels) + len(TOLD)))
        return rows[:, : len(self.labels)], self._is_speech(rows[:, len(self.labels)])

    @property
    def has_transport(self) -> bool:
        """Whether the model has a transport head, and so a trajectory and states."""
        return self.metadata.get("head", {}).get("kind", "transport") == "transport"

    def trajectory(self, waveform: np.ndarray) -> np.ndarray | None:
        """Class probabilities at the N + 1 times of the transport, from speech (first row) to class (last row).

        Args:
            waveform: Mono at 16 kHz, shape (samples,).

        Returns:
            Shape (N + 1, classes); None if the model has no transport head.
        """
        if not self.has_transport:
            return None
        return self._read([waveform], lambda output: output.trajectory, BATCH_SECONDS)[0]

    def states(self, waveform: np.ndarray) -> np.ndarray | None:
        """States x_t at the N + 1 times of the transport, shape (N + 1, dim); None without a transport head."""
        if not self.has_transport:
            return None
        return self._read([waveform], lambda output: output.states, BATCH_SECONDS)[0]

    def segments(
        self, source: AudioSource, options: "SegmentOptions | None" = None, *, turns: "Sequence[Turn] | None" = None
    ) -> "list[Segment]":
        """Recognise the emotions of a recording over time, in memory that does not grow with its length.

        Args:
            source: As for :meth:`predict`.
            options: How to cut, smooth and merge; see :class:`genser.segments.options.SegmentOptions`.
            turns: Stretches to recognise instead of looking for speech.

        Raises:
            AudioError: The sound cannot be read.
        """
        from genser.segments.options import DEFAULTS
        from genser.segments.timeline import recognize_timeline

        return list(recognize_timeline(self, source, options or DEFAULTS, turns=turns, limits=self._limits).segments)

    def stream(self, sample_rate: int = SAMPLE_RATE, options: "SegmentOptions | None" = None) -> "Stream":
        """Open a stream: push chunks of live sound, get segments as soon as they are decided.

        Args:
            sample_rate: Of the chunks, in Hz.
            options: How to cut; see :class:`genser.segments.stream.Stream`.
        """
        from genser.segments.options import LIVE
        from genser.segments.stream import Stream

        return Stream(self, options or LIVE, sample_rate)

    def _read(self, waveforms: Sequence[np.ndarray], read: Any, batch_seconds: float) -> list[np.ndarray]:
        clips = [cut(_checked(waveform, index)) for index, waveform in enumerate(waveforms)]
        return self._read_clips(clips, read, batch_seconds)

    def _read_clips(self, clips: Sequence[list[np.ndarray]], read: Any, batch_seconds: float) -> list[np.ndarray]:
        windows = list(chain.from_iterable(clips))
        answers = iter(run_windows(self._backend, windows, batch_seconds * SAMPLE_RATE, read))
        return [mean_by_duration([next(answers) for _ in clip], clip) for clip in clips]

    def _predict_group(self, group: list[Clip], batch_seconds: float) -> Iterator[Prediction]:
        whole = [clip for clip in group if clip.windows]
        rows = iter(self._read_clips([clip.windows for clip in whole], _row, batch_seconds))
        for clip in group:
            yield self._prediction(clip, next(rows) if clip.windows else None, batch_seconds)

    def _prediction(self, clip: Clip, row: np.ndarray | None, batch_seconds: float) -> Prediction:
        if clip.error:
            return Prediction(clip.name, None, error=clip.error)
        try:
            row, samples = self._finished(clip, row, batch_seconds)
        except (GenserError, OSError) as error:
            return Prediction(clip.name, None, error=str(error))
        scores, told = row[: len(self.labels)], row[len(self.labels) :]
        if not np.isfinite(scores).all():
            return Prediction(clip.name, None, error=f"{clip.name}: the model gives no number for it. Leave it out.")
        label = self.labels[int(scores.argmax())] if self._is_speech(np.float64(told[0])) else NO_SPEECH
        named = dict(zip(self.labels, map(float, scores), strict=True))
        further = {name: None if np.isnan(value) else float(value) for name, value in zip(TOLD, told, strict=True)}
        return Prediction(clip.name, label, named, duration=samples / SAMPLE_RATE, **further)

    def _is_speech(self, speech: np.ndarray) -> np.ndarray:
        """Whether probabilities of speech pass the gate; NaN, where there is none, always does."""
        return np.logical_not(speech < (self.metadata.get("speech_threshold") or 0.0))

    def _finished(self, clip: Clip, row: np.ndarray | None, batch_seconds: float) -> tuple[np.ndarray, int]:
        """Take the rest of a long sound, a batch at a time; return the mean row and the number of samples."""
        samples = clip.samples
        total = row * samples if row is not None else 0.0
        for windows in _chunks(clip.rest, batch_seconds * SAMPLE_RATE):
            count = sum(map(len, windows))
            total = total + count * self._read_clips([windows], _row, batch_seconds)[0]
            samples += count
        return np.asarray(total) / samples, samples


def _row(output: ModelOutput) -> np.ndarray:
    """Scores and what else is told, (batch, classes + 2); NaN where the model does not tell."""
    untold = np.full(len(output.scores), np.nan)
    further = [untold if getattr(output, name) is None else getattr(output, name) for name in TOLD]
    return np.column_stack([output.scores, *further])


def _chunks(windows: Iterator[np.ndarray], samples: float) -> Iterator[list[np.ndarray]]:
    held: list[np.ndarray] = []
    for window in windows:
        held.append(window)
        if sum(map(len, held)) + BLOCK > samples:
            yield held
            held = []
    if held:
        yield held


def _checked(waveform: np.ndarray, index: int) -> np.ndarray:
    waveform = np.asarray(waveform)
    if waveform.ndim != 1 or not len(waveform) or waveform.dtype.kind != "f":
        raise AudioError(
            f"Waveform {index} has the shape {waveform.shape} and type {waveform.dtype}. Pass floats in ±1 of shape "
            "(samples,), mono at 16 kHz, such as genser.audio.load_audio returns."
        )
    if not np.isfinite(waveform).all():
        raise AudioError(f"Waveform {index} holds NaN or infinite samples. Repair it, or leave it out.")
    return waveform
