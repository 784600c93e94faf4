"""Who may have work done, and for how long: room, shares, deadlines, and clients that went away."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import TypeVar

from fastapi import Request

from genser.serving.config import ServerConfig
from genser.serving.errors import Problem
from genser.serving.metrics import Metrics

Result = TypeVar("Result")
GONE = 499  # nginx's code for a client that closed the connection; nobody reads it but the metrics


class Admission:
    """Counts requests in work, in all and for each client."""

    def __init__(self, config: ServerConfig, metrics: Metrics) -> None:
        self._config, self._metrics = config, metrics
        self._clients: Counter[str] = Counter()
        self.recordings = 0

    @asynccontextmanager
    async def request(self, client: str) -> AsyncIterator[None]:
        """Hold room for a request.

        Raises:
            Problem: 429 the client has too many in work, 503 all have, or the server ends before the work does.
        """
        if self._clients[client] >= self._config.max_client_requests:
            self._metrics.refused.labels("client").inc()
            raise Problem(
                429,
                f"{self._clients[client]} of your requests are in work, which is the limit. Wait for one to end.",
                retry_after=1,
            )
        if self._clients.total() >= self._config.max_requests:
            self._metrics.refused.labels("requests").inc()
            raise Problem(503, f"{self._clients.total()} requests are in work. Try again later.", retry_after=2)
        self._clients[client] += 1
        self._metrics.working.inc()
        try:
            yield
        except asyncio.CancelledError:  # uvicorn cancels what a stopping server did not finish within its grace
            raise Problem(503, "The server stops before it could finish. Try again later.", retry_after=5) from None
        finally:
            self._metrics.working.dec()
            self._clients[client] -= 1
            self._clients += Counter()  # forgets clients at zero

    @asynccontextmanager
    async def recording(self) -> AsyncIterator[None]:
        """Hold room for a recording.

        Raises:
            Problem: 503 too many are in work.
        """
        if self.recordings >= self._config.max_recordings:
            self._metrics.refused.labels("recordings").inc()
            raise Problem(503, f"{self.recordings} recordings are in work. Try again later.", retry_after=15)
        self.recordings += 1
        try:
            yield
        finally:
            self.recordings -= 1


async def finish(request: Request, work: Awaitable[Result], seconds: float, metrics: Metrics) -> Result:
    """Wait for work as long as the client does, but not beyond its time; else cancel it.

    Raises:
        Problem: 503 beyond the time, 499 (which nobody sees) without a client.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            metrics.abandoned.inc()
            raise Problem(GONE, "The client went away.")
        raise Problem(503, f"The work took longer than {seconds:g} s and was given up. Try less.", retry_after=10)
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
