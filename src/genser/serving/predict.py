"""POST /v1/predict: from uploaded clips to one emotion each."""

import asyncio
import logging
from concurrent.futures import Future
from contextlib import closing
from typing import Annotated, Any, BinaryIO, cast

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from genser.audio import AudioLimits, load_audio
from genser.errors import AudioError, GenserError, ModelError
from genser.inference.prediction import Prediction
from genser.serving.errors import problem_of, problems
from genser.serving.limits import finish
from genser.serving.security import client_of
from genser.serving.service import Service, Serving
from genser.serving.uploads import Upload, read_uploads

LOGGER = logging.getLogger("genser.serving")
SCORES = {"anger": 0.71, "happiness": 0.18, "neutral": 0.11}
Scores = Annotated[dict[str, float], Field(description="Probability of every class.", examples=[SCORES])]

router = APIRouter()


class PredictQuery(BaseModel):
    """Which part of the clips is scored, and what is returned."""

    model_config = ConfigDict(extra="forbid")

    start: float = Field(0.0, ge=0, le=1e6, description="Start in seconds.")
    end: float | None = Field(None, gt=0, le=1e6, description="End in seconds; by default the end of the clip.")
    trajectory: bool = Field(False, description="Also return the class probabilities at each transport step.")


class PredictionAnswer(BaseModel):
    """One clip and its emotion."""

    name: str = Field(description="The client's name of the file.", examples=["a.wav"])
    label: str | None = Field(description="Class with the highest score, or 'no speech'.", examples=["anger"])
    score: float | None = Field(
        description="Probability of the label; 1 - speech if it is 'no speech'.", examples=[0.71]
    )
    scores: Scores | None
    duration: float | None = Field(description="In seconds.", examples=[2.9])
    error: str | None = Field(description="Why this clip has no scores.", examples=[None])
    speech: float | None = Field(
        description="Probability of speech; null if the model has no speech gate.", examples=[0.99]
    )
    familiar: float | None = Field(
        description="In-domain score: the probability that the clip resembles the training corpora; null if the "
        "model has none.",
        examples=[0.02],
    )
    trajectory: list[list[float]] | None = Field(
        None,
        description="Class probabilities at the N + 1 transport times; only if requested and if the model has a "
        "transport head.",
    )


class PredictAnswer(BaseModel):
    """Clips and their emotions, in the order in which they were sent."""

    model: str = Field(examples=["base"])
    labels: list[str] = Field(examples=[list(SCORES)])
    predictions: list[PredictionAnswer]


def _form_of_clips() -> dict[str, Any]:
    """Return the part of OpenAPI that describes the body."""
    binary = {"type": "string", "format": "binary"}
    form = {"type": "object", "properties": {"file": {"type": "array", "items": binary, "minItems": 1}}}
    content = {"multipart/form-data": {"schema": form | {"required": ["file"]}}}
    content |= {kind: {"schema": binary} for kind in ("audio/*", "application/octet-stream")}
    return {"requestBody": {"required": True, "content": content}}


@router.post(
    "/v1/predict",
    response_model=PredictAnswer,
    responses=problems(400, 401, 408, 413, 415, 422, 429, 503),
    openapi_extra=_form_of_clips(),
)
async def predict(request: Request, service: Serving, query: Annotated[PredictQuery, Query()]) -> Response:
    """Recognise the emotion of one or more short clips.

    Send one as the raw body, or any number as the fields `file` of a form. If there are several, one that cannot be
    read gets an `error` and does not affect the others.
    """
    config = service.config
    with service.admission.request(client_of(request)):
        uploads = await read_uploads(request, config, config.max_bytes)
        work = _recognize(service, uploads, query)
        predictions = await finish(request, work, config.request_timeout, service.metrics)
    return JSONResponse({"model": service.name, "labels": service.labels, "predictions": predictions})


async def _recognize(service: Service, uploads: list[Upload], query: PredictQuery) -> list[dict[str, Any]]:
    """Decode the clips in threads, score them with those of other requests, and return a PredictionAnswer each.

    Raises:
        Problem: The queue is full; or there is only one clip and it cannot be scored.
    """
    loop = asyncio.get_running_loop()
    clips = await asyncio.gather(
        *(loop.run_in_executor(service.decoders, _decode, one, query, service.clip_limits) for one in uploads)
    )
    promises = service.batcher.submit([clip for clip in clips if isinstance(clip, np.ndarray)])
    try:
        waiting = iter(promises)
        answers = [
            await _score(service, upload.name, clip, next(waiting), query) if isinstance(clip, np.ndarray) else clip
            for upload, clip in zip(uploads, clips, strict=True)
        ]
    finally:
        for promise in promises:  # those whose request was given up
            promise.cancel()
    if len(answers) == 1 and isinstance(answers[0], GenserError):
        raise problem_of(answers[0])
    rows = []
    for upload, answer in zip(uploads, answers, strict=True):
        failed = isinstance(answer, GenserError)
        rows.append(_row(upload.name, Prediction(upload.name, None, error=str(answer))) if failed else answer)
    return rows


def _decode(upload: Upload, query: PredictQuery, limits: AudioLimits) -> np.ndarray | GenserError:
    with closing(upload):
        try:
            return load_audio(cast(BinaryIO, upload), start=query.start, end=query.end, limits=limits)
        except GenserError as error:
            return error
        except Exception as error:  # a fault of one file must not take the others along
            LOGGER.exception("%s could not be decoded", upload.name)
            return AudioError(f"{upload.name} cannot be decoded ({type(error).__name__}). Convert it to wav or flac.")


async def _score(
    service: Service, name: str, clip: np.ndarray, promise: Future, query: PredictQuery
) -> dict[str, Any] | GenserError:
    try:
        prediction = await asyncio.wrap_future(promise)
    except GenserError as error:
        return error
    except Exception as error:  # the batcher has logged it
        return ModelError(f"The model failed on {name} ({type(error).__name__}). See the server's log.")
    if prediction.error:
        return AudioError(prediction.error)
    answer = _row(name, prediction)
    if query.trajectory:
        loop = asyncio.get_running_loop()
        trajectory = await loop.run_in_executor(service.decoders, service.recognizer.trajectory, clip)
        if trajectory is not None:
            answer["trajectory"] = np.asarray(trajectory, float).round(6).tolist()
    return answer


def _row(name: str, prediction: Prediction) -> dict[str, Any]:
    row = {"name": name, **prediction.to_dict()}
    del row["path"]
    row["scores"] = {label: round(score, 6) for label, score in prediction.scores.items()} or None
    return row
