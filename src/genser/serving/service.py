"""What every route of one application shares: the model, its batches, the room, the counts."""

import asyncio
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from genser.audio import SAMPLE_RATE, AudioLimits, load_audio
from genser.errors import AudioError, GenserError, MissingExtraError
from genser.files import usable_cores
from genser.inference.prediction import Prediction
from genser.segments.options import SegmentOptions
from genser.segments.segment import Timeline
from genser.segments.timeline import recognize_timeline
from genser.segments.turns import Turn, read_turns
from genser.serving.batching import Abandoned, BatchedScorer, Batcher, Recognizer
from genser.serving.config import ServerConfig
from genser.serving.errors import problem_of
from genser.serving.limits import Admission
from genser.serving.metrics import Metrics
from genser.serving.schemas import PredictQuery
from genser.serving.uploads import Upload


class Service:
    """The model of a process and everything around it."""

    def __init__(self, config: ServerConfig, load: Callable[[], Recognizer]) -> None:
        self.config, self.metrics = config, Metrics()
        self.admission = Admission(config, self.metrics)
        self.recognizer = load()
        self.name = Path(config.model).stem if config.model else "base"
        self.labels = list(self.recognizer.labels)
        self.batcher = Batcher(self.recognizer, self.metrics, config.max_batch, config.max_queue, usable_cores())
        self.clip_limits = AudioLimits(max_duration=config.max_duration, max_channels=config.max_channels)
        self.recording_limits = AudioLimits(max_duration=config.max_recording, max_channels=config.max_channels)
        self._decoders = ThreadPoolExecutor(usable_cores(), "genser-decoder")
        self._recorders = ThreadPoolExecutor(config.max_recordings, "genser-recording")
        self.streams = 0
        self.live = ThreadPoolExecutor(usable_cores(), "genser-live")

    def start(self) -> None:
        """Warm the model up and begin to recognise."""
        next(self.recognizer.predict_many([(np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE)], workers=1))
        self.batcher.start()

    def stop(self) -> None:
        """Finish what was taken."""
        self.batcher.stop()
        for pool in (self._decoders, self._recorders, self.live):
            pool.shutdown(cancel_futures=True)

    async def predict(self, uploads: list[Upload], query: PredictQuery) -> list[dict[str, Any]]:
        """Recognise uploads together.

        Returns:
            What OpenAPI calls PredictionAnswer, one an upload; one that cannot be read has an error instead.

        Raises:
            Problem: The queue is full; or there is one upload only, and it cannot be read.
        """
        loop = asyncio.get_running_loop()
        decoded = await asyncio.gather(
            *(loop.run_in_executor(self._decoders, self._decode, one, query) for one in uploads)
        )
        sounds = [sound for sound in decoded if isinstance(sound, np.ndarray)]
        if len(uploads) == 1 and not sounds:
            raise problem_of(decoded[0])
        promises = self.batcher.submit(sounds)
        waiting = iter(promises)
        answers = [
            (upload, sound, next(waiting) if isinstance(sound, np.ndarray) else None)
            for upload, sound in zip(uploads, decoded, strict=True)
        ]
        try:
            return [await self._answer(*one, query.trajectory) for one in answers]
        finally:
            for promise in promises:  # those that nobody waits for any more
                promise.cancel()

    def _decode(self, upload: Upload, query: PredictQuery) -> np.ndarray | GenserError:
        try:
            return load_audio(_named(upload), start=query.start, end=query.end, limits=self.clip_limits)
        except MissingExtraError as error:
            return error
        except GenserError as error:
            return AudioError(upload.told(error))

    async def _answer(
        self, upload: Upload, sound: np.ndarray | GenserError, promise: Future | None, with_trajectory: bool
    ) -> dict[str, Any]:
        if promise is None:
            return _answer(upload.name, Prediction(upload.name, None, error=str(sound)), None)
        prediction, path = await asyncio.wrap_future(promise), None
        if with_trajectory:
            loop = asyncio.get_running_loop()
            path = await loop.run_in_executor(self._decoders, self.recognizer.trajectory, sound)
        return _answer(upload.name, prediction, path)

    async def segment(self, upload: Upload, options: SegmentOptions, turns: Upload | None) -> Timeline:
        """Recognise a recording over time; stops soon after it is cancelled.

        Raises:
            AudioError: The recording cannot be read.
            ManifestError: The turns cannot be read.
        """
        scorer = BatchedScorer(self.recognizer, self.batcher)
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._recorders, self._recognize, scorer, upload, options, turns)
        finally:
            scorer.cancelled.set()

    def _recognize(
        self, scorer: BatchedScorer, upload: Upload, options: SegmentOptions, turns: Upload | None
    ) -> Timeline:
        def check(_seconds: float) -> None:
            if scorer.cancelled.is_set():
                raise Abandoned

        given = None if turns is None else _read_turns(turns, upload)
        try:
            return recognize_timeline(
                scorer, _named(upload), options, turns=given, limits=self.recording_limits, progress=check
            )
        except MissingExtraError:
            raise
        except GenserError as error:
            raise type(error)(upload.told(error)) from error


def _answer(name: str, prediction: Prediction, path: np.ndarray | None) -> dict[str, Any]:
    scores = {label: round(score, 6) for label, score in prediction.scores.items()} or None
    told = {"name": name, **prediction.to_dict(), "scores": scores}
    del told["path"]
    return told | {"trajectory": None if path is None else np.asarray(path, float).round(6).tolist()}


def _named(upload: Upload) -> bytes | Path:
    if not upload.source:
        raise AudioError(f"{upload.name} is empty (0 bytes). Record or copy the file again.")
    return upload.source


def _read_turns(turns: Upload, recording: Upload) -> list[Turn]:
    with tempfile.TemporaryDirectory(prefix="genser-") as folder:
        path = Path(folder) / f"turns{Path(turns.name).suffix.lower()}"
        content = turns.source.read_bytes() if isinstance(turns.source, Path) else turns.source
        path.write_bytes(content)
        try:
            return read_turns(path, os.path.splitext(recording.name)[0])  # noqa: PTH122
        except GenserError as error:
            raise type(error)(str(error).replace(str(path), turns.name)) from error
