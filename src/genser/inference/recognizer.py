"""The main class: audio in, calibrated class probabilities out."""

import math
import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from itertools import islice, starmap
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from genser.audio import SAMPLE_RATE, STREAM_LIMITS, AudioLimits, AudioSource, AudioStream, Channel, reusable
from genser.audio.mixing import check_channel
from genser.errors import AudioError, ConfigError, NothingToLearnError
from genser.files import usable_cores
from genser.inference.backend import Backend, ModelOutput
from genser.inference.class_prior import Classes, ClassPrior, Shares
from genser.inference.clip_runner import BATCH_SECONDS, ClipRunner, WindowOutput, windows_in_memory
from genser.inference.decode_ahead import Clip, Decoder
from genser.inference.embeddings import Embeddings, features_of
from genser.inference.hub_model import HubModel
from genser.inference.prediction import NO_SPEECH, Prediction
from genser.inference.profile import Profile, training_mean
from genser.inference.progress import Progress
from genser.inference.second_task import for_task
from genser.inference.tables import TablePredictions
from genser.segments.scores import GatedScores
from genser.transport.codes import class_codes, projections

if TYPE_CHECKING:
    from genser.inference.pipeline import AudioClassification
    from genser.segments.options import SegmentOptions
    from genser.segments.segment import Segment, Timeline
    from genser.segments.stream import Stream
    from genser.segments.summary import VoiceSummary
    from genser.segments.turns import Turn

CLIPS_AT_ONCE = 32  # clips in memory that speakers' profiles are learned from


class Recognizer(HubModel, TablePredictions, Embeddings):
    """A loaded model.

    A clip gets the same scores alone and in a batch, from a path and from an array. If the model has eight-bit
    products, the number of threads changes the scores a little: between one and two threads by 0.0015 at most on 183
    real clips. Many clips run on one thread each and a single clip on all of them; in a server the load decides. Clips
    over 10 s are cut into windows, see :mod:`genser.inference.windows`.

    Args:
        backend: Runs the model.
        limits: Bounds beyond which a clip is refused.
        prior: Classes that can occur, and their shares; None means all classes of the model, equally frequent.
        profile: What the recordings' microphone, room, language or speaker does to the features; None means nothing.
        decoders: Threads that decode ahead of the model unless a call asks for others; None means one per core, at
            most four.

    Raises:
        ConfigError: The profile was learned with another model.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        limits: AudioLimits = STREAM_LIMITS,
        prior: ClassPrior | None = None,
        profile: Profile | None = None,
        decoders: int | None = None,
    ) -> None:
        self._backend, self._limits, self._decoders = backend, limits, decoders or min(usable_cores(), 4)
        self._prior, self._profile = prior or ClassPrior.of(backend.labels), profile
        if profile is not None:
            profile.check(backend.metadata)
        self._runner = ClipRunner(backend, None if profile is None else profile.shift)

    def __repr__(self) -> str:
        name = self.metadata.get("info", {}).get("name", "a model")
        return f"<Recognizer of {name}: {', '.join(self.labels)}>"

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes that can occur, in the order of the scores."""
        return self._prior.labels

    @property
    def prior(self) -> np.ndarray:
        """Shares of the classes that the scores assume, shape (classes,)."""
        return self._prior.shares

    def restricted(self, classes: Classes = None, prior: Shares = None) -> "Recognizer":
        """A recogniser of the same model for recordings in which only some classes occur, or some more often.

        Its scores are the posterior over these classes, see :class:`genser.inference.class_prior.ClassPrior`.

        Args:
            classes: Classes that can occur, also as text: ``"anger,neutral"``.
            prior: Class → share, relative to the others, also as text: ``"anger=0.2,neutral=0.8"``.

        Raises:
            ConfigError: A class is unknown, fewer than two are left, or a share is missing or not positive.
        """
        return self._changed(ClassPrior.of(self._backend.labels, classes, prior), self._profile)

    def for_task(self, task: str) -> "Recognizer":
        """A recogniser of the same model that gives another of its answers, for all its classes.

        Args:
            task: ``"emotion"``, or ``"gender"``, to which a profile does not apply.

        Raises:
            ConfigError: There is no such task, or the model was not trained for it.
        """
        backend = for_task(self._backend, task)
        profile = self._profile if backend is self._backend else None
        return Recognizer(backend, limits=self._limits, profile=profile, decoders=self._decoders)

    @property
    def profile(self) -> Profile | None:
        """The profile that is applied, if any."""
        return self._profile

    def adapted(self, to: Profile | Iterable[AudioSource] | None) -> "Recognizer":
        """A recogniser of the same model that is adapted to a collection of recordings, without labels.

        Args:
            to: A profile, or recordings to learn one from, see :meth:`learn_profile`; None for no profile.

        Raises:
            ConfigError: The profile was learned with another model, or no recording holds speech.
        """
        profile = to if to is None or isinstance(to, Profile) else self.learn_profile(to)
        return self._changed(self._prior, profile)

    def _changed(self, prior: ClassPrior, profile: Profile | None) -> "Recognizer":
        options = {"limits": self._limits, "decoders": self._decoders}
        return Recognizer(self._backend, prior=prior, profile=profile, **options)

    def learn_profile(
        self,
        sources: Iterable[AudioSource],
        *,
        channel: Channel = "mix",
        report: Callable[[str], None] | None = None,
        remark: Callable[[str, str, int], object] | None = None,
    ) -> Profile:
        """Learn what these recordings have in common, other than emotion, see :class:`Profile`.

        Recordings without speech, and those that cannot be read, do not count. A long recording counts as its windows.

        Args:
            sources: Recordings of one microphone, room, language or speaker; a hundred short clips are plenty.
            channel: As for :meth:`predict_many`.
            report: Called with the reason for each recording that cannot be read.
            remark: Called for each unusual recording with its name, and with :attr:`Prediction.remark` and
                :attr:`Prediction.mixed` of it.

        Raises:
            ConfigError: No recording holds speech, the model has no features to adapt, or `sources` is a single source.
        """
        _check_collection(sources, "A profile", "read a profile with Profile.load")
        return self.learn_profile_of_clips(self._decoded(sources, channel), report, remark)

    def learn_profile_of_clips(
        self,
        groups: Iterable[list[Clip]],
        report: Callable[[str], None] | None = None,
        remark: Callable[[str, str, int], object] | None = None,
    ) -> Profile:
        """Learn a profile from clips that were decoded before, see :meth:`learn_profile`.

        Args:
            groups: Clips; the windows of a group go to the model in batches.
            report: As for :meth:`learn_profile`.
            remark: As for :meth:`learn_profile`.

        Raises:
            ConfigError: As for :meth:`learn_profile`.
        """
        training_mean(self.metadata)  # a model without it is refused before it has worked
        rows: list[np.ndarray] = []
        samples, failure = 0, None
        for clip, outputs in self._runner.run(groups, features_of):
            failure = failure or clip.error
            if clip.error is not None and report:
                report(clip.error)
            if remark and clip.stream and clip.stream.remark:
                remark(clip.name, clip.stream.remark, clip.stream.mixed)
            if clip.error is None:
                spoken = [output for output in outputs if self._runner.is_speech(output.speech)]
                rows += [output.values for output in spoken]
                samples += sum(output.samples for output in spoken)
        if failure and not rows:
            raise NothingToLearnError(f"There is no recording to learn a profile from. {failure}")
        return Profile.learned(self.metadata, np.array(rows), samples / SAMPLE_RATE)

    def learn_profiles(self, clips: Iterable[tuple[str | None, np.ndarray]]) -> dict[str | None, Profile]:
        """Learn a profile of each speaker of a collection; from few clips it is mostly the profile of all clips.

        Clips without speech do not count, and a speaker without speech gets no profile.

        Args:
            clips: Name of the speaker, and waveform, mono at 16 kHz, of shape (samples,).

        Raises:
            ConfigError: No clip holds speech, or the model has no features to adapt.
            AudioError: A waveform is empty, not finite, or of another shape.
        """
        training_mean(self.metadata)  # a model without it is refused before it has worked
        rows: dict[str | None, list[np.ndarray]] = defaultdict(list)
        samples: Counter[str | None] = Counter()
        clips = iter(clips)
        while batch := list(islice(clips, CLIPS_AT_ONCE)):
            waveforms = [waveform for _, waveform in batch]
            for (name, waveform), (features, speech) in zip(
                batch, self._runner.run_waveforms(waveforms, features_of), strict=True
            ):
                if self._runner.is_speech(speech):
                    rows[name].append(features)
                    samples[name] += len(waveform)
        every = np.array([features for found in rows.values() for features in found])
        base = Profile.learned(self.metadata, every, samples.total() / SAMPLE_RATE).shift
        return {
            name: Profile.learned(self.metadata, np.array(found), samples[name] / SAMPLE_RATE, base)
            for name, found in rows.items()
        }

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Metadata of the model: labels, task, encoder, head, precision, info, license, card."""
        return self._backend.metadata

    def predict(self, source: AudioSource | AudioStream, *, channel: int | Literal["mix"] = "mix") -> Prediction:
        """Recognise one clip.

        Args:
            source: Path ("-" is standard input), bytes, binary file object, (array, sample rate in Hz) or what
                :func:`genser.audio.stream_audio` returns.
            channel: Number of the channel to recognise, from 1; or "mix".

        Raises:
            AudioError: The clip cannot be read, or has no such channel.
            ConfigError: The channel is "each", which has several results.
        """
        if channel == "each":
            raise ConfigError("predict returns one result. Use predict_many([…], channel='each').")
        (prediction,) = self.predict_many([source], channel=channel, workers=1)
        if prediction.error:
            raise AudioError(prediction.error)
        return prediction

    def predict_many(
        self,
        sources: Iterable[AudioSource | AudioStream],
        *,
        channel: Channel = "mix",
        batch_seconds: float | None = None,
        workers: int | None = None,
        pool: Executor | None = None,
        progress: Progress | None = None,
    ) -> Iterator[Prediction]:
        """Recognise any number of clips in bounded memory; threads decode ahead of the model.

        Args:
            sources: Any iterable of sources as for :meth:`predict`; it is read as needed.
            channel: Number of the channel to recognise, from 1; "mix"; or "each" for one prediction per channel.
            batch_seconds: Length of audio in a batch in seconds, padding included; None means 60, on a GPU 600.
            workers: Threads that decode; None means one per core, at most four, for a GPU at most 16.
            pool: Processes that decode files of up to 30 s, see :func:`genser.data.features.decoding_pool`. From eight
                cores on they are faster than threads, which counts with a GPU.
            progress: Called with the seconds of a clip that are recognised and its length, for every window of 10 s.

        Yields:
            One prediction per source, with "each" one per channel of it, in order. If a source cannot be read, its
            prediction carries the reason in `error`, and the others are not affected.

        Raises:
            ConfigError: An argument is out of range, or `sources` is a single source.
        """
        _check_collection(sources, "predict_many", "use predict")
        is_range = batch_seconds is None or 0 < batch_seconds < math.inf
        if not is_range or (workers is not None and workers < 1):
            raise ConfigError(
                f"batch_seconds must be a number above 0 and workers at least 1, got {batch_seconds}, {workers}."
            )
        check_channel(channel)
        groups = self._decoded(sources, channel, batch_seconds, workers, pool)
        return self.predict_clips(groups, batch_seconds, progress)

    def predict_clips(
        self, groups: Iterable[list[Clip]], batch_seconds: float | None = None, progress: Progress | None = None
    ) -> Iterator[Prediction]:
        """Recognise clips that were decoded before, such as in other processes.

        Args:
            groups: Clips; the windows of a group are sorted by length, and go to the model in batches.
            batch_seconds: As for :meth:`predict_many`.
            progress: As for :meth:`predict_many`.

        Yields:
            One prediction per clip, in order.
        """
        return starmap(self._prediction, self._runner.run(groups, _scores_and_familiar, batch_seconds, progress))

    def pipeline(self, top_k: int | None = None) -> "AudioClassification":
        """A callable with the inputs and results of ``transformers.pipeline("audio-classification")``.

        Args:
            top_k: Classes in a result; None means all.
        """
        from genser.inference.pipeline import AudioClassification

        return AudioClassification(self, top_k)

    def predict_waveforms(self, waveforms: Sequence[np.ndarray]) -> list[Prediction]:
        """Recognise clips that :func:`genser.audio.load_audio` has decoded.

        Args:
            waveforms: Mono at 16 kHz, each of shape (samples,).

        Raises:
            AudioError: A waveform is empty, not finite, or of another shape.
        """
        clips = [Clip("a waveform", windows_in_memory(waveform, index)) for index, waveform in enumerate(waveforms)]
        return list(self.predict_clips([clips]))

    def scores(self, waveforms: Sequence[np.ndarray], *, batch_seconds: float | None = None) -> np.ndarray:
        """Class probabilities of clips in memory.

        Args:
            waveforms: Mono at 16 kHz, each of shape (samples,).
            batch_seconds: Length of audio in a batch in seconds; None means 60, on a GPU 600.

        Returns:
            Shape (clips, classes); every row sums to 1.

        Raises:
            AudioError: A waveform is empty, not finite, or of another shape.
        """
        return self.gated_scores(waveforms, batch_seconds=batch_seconds)[0]

    def gated_scores(self, waveforms: Sequence[np.ndarray], *, batch_seconds: float | None = None) -> GatedScores:
        """Class probabilities of clips in memory, whether they hold speech, and their in-domain scores.

        Args:
            waveforms: As for :meth:`scores`.
            batch_seconds: As for :meth:`scores`.

        Returns:
            Scores of shape (clips, classes); booleans of shape (clips,), False where P(speech) is below the threshold
            of the model's speech gate; and in-domain scores of shape (clips,), NaN if the model has none.

        Raises:
            AudioError: A waveform is empty, not finite, or of another shape.
        """
        clips = self._runner.run_waveforms(waveforms, _scores_and_familiar, batch_seconds)
        width = len(self._backend.labels) + 1
        rows = np.array([row for row, _ in clips]).reshape(len(clips), width)
        spoken = np.array([self._runner.is_speech(speech) for _, speech in clips], bool)
        return GatedScores(self._prior.posterior(rows[:, :-1]), spoken, rows[:, -1])

    @property
    def has_transport(self) -> bool:
        """Whether the model has a transport head, and so a trajectory and states."""
        return self.metadata.get("head", {}).get("kind", "transport") == "transport"

    def trajectory(self, waveform: np.ndarray) -> np.ndarray | None:
        """Class probabilities at the N + 1 times of the transport, from the speech feature to the class.

        Args:
            waveform: Mono at 16 kHz, shape (samples,).

        Returns:
            Shape (N + 1, classes), of which the last row holds the scores; None if the model has no transport head.
        """
        if not self.has_transport:
            return None
        return self._prior.posterior(self._runner.run_waveforms([waveform], attrgetter("trajectory"))[0][0])

    def states(self, waveform: np.ndarray) -> np.ndarray | None:
        """States x_t at the N + 1 times of the transport, shape (N + 1, dim); None without a transport head."""
        if not self.has_transport:
            return None
        return self._runner.run_waveforms([waveform], attrgetter("states"))[0][0]

    def state_coordinates(self, waveform: np.ndarray) -> np.ndarray | None:
        """The states x_t at the N + 1 times of the transport, as coordinates along the codes of the classes.

        The speech features x_1, with the profile if there is one, have small coordinates. The code of a class has 1
        along itself and 0 along the others.

        Returns:
            Shape (N + 1, classes); None without a transport head.
        """
        states = self.states(waveform)
        if states is None:
            return None
        codes = class_codes(len(self._backend.labels), states.shape[-1])
        return projections(states, codes)[:, self._prior.indices]

    def segments(
        self,
        source: AudioSource,
        options: "SegmentOptions | None" = None,
        *,
        turns: "Sequence[Turn] | None" = None,
        channel: Channel = "mix",
        adapt: bool = False,
    ) -> "list[Segment]":
        """Recognise the emotions of a recording over time, in memory that does not grow with its length.

        Args:
            source: As for :meth:`predict`.
            options: How to cut, smooth and merge; see :class:`genser.segments.options.SegmentOptions`.
            turns: Speaker turns to recognise instead of the speech that the detector finds. A turn that begins after
                the end of the recording has no segment, which is a warning of Python.
            channel: Number of the channel to recognise, from 1; "mix"; or "each" for the segments of every channel.
            adapt: Whether to adapt the model to the recording, and with turns to each speaker, see
                :func:`genser.segments.adapt.self_adapted`. The recording is read twice.

        Raises:
            AudioError: The recording cannot be read, has no such channel, or all turns begin after its end.
        """
        return list(self._timeline(source, options, turns, channel, adapt).segments)

    def summary(
        self,
        source: AudioSource,
        options: "SegmentOptions | None" = None,
        *,
        turns: "Sequence[Turn] | None" = None,
        channel: Channel = "mix",
        adapt: bool = False,
    ) -> "list[VoiceSummary]":
        """Recognise the emotions of a recording over time, and sum them up: one summary per speaker and channel.

        Args:
            source: As for :meth:`segments`, like all other arguments.
            options: How to cut, smooth and merge.
            turns: Speaker turns.
            channel: "each" for a summary of every channel.
            adapt: Whether to adapt the model to the recording.

        Returns:
            At least one; see :func:`genser.segments.summary.summarize`, which also takes segments that you have.

        Raises:
            AudioError: As for :meth:`segments`.
        """
        from genser.segments.summary import summarize_timeline

        return summarize_timeline(self._timeline(source, options, turns, channel, adapt))

    def _timeline(
        self,
        source: AudioSource,
        options: "SegmentOptions | None",
        turns: "Sequence[Turn] | None",
        channel: Channel,
        adapt: bool,
    ) -> "Timeline":
        """The timeline of a recording; problems of its turns are warnings to the caller of the public method."""
        from genser.segments.adapt import self_adapted
        from genser.segments.options import DEFAULTS
        from genser.segments.timeline import recognize_timeline

        given: dict[str, Any] = {"turns": turns, "channel": channel, "limits": self._limits}
        source = reusable(source, self._limits.max_bytes) if adapt else source
        scorer, speakers = self_adapted(self, source, options or DEFAULTS, **given) if adapt else (self, {})
        timeline = recognize_timeline(scorer, source, options or DEFAULTS, speakers=speakers, **given)
        for problem in timeline.problems:
            warnings.warn(problem, stacklevel=3)
        return timeline

    def stream(
        self,
        sample_rate: int = SAMPLE_RATE,
        options: "SegmentOptions | None" = None,
        *,
        channel: int | Literal["mix"] = "mix",
    ) -> "Stream":
        """Open a stream: push blocks of live audio, get segments as soon as they are decided.

        Args:
            sample_rate: Sample rate of the blocks in Hz.
            options: How to cut and smooth; see :class:`genser.segments.stream.Stream`.
            channel: Number of the channel to recognise, from 1; or "mix".
        """
        from genser.segments.options import LIVE
        from genser.segments.stream import Stream

        return Stream(self, options or LIVE, sample_rate, channel=channel)

    def _decoded(
        self,
        sources: Iterable[AudioSource | AudioStream],
        channel: Channel,
        batch_seconds: float | None = None,
        workers: int | None = None,
        pool: Executor | None = None,
    ) -> Iterator[list[Clip]]:
        seconds = 4 * (batch_seconds or BATCH_SECONDS)
        return Decoder(workers or self._decoders, self._limits, seconds, channel, pool).groups(sources)

    def _prediction(self, clip: Clip, outputs: list[WindowOutput]) -> Prediction:
        """The prediction of a clip from the outputs for its windows."""
        if clip.error is not None:
            return Prediction(clip.name, None, error=clip.error, channel=clip.channel)
        (*scores, familiar), speech = self._runner.combined(outputs)
        if not np.isfinite(scores).all():
            reason = "The model returned scores that are not finite. Remove this file, or check the model."
            return Prediction(clip.name, None, error=f"{clip.name}: {reason}", channel=clip.channel)
        heard = sum(output.samples for output in outputs) / SAMPLE_RATE
        scores = self._prior.posterior(np.array(scores))
        label = self.labels[int(np.argmax(scores))] if self._runner.is_speech(speech) else NO_SPEECH
        return Prediction(
            clip.name,
            label,
            dict(zip(self.labels, map(float, scores), strict=True)),
            duration=clip.stream.duration if clip.stream else heard,
            speech=None if np.isnan(speech) else speech,
            familiar=None if np.isnan(familiar) else float(familiar),
            heard=heard,
            channel=clip.channel,
            remark=clip.stream.remark if clip.stream else None,
            mixed=clip.stream.mixed if clip.stream else 0,
        )


def _scores_and_familiar(output: ModelOutput) -> np.ndarray:
    """Scores followed by the in-domain score, shape (batch, classes + 1); NaN if the model has none."""
    familiar = np.full(len(output.scores), np.nan) if output.familiar is None else output.familiar
    return np.column_stack([output.scores, familiar])


def _check_collection(sources: object, what: str, otherwise: str) -> None:
    """Refuse a single source, such as a path, whose characters would each be taken for a source."""
    is_array = isinstance(sources, tuple) and len(sources) == 2 and hasattr(sources[0], "shape")
    if is_array or isinstance(sources, str | bytes | bytearray | memoryview | os.PathLike):
        given = repr(sources) if isinstance(sources, str | os.PathLike) else f"a single {type(sources).__name__}"
        raise ConfigError(f"{what} takes a list of sources, got {given}. Pass a list, or {otherwise}.")
