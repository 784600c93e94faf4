"""Metrics for Prometheus: counts and times of requests by route, of batches, and what is in progress."""

import os
import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client looks for this name
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters, gauges and histograms of one application."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("genser_requests", "Requests by outcome.", ["route", "status"], registry=registry)
        self.seconds = Histogram(
            "genser_request_seconds", "Time of a request.", ["route"], buckets=SECONDS, registry=registry
        )
        self.audio = Counter("genser_audio_seconds", "Audio scored, in seconds.", registry=registry)
        self.batches = Histogram("genser_batch_size", "Waveforms in a batch.", buckets=SIZES, registry=registry)
        self.inference = Histogram("genser_inference_seconds", "Time of a batch.", buckets=SECONDS, registry=registry)
        self.refused = Counter("genser_refused", "Requests refused by a limit.", ["reason"], registry=registry)
        self.abandoned = Counter("genser_abandoned", "Requests whose client disconnected.", registry=registry)
        self.queued = self._gauge("genser_queue_items", "Waveforms that wait to be scored.")
        self.working = self._gauge("genser_requests_in_work", "Requests in progress.")
        self.streams = self._gauge("genser_streams", "Live streams in progress.")

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self.registry, multiprocess_mode="livesum")

    def exposition(self) -> bytes:
        """Return the text that Prometheus reads."""
        if SHARED_FOLDER not in os.environ:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)
        return generate_latest(together)


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
            # Only the paths of routes become labels, so that a client cannot create any number of them.
            route = getattr(scope.get("route"), "path", "other")
            metrics: Metrics = scope["app"].state.service.metrics
            metrics.requests.labels(route, str(status)).inc()
            metrics.seconds.labels(route).observe(time.perf_counter() - begin)
