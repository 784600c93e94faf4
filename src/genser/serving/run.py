"""Starts the server: uvicorn, its processes, and what they share."""

import dataclasses
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from genser.serving.app import ENVIRONMENT
from genser.serving.config import ServerConfig
from genser.serving.connection import TimedProtocol

LARGEST_MESSAGE = 1 << 20  # bytes of a WebSocket message: 5 s of 48 kHz stereo as f32
PENDING_CONNECTIONS = 1024
FACTORY = "genser.serving.app:app_from_environment"


def serve(config: ServerConfig, factory: str = FACTORY) -> None:
    """Serve until the process is told to stop, then finish what was taken.

    Args:
        config: What the server does and allows.
        factory: Makes the application in each process, as ``module:function``.
    """
    os.environ[ENVIRONMENT] = json.dumps(dataclasses.asdict(config))
    with _shared_metrics(config.workers):
        uvicorn.run(
            factory,
            factory=True,
            host=config.host,
            port=config.port,
            workers=config.workers,
            http=TimedProtocol,
            ws="websockets-sansio",
            ws_max_size=LARGEST_MESSAGE,
            backlog=PENDING_CONNECTIONS,
            timeout_graceful_shutdown=round(config.grace),
            server_header=False,
            access_log=False,
        )


@contextmanager
def _shared_metrics(workers: int) -> Iterator[None]:
    """Where several workers put their counts, so that /metrics tells the sum whichever of them answers."""
    if workers == 1:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="genser-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # prometheus_client reads it when imported
        yield
