"""The GET routes: models, health and metrics."""

from typing import Literal

from fastapi import APIRouter, Depends
from fastapi.responses import PlainTextResponse, Response
from pydantic import BaseModel, Field

from genser.audio import SAMPLE_RATE
from genser.inference.second_task import tasks_of
from genser.output.plot import colors_of
from genser.serving.errors import Problem, problems
from genser.serving.predict import SCORES
from genser.serving.security import refuse_query
from genser.serving.service import Serving

models_router, health_router = (APIRouter(dependencies=[Depends(refuse_query)]) for _ in range(2))


class ModelAnswer(BaseModel):
    """A model of the server."""

    name: str = Field(examples=["base"])
    labels: list[str] = Field(examples=[list(SCORES)])
    colors: dict[str, str] = Field(description="A colour for each class.", examples=[{"anger": "#d1372c"}])
    tasks: list[str] = Field(description="What the model recognises, its default first.", examples=[["emotion"]])
    transport: bool = Field(description="Whether the model has a transport head, and so trajectories.")
    profile: bool = Field(description="Whether the server has adapted it with a profile.")
    sample_rate: int = Field(description="In Hz; audio of any rate is converted to it.", examples=[16_000])


class ModelsAnswer(BaseModel):
    """The models of the server."""

    models: list[ModelAnswer]


class Status(BaseModel):
    """Whether the process runs, or the server is ready."""

    status: Literal["ok"] = "ok"


@models_router.get("/v1/models", responses=problems(401, 422))
async def models(service: Serving) -> ModelsAnswer:
    """List the models of the server."""
    labels = list(service.recognizer.labels)
    model = ModelAnswer(
        name=service.name,
        labels=labels,
        colors=colors_of(labels),
        tasks=tasks_of(service.recognizer.metadata),
        transport=service.recognizer.has_transport,
        profile=service.recognizer.profile is not None,
        sample_rate=SAMPLE_RATE,
    )
    return ModelsAnswer(models=[model])


@health_router.get("/healthz", responses=problems(422))
async def healthz() -> Status:
    """Report that the process runs."""
    return Status()


@health_router.get("/readyz", responses=problems(422, 503))
async def readyz(service: Serving) -> Status:
    """Report whether the server accepts work."""
    if not service.batcher.is_alive:
        raise Problem(503, "The server is not ready: it is starting or stopping.", retry_after=2)
    return Status()


@health_router.get("/metrics", response_class=PlainTextResponse, responses=problems(422))
async def metrics(service: Serving) -> Response:
    """Return counts and times in the text format of Prometheus."""
    return Response(service.metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")
