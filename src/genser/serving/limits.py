"""Admission control: concurrency limits, limits per client, timeouts and disconnects."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

from fastapi import Request

from genser.errors import counted
from genser.serving.config import ServerConfig
from genser.serving.errors import Problem
from genser.serving.metrics import Metrics

Result = TypeVar("Result")
GONE = 499  # nginx's code for a client that closed the connection; only the metrics show it


class Admission:
    """Counts requests, recordings and streams in progress, and refuses those beyond the limits."""

    def __init__(self, config: ServerConfig, metrics: Metrics) -> None:
        self._config, self._metrics = config, metrics
        self._clients: Counter[str] = Counter()
        self._in_progress = Counter(recordings=0, streams=0)

    @contextmanager
    def request(self, client: str) -> Iterator[None]:
        """Count a request while it is in progress.

        Raises:
            Problem: 429 too many of this client, 503 too many in all, or the server stopped before the work was done.
        """
        if self._clients[client] >= self._config.max_client_requests:
            self._metrics.refused.labels("client").inc()
            raise Problem(
                429,
                f"{counted(self._clients[client], 'request')} of yours in progress is the limit. Wait for one to end.",
                retry_after=1,
            )
        if self._clients.total() >= self._config.max_requests:
            self._metrics.refused.labels("requests").inc()
            raise Problem(
                503,
                f"{counted(self._clients.total(), 'request')} in progress is the limit. Try again later.",
                retry_after=2,
            )
        self._clients[client] += 1
        self._metrics.working.inc()
        try:
            yield
        except asyncio.CancelledError:  # uvicorn cancels what a stopping server did not finish within its grace
            raise Problem(503, "The server stopped before it could finish. Try again later.", retry_after=5) from None
        finally:
            self._metrics.working.dec()
            self._clients[client] -= 1
            self._clients += Counter()  # forgets clients at zero

    def recording(self) -> AbstractContextManager[None]:
        """Count a recording while it is in progress; raises Problem 503 beyond the limit."""
        return self._counted("recordings", self._config.max_recordings, retry_after=15)

    def stream(self) -> AbstractContextManager[None]:
        """Count a live stream while it is open; raises Problem 503 beyond the limit."""
        return self._counted("streams", self._config.max_streams, retry_after=30)

    @contextmanager
    def _counted(self, kind: str, limit: int, retry_after: float) -> Iterator[None]:
        count = self._in_progress[kind]
        if count >= limit:
            self._metrics.refused.labels(kind).inc()
            raise Problem(503, f"{count} {kind} are in progress. Try again later.", retry_after=retry_after)
        self._in_progress[kind] += 1
        try:
            yield
        finally:
            self._in_progress[kind] -= 1


async def finish(request: Request, work: Awaitable[Result], seconds: float, metrics: Metrics) -> Result:
    """Wait for work, but cancel it when the client disconnects or the time is over.

    Raises:
        Problem: 503 the time is over, 499 the client disconnected.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            metrics.abandoned.inc()
            raise Problem(GONE, "The client disconnected.")
        raise Problem(503, f"The work took longer than {seconds:g} s and was stopped. Send less.", retry_after=10)
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
