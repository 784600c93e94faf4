"""The HTTP face: predictions, segments, models, health."""

import io
from contextlib import ExitStack
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from genser.audio import SAMPLE_RATE
from genser.output.plot import colors_of
from genser.output.timelines import write_text
from genser.segments.segment import Timeline
from genser.serving.errors import Problem
from genser.serving.limits import finish
from genser.serving.schemas import (
    PREDICT_BODY,
    SEGMENTS_BODY,
    ModelAnswer,
    ModelsAnswer,
    PredictAnswer,
    PredictQuery,
    SegmentParameters,
    SegmentQuery,
    SegmentsAnswer,
    Status,
    problems,
)
from genser.serving.security import client_of, require_key
from genser.serving.service import Service
from genser.serving.uploads import Upload, read_uploads

EVERY = (400, 401, 408, 413, 415, 422, 429, 503)
TEXT_TYPES = {
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "jsonl": "application/jsonl",
    "vtt": "text/vtt",
    "srt": "application/x-subrip",
}


def service_of(request: Request) -> Service:
    """The service of this application."""
    return request.app.state.service


Serving = Annotated[Service, Depends(service_of)]
api = APIRouter(prefix="/v1", dependencies=[Depends(require_key)])
health = APIRouter()


@api.post("/predict", response_model=PredictAnswer, responses=problems(*EVERY), openapi_extra=PREDICT_BODY)
async def predict(
    request: Request,
    service: Serving,
    query: Annotated[PredictQuery, Query()],
) -> Response:
    """Recognise the emotion of one or more short sounds.

    Send one as the raw body, or any number as the fields `file` of a form. Where there are several, one that cannot
    be read has an `error` and does not stop the others.
    """
    config = service.config
    async with service.admission.request(client_of(request)):
        with ExitStack() as stack:
            uploads = await read_uploads(request, config, config.max_bytes, stack)
            work = service.predict(uploads, query)
            answers = await finish(request, work, config.request_timeout, service.metrics)
    return JSONResponse({"model": service.name, "labels": service.labels, "predictions": answers})


@api.post("/segments", response_model=SegmentsAnswer, responses=problems(*EVERY), openapi_extra=SEGMENTS_BODY)
async def segments(request: Request, service: Serving, query: SegmentParameters) -> Response:
    """Recognise the emotions of a recording over time.

    Send the recording as the raw body, or as the field `file` of a form, with `turns` (RTTM, CSV, SRT, VTT) beside it
    if they are known.
    """
    config, options = service.config, query.options()
    async with service.admission.request(client_of(request)), service.admission.recording():
        with ExitStack() as stack:
            uploads = await read_uploads(request, config, config.max_recording_bytes, stack)
            recording, turns = _sorted_out(uploads)
            work = service.segment(recording, options, turns)
            timeline = await finish(request, work, config.recording_timeout, service.metrics)
    return _told(service, replace(timeline, path=recording.name), query)


def _sorted_out(uploads: list[Upload]) -> tuple[Upload, Upload | None]:
    sounds = [upload for upload in uploads if upload.field != "turns"]
    turns = [upload for upload in uploads if upload.field == "turns"]
    if len(sounds) != 1 or len(turns) > 1:
        raise Problem(400, f"Send one recording and at most one file of turns, not {len(sounds)} and {len(turns)}.")
    return sounds[0], turns[0] if turns else None


def _told(service: Service, timeline: Timeline, query: SegmentQuery) -> Response:
    if query.format != "json":
        text = io.StringIO()
        write_text([timeline], text, query.format, service.labels)
        return PlainTextResponse(text.getvalue(), media_type=TEXT_TYPES.get(query.format, "text/plain"))
    answer = {"model": service.name, "labels": service.labels, "name": timeline.path, "duration": timeline.duration}
    answer["segments"] = [segment.to_dict() for segment in timeline.segments]
    answer["envelope"] = timeline.envelope.astype(float).round(4).tolist() if query.envelope else None
    return JSONResponse(answer)


@api.get("/models", responses=problems(401))
async def models(service: Serving) -> ModelsAnswer:
    """List the models that the server has."""
    labels = service.labels
    model = ModelAnswer(name=service.name, labels=labels, colors=colors_of(labels), sample_rate=SAMPLE_RATE)
    return ModelsAnswer(models=[model])


@health.get("/healthz")
async def healthz() -> Status:
    """Tell whether the process lives."""
    return Status()


@health.get("/readyz", responses=problems(503))
async def readyz(service: Serving) -> Status:
    """Tell whether the server takes work."""
    if not service.batcher.is_alive:
        raise Problem(503, "The server is not ready: it is starting or stopping.", retry_after=2)
    return Status()


@health.get("/metrics", response_class=PlainTextResponse)
async def metrics(service: Serving) -> Response:
    """Counts and times in the text format of Prometheus."""
    return Response(service.metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")
