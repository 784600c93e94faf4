"""The application: all routes and the page around one model."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from genser._version import __version__
from genser.inference.load import load
from genser.inference.recognizer import Recognizer
from genser.serving import live, predict, profiles, segments, status
from genser.serving.config import ServerConfig
from genser.serving.errors import ProblemDetails, handle_problems
from genser.serving.metrics import Observer
from genser.serving.security import Guard, refuse_repeated, require_key
from genser.serving.service import Service

STATIC = Path(__file__).parent / "static"
ENVIRONMENT = "GENSER_SERVE"  # carries the settings to the worker processes


def create_app(config: ServerConfig, recognizer: Recognizer) -> FastAPI:
    """Make the application.

    Args:
        config: The server's settings.
        recognizer: The loaded model.
    """
    service = Service(config, recognizer)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(service.start)
        yield
        await run_in_threadpool(service.stop)

    app = FastAPI(
        title="genser",
        version=__version__,
        summary="Speech emotion recognition by distribution transport.",
        description="Live sound uses the WebSocket /v1/stream, which OpenAPI cannot describe.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own page loads scripts from another host; static/docs.html does not
        redoc_url=None,
    )
    app.state.service = service
    for router in (predict.router, segments.router, profiles.router, status.models_router):
        app.include_router(router, dependencies=[Depends(require_key), Depends(refuse_repeated)])
    app.include_router(status.health_router)
    app.include_router(live.router)
    app.mount("/static", StaticFiles(directory=STATIC))
    app.add_api_route("/", _page, include_in_schema=False)
    app.add_api_route("/docs", _docs, include_in_schema=False)
    handle_problems(app)
    app.add_middleware(Observer)
    app.add_middleware(Guard, hosts=config.hosts)
    app.add_middleware(HeadAsGet)
    _describe_problems(app)
    return app


class HeadAsGet:
    """Answers HEAD as GET; the HTTP protocol of the server, which knows the method, sends no body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        is_head = scope["type"] == "http" and scope["method"] == "HEAD"
        await self._app({**scope, "method": "GET"} if is_head else scope, receive, send)


async def _page() -> FileResponse:
    return FileResponse(STATIC / "index.html")


async def _docs() -> FileResponse:
    return FileResponse(STATIC / "docs.html")


def _describe_problems(app: FastAPI) -> None:
    """Replace FastAPI's description of errors by the one that the server sends."""
    original = app.openapi

    def openapi() -> dict:
        description = original()
        schemas = description["components"]["schemas"]
        schemas["ProblemDetails"] = ProblemDetails.model_json_schema()
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        return description

    app.openapi = openapi


def app_from_environment() -> FastAPI:
    """Make the application of a worker process, as `genser serve` configured it.

    Raises:
        ModelError: The model is missing or damaged.
    """
    config = config_from_environment()
    return create_app(config, load(config.model, device=config.device, shared=True, profile=config.profile))


def config_from_environment() -> ServerConfig:
    """Read the settings that `genser serve` left for its worker processes."""
    settings: dict[str, Any] = json.loads(os.environ[ENVIRONMENT])
    for name in ("api_keys", "allowed_hosts"):
        settings[name] = tuple(settings[name])
    return ServerConfig(**settings)
