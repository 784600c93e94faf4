"""The application: routes, live sound and the page around one model."""

import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool

from genser._version import __version__
from genser.serving import live, routes
from genser.serving.batching import Recognizer
from genser.serving.config import ServerConfig
from genser.serving.errors import handle_problems
from genser.serving.metrics import Observer
from genser.serving.schemas import ProblemDetails
from genser.serving.security import Guard
from genser.serving.service import Service

STATIC = Path(__file__).parent / "static"
ENVIRONMENT = "GENSER_SERVE"  # carries the configuration to the processes of several workers


def create_app(config: ServerConfig, load: Callable[[], Recognizer]) -> FastAPI:
    """Make the application.

    Args:
        config: What it does and allows.
        load: Makes the recogniser when the application starts.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.service = await run_in_threadpool(Service, config, load)
        await run_in_threadpool(app.state.service.start)
        yield
        await run_in_threadpool(app.state.service.stop)

    app = FastAPI(
        title="genser",
        version=__version__,
        summary="Speech emotion recognition by distribution transport.",
        description="Live sound goes over the WebSocket /v1/stream, which OpenAPI cannot describe.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own pages load their scripts from another host
        redoc_url=None,
    )
    app.state.config = config
    app.include_router(routes.api)
    app.include_router(routes.health)
    app.include_router(live.router)
    app.mount("/static", StaticFiles(directory=STATIC))
    app.add_api_route("/", _page, include_in_schema=False)
    handle_problems(app)
    app.add_middleware(Observer)
    app.add_middleware(Guard, hosts=config.hosts)
    app.openapi = _with_problems(app.openapi)
    return app


async def _page() -> FileResponse:
    return FileResponse(STATIC / "index.html")


def _with_problems(make: Callable[[], dict]) -> Callable[[], dict]:
    def openapi() -> dict:
        schema = make()
        schemas = schema["components"]["schemas"]
        schemas["ProblemDetails"] = ProblemDetails.model_json_schema()
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        return schema

    return openapi


def app_from_environment() -> FastAPI:
    """Make the application of a worker process, as `genser serve` configured it."""
    config = config_from_environment()
    return create_app(config, lambda: _load(config.model))


def config_from_environment() -> ServerConfig:
    """The configuration that `genser serve` left for its processes."""
    said = json.loads(os.environ[ENVIRONMENT])
    return ServerConfig(**{name: tuple(value) if isinstance(value, list) else value for name, value in said.items()})


def _load(model: str | None) -> Recognizer:
    import genser

    return genser.load(model, shared=True)
