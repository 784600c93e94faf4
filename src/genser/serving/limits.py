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
        self._requests: Counter[str] = Counter()
        self._streams: Counter[str] = Counter()
        self._in_progress = Counter(recordings=0, streams=0)

    @contextmanager
    def request(self, client: str) -> Iterator[None]:
        """Count a request while it is in progress.

        Raises:
            Problem: 429 too many of this client, 503 too many in all, or the server stopped before the work was done.
        """
        with self._of_client(self._requests, "request", client, self._config.max_client_requests):
            if self._requests.total() > self._config.max_requests:
                self._metrics.refused.labels("requests").inc()
                limit = counted(self._config.max_requests, "request")
                raise Problem(503, f"{limit} in progress is the limit. Try again later.", retry_after=2)
            self._metrics.working.inc()
            try:
                yield
            except asyncio.CancelledError:  # uvicorn cancels what a stopping server did not finish within its grace
                stopped = "The server stopped before it could finish. Try again later."
                raise Problem(503, stopped, retry_after=5) from None
            finally:
                self._metrics.working.dec()

    def recording(self) -> AbstractContextManager[None]:
        """Count a recording while it is in progress; raises Problem 503 beyond the limit."""
        return self._counted("recordings", self._config.max_recordings, retry_after=15)

    @contextmanager
    def stream(self, client: str) -> Iterator[None]:
        """Count a live stream while it is open.

        Raises:
            Problem: 429 too many of this client, 503 too many in all.
        """
        mine = self._of_client(self._streams, "stream", client, self._config.max_client_streams)
        with mine, self._counted("streams", self._config.max_streams, retry_after=30):
            yield

    @contextmanager
    def _of_client(self, clients: Counter[str], what: str, client: str, limit: int) -> Iterator[None]:
        if clients[client] >= limit:
            self._metrics.refused.labels("client").inc()
            mine = f"{counted(limit, what)} of yours in progress is the limit. Wait for one to end."
            raise Problem(429, mine, retry_after=1)
        clients[client] += 1
        try:
            yield
        finally:
            clients[client] -= 1
            if not clients[client]:
                del clients[client]  # forgets clients at zero

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
