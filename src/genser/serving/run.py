"""Starts the server: uvicorn, its processes, and what they share."""

import dataclasses
import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil

import uvicorn

from genser.serving.app import ENVIRONMENT
from genser.serving.config import ServerConfig
from genser.serving.connection import StreamProtocol, TimedProtocol

LARGEST_MESSAGE = 1 << 20  # bytes of a WebSocket message: 5 s of 48 kHz stereo as f32
PENDING_CONNECTIONS = 1024
FACTORY = "genser.serving.app:app_from_environment"


def serve(config: ServerConfig, factory: str = FACTORY) -> None:
    """Serve until the process is told to stop, then finish what was taken; the process ends with status 0.

    Args:
        config: What the server does and allows.
        factory: Makes the application in each process, as ``module:function``.
    """
    os.environ[ENVIRONMENT] = json.dumps(dataclasses.asdict(config))
    with _orderly_end(), _shared_metrics(config.workers):
        uvicorn.run(
            factory,
            factory=True,
            host=config.host,
            port=config.port,
            workers=config.workers,
            http=TimedProtocol,
            ws=StreamProtocol,
            ws_max_size=LARGEST_MESSAGE,
            backlog=PENDING_CONNECTIONS,
            timeout_graceful_shutdown=ceil(config.grace),
            server_header=False,
            access_log=False,
        )


@contextmanager
def _orderly_end() -> Iterator[None]:
    """Make SIGTERM an exit with status 0: uvicorn raises it again when all is done, which would kill the process."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals come to the main thread alone
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _shared_metrics(workers: int) -> Iterator[None]:
    """Where several workers put their counts, so that /metrics tells the sum whichever of them answers."""
    if workers == 1:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="genser-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # prometheus_client reads it when imported
        yield
