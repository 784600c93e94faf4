"""Starts the server: uvicorn, its worker processes, and what they share."""

import dataclasses
import json
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil

import uvicorn

from genser.errors import ConfigError
from genser.inference.load import load
from genser.serving.app import ENVIRONMENT
from genser.serving.config import ServerConfig
from genser.serving.connection import StreamProtocol, TimedProtocol

LARGEST_MESSAGE = 1 << 20  # bytes of a WebSocket message: 5 s of 48 kHz stereo as f32
PENDING_CONNECTIONS = 1024
FACTORY = "genser.serving.app:app_from_environment"


def serve(config: ServerConfig, factory: str = FACTORY) -> None:
    """Serve until SIGTERM or Ctrl-C, then finish the accepted work; the process ends with status 0.

    Args:
        config: The server's settings.
        factory: Makes the application in each process, as ``module:function``.

    Raises:
        ConfigError: The address cannot be listened on.
        ModelError: The model is missing or damaged.
    """
    check_address(config.host, config.port)
    if config.workers > 1 and factory == FACTORY:
        # a worker process could only die of a faulty model, and uvicorn would start it again
        load(config.model, device=config.device, profile=config.profile)
    os.environ[ENVIRONMENT] = json.dumps(dataclasses.asdict(config))
    with _exit_normally_on_sigterm(), _shared_metrics(config.workers):
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


def check_address(host: str, port: int) -> None:
    """Try to listen on an address; uvicorn would log a bare error number.

    Raises:
        ConfigError: The host is unknown, or the port is in use or reserved.
    """
    try:
        for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            socket.create_server(address[:2], family=family).close()
    except OSError as error:
        raise ConfigError(
            f"The server cannot listen on {host}:{port}: {error.strerror}. Choose another --port or --host."
        ) from error


@contextmanager
def _exit_normally_on_sigterm() -> Iterator[None]:
    """Make SIGTERM an exit with status 0; uvicorn raises it again after its shutdown, which would kill the process."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread receives signals
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _shared_metrics(workers: int) -> Iterator[None]:
    """Give several workers a folder for their counts, so that each of them can report the sum at /metrics."""
    if workers == 1:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="genser-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # prometheus_client reads it when imported
        yield
