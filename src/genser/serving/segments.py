"""POST /v1/segments: from an uploaded recording to its emotions over time."""

import asyncio
import io
import os
import shutil
import tempfile
import threading
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Annotated, BinaryIO, Literal, cast

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from genser.audio import Channel
from genser.data.tables import PARQUET
from genser.errors import ConfigError, GenserError, ManifestError
from genser.inference.class_prior import ClassPrior
from genser.inference.prediction import NO_SPEECH
from genser.inference.recognizer import Recognizer
from genser.output.formats import FORMATS, names_of
from genser.segments.options import CUTS, SegmentOptions
from genser.segments.scores import GatedScores
from genser.segments.segment import Timeline
from genser.segments.summary import summarize_timeline
from genser.segments.timeline import recognize_timeline
from genser.segments.turns import Turn, read_turns
from genser.serving.batching import Batcher, long_enough, row_of
from genser.serving.errors import Problem, problems
from genser.serving.limits import finish
from genser.serving.options import CHANNEL, CHANNEL_HELP, SegmentParameters, channel_of
from genser.serving.predict import SCORES, Scores
from genser.serving.profiles import PROFILE_FILE, adapted, take_profile
from genser.serving.security import client_of
from genser.serving.service import Service, Serving
from genser.serving.uploads import BINARY, Upload, described_body, read_uploads

OTHER_FORMATS = [name for name in names_of("timelines") if not FORMATS[name].is_binary and name != "json"]
"""Text formats of a timeline other than JSON."""

router = APIRouter()


class SegmentQuery(SegmentParameters):
    """How a recording is cut, labelled and returned."""

    # pyrefly: ignore[invalid-literal] - pydantic makes the enumeration of the OpenAPI document at run time
    cut: Literal[tuple(CUTS)] | None = Field(
        None,
        description="What the recording is, which chooses how it is cut: talk (default), calls or clips. Parameters "
        "that are given as well take precedence.",
    )
    channel: str = Field("mix", pattern=CHANNEL, description=CHANNEL_HELP)
    envelope: bool = Field(False, description="Also return the outline of the waveform.")
    summary: bool = Field(
        False,
        description="Also return a summary per speaker and channel. With another format than json: return it instead.",
    )
    # pyrefly: ignore[invalid-literal] - pydantic makes the enumeration of the OpenAPI document at run time
    format: Literal[("json", *OTHER_FORMATS)] = "json"

    def options(self) -> SegmentOptions:
        """Return the library's options: those of the kind of recording, and over them those that are given.

        Raises:
            ConfigError: They contradict each other.
        """
        names = self.model_fields_set & {field.name for field in fields(SegmentOptions)}
        return SegmentOptions(**{**CUTS[self.cut or "talk"], **{name: getattr(self, name) for name in names}})


class SegmentAnswer(BaseModel):
    """A stretch of a recording and its emotion."""

    start: float = Field(description="In seconds.", examples=[1.25])
    end: float = Field(description="In seconds.", examples=[3.5])
    label: str = Field(examples=["anger"])
    confident: bool = Field(description="Whether the label's score reaches the threshold.")
    speaker: str | None = Field(examples=[None])
    channel: int | None = Field(description="Number of the channel from 1; null if the channels were mixed.")
    familiar: float | None = Field(description="In-domain score; null if the model has none.", examples=[0.02])
    scores: Scores


class SummaryAnswer(BaseModel):
    """One voice of a recording, which is a speaker on a channel, summed up."""

    speaker: str | None = Field(description="Speaker of the turns, if known.", examples=[None])
    channel: int | None = Field(description="Number of the channel from 1; null if the channels were mixed.")
    segments: int = Field(description="Number of segments.", examples=[12])
    speech: float = Field(description="Seconds of speech.", examples=[48.2])
    label: str | None = Field(description="Class with the largest share; null without speech.", examples=["neutral"])
    confident: float | None = Field(description="Share of the time whose segments are confident.", examples=[0.81])
    familiar: float | None = Field(description="Mean in-domain score; null if the model has none.", examples=[0.02])
    shares: dict[str, float] = Field(description="Share of the time of each class; empty without speech.")
    scores: dict[str, float] = Field(description="Mean score of each class, weighted by duration.")
    longest: dict[str, float] = Field(description="Length of the longest stretch of each class in seconds, or 0.")
    longest_start: dict[str, float | None] = Field(description="Start of that stretch in seconds, or null.")
    changes: dict[str, float | None] = Field(
        description="Mean score of each class in the last third of the recording minus that in the first; null if one "
        "of these thirds has no speech."
    )


class SegmentsAnswer(BaseModel):
    """A recording and its emotions over time."""

    model: str = Field(examples=["base"])
    labels: list[str] = Field(examples=[list(SCORES)])
    name: str = Field(examples=["talk.wav"])
    duration: float = Field(
        description="Length in seconds by the header of the file, else of what was decoded.", examples=[61.2]
    )
    heard: float = Field(description="Seconds that were decoded and recognised; the envelope spans them.")
    remark: str | None = Field(
        description="What was unusual about the recording, such as that it is cut off.", examples=[None]
    )
    mixed: int = Field(
        description="Number of different channels that were mixed to one, such as the two sides of a call; 0 if none "
        "were.",
        examples=[0],
    )
    familiar: float | None = Field(
        description="In-domain score: mean over the segments, weighted by duration; null without segments or if the "
        "model has none.",
        examples=[0.02],
    )
    segments: list[SegmentAnswer]
    summary: list[SummaryAnswer] | None = Field(None, description="One per speaker and channel; only if requested.")
    envelope: list[list[float]] | None = Field(
        None, description="Lowest and highest sample in equal steps of time; only if requested."
    )


TURNS = BINARY | {"description": "Turns to score instead of detected speech, in any format of `--turns`."}


@router.post(
    "/v1/segments",
    response_model=SegmentsAnswer,
    responses=problems(400, 401, 408, 413, 415, 422, 429, 503),
    openapi_extra=described_body(BINARY | {"description": "The recording."}, turns=TURNS, profile=PROFILE_FILE),
)
async def segments(request: Request, service: Serving, query: Annotated[SegmentQuery, Query()]) -> Response:
    """Recognise the emotions of a recording over time.

    Send the recording as the raw body, or as the field `file` of a form. If the turns are known, add them as the field
    `turns` (RTTM, tables, SubRip, WebVTT, TextGrid, Audacity, ELAN, or JSON of whisper). A profile, as the field
    `profile`, adapts the model to recordings like those that it was learned from.
    """
    config, options = service.config, query.options()
    kind, format = "summaries" if query.summary else "timelines", FORMATS[query.format]
    format.check(kind)
    with service.admission.request(client_of(request)), service.admission.recording():
        uploads = await read_uploads(request, config, config.max_recording_bytes)
        brought = take_profile(uploads)
        recordings = [upload for upload in uploads if upload.field != "turns"]
        turns = [upload for upload in uploads if upload.field == "turns"]
        if len(recordings) != 1 or len(turns) > 1:
            raise Problem(
                400, f"Send one recording and at most one file of turns, not {len(recordings)} and {len(turns)}."
            )
        if turns and query.cut:
            raise ConfigError("The parameter cut and the field turns both define where segments are. Omit one of them.")
        recognizer = await adapted(service, service.recognizer_of(query.task), brought)
        prior = query.class_prior(recognizer.labels)
        scorer = BatchedScorer(recognizer, prior, service.batcher)
        turn_file = turns[0] if turns else None
        work = _recognize(service, recordings[0], options, channel_of(query.channel), turn_file, scorer)
        timeline = await finish(request, work, config.recording_timeout, service.metrics)
    if query.format != "json":
        content = io.BytesIO()
        format.write(kind, [timeline], content, prior.labels)
        return Response(content.getvalue(), media_type=format.media_type)
    answer = {
        "model": service.name,
        "labels": list(prior.labels),
        "name": timeline.path,
        "duration": timeline.duration,
        "heard": timeline.heard,
        "remark": timeline.remark,
        "mixed": timeline.mixed,
        "familiar": None if timeline.familiar is None else round(timeline.familiar, 6),
        "segments": [segment.to_dict() for segment in timeline.segments],
        "summary": [one.to_dict() for one in summarize_timeline(timeline)] if query.summary else None,
        "envelope": timeline.envelope.astype(float).round(4).tolist() if query.envelope else None,
    }
    return JSONResponse(answer)


async def _recognize(
    service: Service,
    recording: Upload,
    options: SegmentOptions,
    channel: Channel,
    turns: Upload | None,
    scorer: "BatchedScorer",
) -> Timeline:
    """Recognise a recording in a thread, which stops soon after this is cancelled.

    Raises:
        AudioError: The recording cannot be read.
        ManifestError: The turns cannot be read.
    """

    def stop_if_cancelled(_done: float, _total: float) -> None:
        if scorer.cancelled.is_set():
            raise Cancelled

    def work() -> Timeline:
        with closing(recording):
            timeline = recognize_timeline(
                scorer,
                cast(BinaryIO, recording),
                options,
                turns=None if turns is None else _read_turns(turns, recording.name),
                channel=channel,
                limits=service.recording_limits,
                progress=stop_if_cancelled,
            )
        if timeline.problems:
            raise ManifestError(" ".join(timeline.problems))
        return timeline

    try:
        return await asyncio.get_running_loop().run_in_executor(service.recorders, work)
    finally:
        scorer.cancelled.set()


def _read_turns(turns: Upload, recording: str) -> list[Turn]:
    if Path(turns.name).suffix.lower() in PARQUET:
        raise ManifestError("Turns cannot be sent as Parquet, since a small file may become very large. Send CSV.")
    with closing(turns), tempfile.TemporaryDirectory(prefix="genser-") as folder:
        path = Path(folder) / f"turns{Path(turns.name).suffix.lower()}"
        with path.open("wb") as file:
            turns.seek(0)
            shutil.copyfileobj(turns, file)
        try:
            return read_turns(path, os.path.splitext(recording)[0])  # noqa: PTH122
        except GenserError as error:
            raise type(error)(str(error).replace(str(path), turns.name)) from error


class Cancelled(Exception):
    """The request was given up."""


class BatchedScorer:
    """A scorer for work in a thread; it shares the batches of all requests and ends when it is cancelled.

    Args:
        recognizer: The model, for all its classes.
        prior: Classes that can occur, and their shares.
        batcher: Scores the waveforms.
    """

    def __init__(self, recognizer: Recognizer, prior: ClassPrior, batcher: Batcher) -> None:
        self.labels, self.prior = prior.labels, prior.shares
        self.cancelled = threading.Event()
        self._recognizer, self._prior, self._batcher = recognizer, prior, batcher

    def gated_scores(self, waveforms: list[np.ndarray]) -> GatedScores:
        """Score waveforms.

        Raises:
            Cancelled: The work was cancelled.
        """
        waveforms = [long_enough(waveform) for waveform in waveforms]
        promises = self._batcher.submit_when_free(self._recognizer, waveforms, self.cancelled)
        if len(promises) < len(waveforms):
            for promise in promises:
                promise.cancel()
            raise Cancelled
        answers = [promise.result() for promise in promises]
        scores = self._prior.posterior(np.stack([row_of(answer) for answer in answers]))
        is_speech = np.array([answer.label != NO_SPEECH for answer in answers])
        return GatedScores(scores, is_speech, np.array([answer.familiar for answer in answers], float))
