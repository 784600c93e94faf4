"""Every request is counted and timed under its route."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from genser.serving.metrics import Metrics


class Observer:
    """Counts requests by route and status."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, begin = 500, time.perf_counter()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            # Only paths of routes become labels: a client must not be able to make up any number of them.
            route = getattr(scope.get("route"), "path", "other")
            metrics: Metrics = scope["app"].state.service.metrics
            metrics.requests.labels(route, str(status)).inc()
            metrics.seconds.labels(route).observe(time.perf_counter() - begin)
