"""Shapes of requests and answers, with examples, as OpenAPI tells them."""

from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, Field

from genser.segments.options import SegmentOptions

SCORES = {"anger": 0.71, "happiness": 0.18, "neutral": 0.11}
Scores = Annotated[dict[str, float], Field(description="Probability of every class.", examples=[SCORES])]


class ProblemDetails(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = Field(examples=["about:blank"])
    title: str = Field(examples=["Unprocessable Entity"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["a.wav is empty (0 bytes). Record or copy the file again."])
    errors: list[dict[str, Any]] | None = None


class PredictionAnswer(BaseModel):
    """One sound and its emotion."""

    name: str = Field(description="As the client called it.", examples=["a.wav"])
    label: str | None = Field(description="Class with the highest score, or 'no speech'.", examples=["anger"])
    score: float | None = Field(
        None, description="Probability of the label; 1 - speech if it is 'no speech'.", examples=[0.71]
    )
    scores: Scores | None
    duration: float | None = Field(description="In seconds.", examples=[2.9])
    error: str | None = Field(description="Why there is no answer for this one.", examples=[None])
    speech: float | None = Field(description="Probability that somebody speaks, if the model tells.", examples=[0.99])
    familiar: float | None = Field(
        description="Probability that the sound is of the kind that the model learned from, if the model tells.",
        examples=[0.02],
    )
    trajectory: list[list[float]] | None = Field(
        None, description="Class probabilities along the N transport steps, N + 1 rows; if asked for."
    )


class PredictAnswer(BaseModel):
    """Sounds and their emotions, in the order in which they were sent."""

    model: str = Field(examples=["base"])
    labels: list[str] = Field(examples=[list(SCORES)])
    predictions: list[PredictionAnswer]


class SegmentAnswer(BaseModel):
    """A stretch of a recording and its emotion."""

    start: float = Field(description="In seconds.", examples=[1.25])
    end: float = Field(description="In seconds.", examples=[3.5])
    label: str = Field(examples=["anger"])
    confident: bool = Field(description="Whether the label's score reaches the threshold.")
    speaker: str | None = Field(examples=[None])
    scores: Scores


class SegmentsAnswer(BaseModel):
    """A recording and its emotions over time."""

    model: str = Field(examples=["base"])
    labels: list[str] = Field(examples=[list(SCORES)])
    name: str = Field(examples=["talk.wav"])
    duration: float = Field(description="In seconds.", examples=[61.2])
    segments: list[SegmentAnswer]
    envelope: list[list[float]] | None = Field(
        None, description="Lowest and highest sample in equal steps of time; if asked for."
    )


class ModelAnswer(BaseModel):
    """A model that the server has."""

    name: str = Field(examples=["base"])
    labels: list[str] = Field(examples=[list(SCORES)])
    colors: dict[str, str] = Field(description="A colour for each class.", examples=[{"anger": "#d1372c"}])
    sample_rate: int = Field(description="Any rate is taken and converted to this, in Hz.", examples=[16_000])


class ModelsAnswer(BaseModel):
    """The models that the server has."""

    models: list[ModelAnswer]


class Status(BaseModel):
    """Whether the server lives, or is ready."""

    status: Literal["ok"] = "ok"


class PredictQuery(BaseModel):
    """Which part of the sounds, and what to tell of them."""

    start: float = Field(0.0, ge=0, le=1e6, description="First moment in seconds.")
    end: float | None = Field(
        None, gt=0, le=1e6, description="Last moment in seconds; the end of the sound by default."
    )
    trajectory: bool = Field(False, description="Also send the way of the transport, step by step.")


class SegmentQuery(BaseModel):
    """How a recording is cut and decided; see `SegmentOptions`."""

    window: float | None = Field(None, ge=0.1, le=30, description="Fixed windows of this many seconds, not speech.")
    hop: float | None = Field(None, ge=0.05, le=30, description="Step between windows in seconds.")
    threshold: float = Field(0.5, ge=0.16, le=0.99, description="Speech probability from which a frame is speech.")
    min_speech: float = Field(0.25, ge=0.032, le=10, description="Shortest stretch of speech in seconds.")
    min_silence: float = Field(0.3, ge=0.032, le=10, description="Pause in seconds that ends a stretch of speech.")
    max_duration: float = Field(8.0, ge=1, le=30, description="Longest segment in seconds.")
    smoothing: Literal["posterior", "viterbi", "causal", "none"] = "posterior"
    emotion_duration: float | None = Field(
        None, ge=0.01, le=3600, description="Mean duration of an emotion in seconds; fitted to the recording if null."
    )
    confidence: float = Field(0.5, ge=0, le=1, description="Score from which a segment counts as confident.")
    merge: float | None = Field(None, ge=0, le=3600, description="Join neighbours of one label this close, in seconds.")
    envelope: bool = Field(False, description="Also send the outline of the waveform.")
    format: Literal["json", "jsonl", "csv", "tsv", "labels", "textgrid", "rttm", "srt", "vtt"] = "json"

    def options(self) -> SegmentOptions:
        """The library's options.

        Raises:
            ConfigError: They do not go together.
        """
        return SegmentOptions(**self.model_dump(exclude={"envelope", "format"}))


SegmentParameters = Annotated[SegmentQuery, Query()]

_BINARY = {"type": "string", "format": "binary"}
_RAW = {kind: {"schema": _BINARY} for kind in ("audio/*", "application/octet-stream")}


def body_of(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    """The part of OpenAPI that describes a body of sound, raw or as a form."""
    form = {"type": "object", "properties": properties, "required": required}
    content = {"multipart/form-data": {"schema": form}, **_RAW}
    return {"requestBody": {"required": True, "content": content}}


PREDICT_BODY = body_of({"file": {"type": "array", "items": _BINARY, "minItems": 1}}, ["file"])
SEGMENTS_BODY = body_of(
    {"file": _BINARY, "turns": {**_BINARY, "description": "Turns to recognise: .rttm, .csv, .tsv, .srt or .vtt."}},
    ["file"],
)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The part of OpenAPI that describes errors."""
    schema = {"$ref": "#/components/schemas/ProblemDetails"}
    texts = {
        400: "The body is broken or holds no file.",
        401: "An API key is needed.",
        408: "The body came too slowly.",
        413: "Too large, or too many.",
        415: "Not a sound.",
        422: "The sound or an option cannot be used.",
        429: "Too many of your requests are in work.",
        503: "No room, no time, or not ready; see Retry-After.",
    }
    content = {"application/problem+json": {"schema": schema}}
    return {status: {"description": texts[status], "content": content} for status in statuses}
