"""POST /v1/predict: from uploaded clips to one emotion each."""

import asyncio
import logging
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any, BinaryIO, cast

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from genser.audio import AudioLimits, AudioStream, channels_of, count_channels, stream_audio
from genser.errors import AudioError, GenserError, ModelError
from genser.inference.class_prior import ClassPrior
from genser.inference.prediction import Prediction
from genser.inference.recognizer import Recognizer
from genser.serving.errors import Problem, problem_of, problems
from genser.serving.limits import finish
from genser.serving.options import CHANNEL, CHANNEL_HELP, ClassParameters, channel_of
from genser.serving.profiles import PROFILE_FILE, adapted, take_profile
from genser.serving.security import client_of
from genser.serving.service import Service, Serving
from genser.serving.uploads import AUDIO_FILES, Upload, described_body, read_uploads

LOGGER = logging.getLogger("genser.serving")
SCORES = {"anger": 0.71, "happiness": 0.18, "neutral": 0.11}
Scores = Annotated[dict[str, float], Field(description="Probability of every class.", examples=[SCORES])]

router = APIRouter()


class PredictQuery(ClassParameters):
    """Which part of the clips is scored, which classes can occur, and what is returned."""

    start: float = Field(0.0, ge=0, le=1e6, description="Start in seconds.")
    end: float | None = Field(None, gt=0, le=1e6, description="End in seconds; by default the end of the clip.")
    channel: str = Field("mix", pattern=CHANNEL, description=CHANNEL_HELP)
    trajectory: bool = Field(False, description="Also return estimates and states at each step of the transport.")


class PredictionAnswer(BaseModel):
    """One clip and its emotion."""

    name: str = Field(description="The client's name of the file.", examples=["a.wav"])
    channel: int | None = Field(description="Number of the channel from 1; null if the channels were mixed.")
    label: str | None = Field(description="Class with the highest score, or 'no speech'.", examples=["anger"])
    score: float | None = Field(
        description="Probability of the label; 1 - speech if it is 'no speech'.", examples=[0.71]
    )
    scores: Scores | None
    duration: float | None = Field(
        description="Length in seconds by the header of the file, else of what was decoded.", examples=[2.9]
    )
    heard: float | None = Field(description="Seconds that were decoded and recognised.", examples=[2.9])
    remark: str | None = Field(
        description="What was unusual about the file, such as that it is cut off.", examples=[None]
    )
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
        description="Class probabilities of the estimate of x_0 at the N + 1 transport times, the scores at last; only "
        "if requested and if the model has a transport head.",
    )
    states: list[list[float]] | None = Field(
        None,
        description="Coordinates of the states x_t along the codes of the classes at the same times, from the speech "
        "features to the class.",
    )
    unadapted: list[float] | None = Field(
        None, description="Coordinates of the speech features before the shift of the profile, if there is one."
    )


class PredictAnswer(BaseModel):
    """Clips and their emotions, in the order in which they were sent."""

    model: str = Field(examples=["base"])
    labels: list[str] = Field(examples=[list(SCORES)])
    predictions: list[PredictionAnswer]


@router.post(
    "/v1/predict",
    response_model=PredictAnswer,
    responses=problems(400, 401, 408, 413, 415, 422, 429, 503),
    openapi_extra=described_body(AUDIO_FILES, profile=PROFILE_FILE),
)
async def predict(request: Request, service: Serving, query: Annotated[PredictQuery, Query()]) -> Response:
    """Recognise the emotion of one or more short clips.

    Send one as the raw body, or any number as the fields `file` of a form. If there are several, one that cannot be
    read gets an `error` and does not affect the others. With `channel=each` there is one prediction per channel. A
    profile, as the field `profile`, adapts the model to recordings like those that it was learned from.
    """
    config = service.config
    with service.admission.request(client_of(request)):
        uploads = await read_uploads(request, config, config.max_bytes)
        brought = take_profile(uploads)
        if not uploads:
            raise Problem(400, "The form holds a profile and no clip. Add the field file.")
        recognizer = await adapted(service, service.recognizer_of(query.task), brought)
        prior = query.class_prior(recognizer.labels)
        work = _recognize(service, uploads, query, recognizer, prior)
        predictions = await finish(request, work, config.request_timeout, service.metrics)
    return JSONResponse({"model": service.name, "labels": list(prior.labels), "predictions": predictions})


@dataclass(frozen=True)
class Clip:
    """A clip of a request, or one channel of it: decoded, or the reason why it is not."""

    name: str
    channel: int | None = None
    stream: AudioStream | None = None
    waveform: np.ndarray | None = None
    error: GenserError | None = None


async def _recognize(
    service: Service, uploads: list[Upload], query: PredictQuery, recognizer: Recognizer, prior: ClassPrior
) -> list[dict[str, Any]]:
    """Decode the clips in threads, score them with those of other requests, and return a PredictionAnswer each.

    Raises:
        Problem: The queue is full; or there is only one clip and it cannot be scored.
    """
    loop = asyncio.get_running_loop()
    decoded = await asyncio.gather(
        *(loop.run_in_executor(service.decoders, _decode, one, query, service.clip_limits) for one in uploads)
    )
    clips = list(chain.from_iterable(decoded))
    promises = service.batcher.submit(recognizer, [clip.waveform for clip in clips if clip.waveform is not None])
    try:
        waiting = iter(promises)
        traced = recognizer if query.trajectory else None
        answers = [clip.error or await _score(service, clip, next(waiting), prior, traced) for clip in clips]
    finally:
        for promise in promises:  # those whose request was given up
            promise.cancel()
    if len(answers) == 1 and isinstance(answers[0], GenserError):
        raise problem_of(answers[0])
    return [
        _row(clip, Prediction(clip.name, None, error=str(answer))) if isinstance(answer, GenserError) else answer
        for clip, answer in zip(clips, answers, strict=True)
    ]


def _decode(upload: Upload, query: PredictQuery, limits: AudioLimits) -> list[Clip]:
    """Decode an upload, with `channel=each` once per channel."""
    source, channel, clips = cast(BinaryIO, upload), channel_of(query.channel), list[Clip]()
    with closing(upload):
        try:
            for one in channels_of(channel, lambda: count_channels(source, limits)):
                stream = stream_audio(source, start=query.start, end=query.end, channel=one, limits=limits)
                clips.append(Clip(upload.name, None if one == "mix" else one, stream, stream.read()))
        except GenserError as error:
            return [Clip(upload.name, error=error)]
        except Exception as error:  # a fault of one file must not take the others along
            LOGGER.exception("%s could not be decoded", upload.name)
            reason = f"{upload.name} cannot be decoded ({type(error).__name__}). Convert it to wav or flac."
            return [Clip(upload.name, error=AudioError(reason))]
    return clips


async def _score(
    service: Service, clip: Clip, promise: Future[Prediction], prior: ClassPrior, traced: Recognizer | None
) -> dict[str, Any] | GenserError:
    try:
        prediction = await asyncio.wrap_future(promise)
    except GenserError as error:
        return error
    except Exception as error:  # the batcher has logged it
        return ModelError(f"The model failed on {clip.name} ({type(error).__name__}). See the server's log.")
    if prediction.error:
        return AudioError(prediction.error)
    answer = _row(clip, prior.applied(prediction))
    if traced and clip.waveform is not None:
        loop = asyncio.get_running_loop()
        answer |= await loop.run_in_executor(service.decoders, _transport, traced, clip.waveform, prior)
    return answer


def _transport(recognizer: Recognizer, waveform: np.ndarray, prior: ClassPrior) -> dict[str, list]:
    """Estimates and states at each step, and the features without the profile; nothing without transport."""
    estimates, states = recognizer.trajectory(waveform), recognizer.state_coordinates(waveform)
    if estimates is None or states is None:
        return {}
    traced = {
        "trajectory": prior.posterior(np.asarray(estimates, float)).round(6).tolist(),
        "states": np.asarray(states, float)[:, prior.indices].round(6).tolist(),
    }
    if recognizer.profile is not None:
        plain = recognizer.adapted(None).state_coordinates(waveform)
        traced["unadapted"] = np.asarray(plain, float)[0, prior.indices].round(6).tolist()
    return traced


def _row(clip: Clip, prediction: Prediction) -> dict[str, Any]:
    row = {"name": clip.name, **prediction.to_dict(), "channel": clip.channel}
    del row["path"]
    if clip.stream is not None:
        row |= {"duration": clip.stream.duration, "remark": clip.stream.remark}
    row["scores"] = {label: round(score, 6) for label, score in prediction.scores.items()} or None
    return row
