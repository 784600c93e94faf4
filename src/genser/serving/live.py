"""Live sound over a WebSocket: audio goes in, segments come out as they are decided."""

import asyncio
import json
from dataclasses import dataclass

import numpy as np
from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from genser.audio import HIGHEST_RATE, LOWEST_RATE, SAMPLE_RATE
from genser.config import build
from genser.errors import ConfigError, GenserError
from genser.inference.prediction import NO_SPEECH
from genser.segments.chunking import Chunk
from genser.segments.options import SegmentOptions
from genser.segments.stream import Stream
from genser.serving.batching import long_enough, row_of
from genser.serving.connection import STOPPING
from genser.serving.errors import Problem, problem_of
from genser.serving.security import is_known, is_same_origin, key_of
from genser.serving.service import Service
from genser.serving.webm import WebmDecoder

ENCODINGS = {"s16le": "<i2", "f32le": "<f4"}
START_TIMEOUT = 10.0  # s until the first message
IDLE_TIMEOUT = 60.0  # s between messages
PROGRESS_EVERY = 0.5  # s of sound
SERVICE_RESTART = 1012  # the WebSocket's code for a server that stops: come again
CLOSE_CODES = {401: 1008, 403: 1008, 413: 1009, 503: 1013, 500: 1011}

router = APIRouter()


@dataclass(frozen=True)
class Start:
    """What a client says first.

    Attributes:
        encoding: ``"s16le"``, ``"f32le"`` or ``"webm"``.
        sample_rate: In Hz, of samples; WebM says its own.
        channels: Interleaved channels of samples.
        options: How to cut and decide.
    """

    encoding: str
    sample_rate: int
    channels: int
    options: SegmentOptions

    def __post_init__(self) -> None:
        if self.encoding not in (*ENCODINGS, "webm"):
            raise ConfigError(f"Unknown encoding {self.encoding!r}: use one of {', '.join([*ENCODINGS, 'webm'])}.")
        if not isinstance(self.sample_rate, int) or not LOWEST_RATE <= self.sample_rate <= HIGHEST_RATE:
            raise ConfigError(f"sample_rate must lie in [{LOWEST_RATE}, {HIGHEST_RATE}] Hz, got {self.sample_rate}.")
        if not isinstance(self.channels, int) or not 1 <= self.channels <= 8:
            raise ConfigError(f"channels must lie in [1, 8], got {self.channels}.")


@router.websocket("/v1/stream")
async def stream(websocket: WebSocket) -> None:
    """Recognise live sound; the protocol is described in docs/http.md."""
    service: Service = websocket.app.state.service
    await websocket.accept()
    try:
        await _serve(websocket, service)
    except WebSocketDisconnect:
        service.metrics.abandoned.inc()
    except Problem as problem:
        await _refuse(websocket, problem)
    except GenserError as error:
        await _refuse(websocket, problem_of(error))
    except asyncio.CancelledError:  # uvicorn cancels what a stopping server did not finish within its grace
        await _refuse(websocket, Problem(503, "The server stops before it could finish. Connect again later."))


async def _refuse(websocket: WebSocket, problem: Problem) -> None:
    try:
        await websocket.send_json({**problem.to_dict(), "type": "error"})
        await websocket.close(CLOSE_CODES.get(problem.status, 1007))
    except (WebSocketDisconnect, RuntimeError):
        return  # the client is gone already, so there is nobody to tell


async def _serve(websocket: WebSocket, service: Service) -> None:
    if not is_same_origin(websocket):
        raise Problem(403, f"A page from {websocket.headers['origin'][:100]} must not listen here.")
    if service.streams >= service.config.max_streams:
        service.metrics.refused.labels("streams").inc()
        raise Problem(503, f"{service.streams} streams are open. Try again later.", retry_after=30)
    service.streams += 1
    service.metrics.streams.inc()
    try:
        message = await _receive(websocket, START_TIMEOUT)
        if message == STOPPING:
            raise Problem(503, "The server is stopping. Try again in a moment.", retry_after=5)
        start = parse_start(_authorized(websocket, service, message))
        await Session(websocket, service, start).run()
    finally:
        service.streams -= 1
        service.metrics.streams.dec()


async def _receive(websocket: WebSocket, seconds: float) -> bytes | str:
    try:
        async with asyncio.timeout(seconds):
            message = await websocket.receive()
    except TimeoutError:
        raise Problem(408, f"Nothing came for {seconds:g} s.") from None
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    return message["bytes"] if message.get("bytes") is not None else message["text"]


def _authorized(websocket: WebSocket, service: Service, message: bytes | str) -> dict:
    try:
        said = json.loads(message)
    except ValueError:
        said = None
    if not isinstance(said, dict) or said.get("type") != "start":
        raise Problem(
            400, 'The first message must be JSON: {"type": "start", "encoding": "s16le", "sample_rate": 16000}'
        )
    key, keys = said.pop("key", None) or key_of(websocket.headers), service.config.api_keys
    if keys and not is_known(str(key), keys):
        raise Problem(401, 'An API key is needed. Send it as a header or as "key" in the first message.')
    return said


def parse_start(said: dict) -> Start:
    """Read the first message.

    Raises:
        ConfigError: It says something that cannot be.
    """
    said = {name: value for name, value in said.items() if name != "type"}
    known = {name: said.pop(name, default) for name, default in (("sample_rate", SAMPLE_RATE), ("channels", 1))}
    encoding = said.pop("encoding", "s16le")
    options = build(SegmentOptions, {"smoothing": "causal", **said}, "The first message")
    return Start(encoding, **known, options=options)


class Session:
    """One live stream."""

    def __init__(self, websocket: WebSocket, service: Service, start: Start) -> None:
        self._websocket, self._service, self._start = websocket, service, start
        self._webm = WebmDecoder() if start.encoding == "webm" else None
        rate = SAMPLE_RATE if self._webm else start.sample_rate
        self._stream = Stream(service.recognizer, start.options, rate)
        self._rate, self._samples, self._told = rate, 0, 0.0
        self._rest = b""

    async def run(self) -> None:
        """Take sound until the client stops or goes away, or the server stops."""
        ready = {"type": "ready", "model": self._service.name, "labels": self._service.labels}
        await self._websocket.send_json({**ready, "latency": round(self._stream.latency, 3)})
        try:
            while isinstance(message := await _receive(self._websocket, IDLE_TIMEOUT), bytes):
                await self._tell(await self._in_thread(self._take, message))
                await self._progress()
            await self._tell(await self._in_thread(self._finish))
            await self._websocket.send_json({"type": "done", "time": self._samples / self._rate})
            await self._websocket.close(SERVICE_RESTART if message == STOPPING else 1000)
        finally:
            if self._webm:
                await self._in_thread(self._webm.abandon)

    async def _in_thread(self, function, *arguments):
        return await asyncio.get_running_loop().run_in_executor(self._service.live, function, *arguments)

    def _take(self, message: bytes) -> list[Chunk]:
        return self._stream.cut(self._count(self._webm.feed(message) if self._webm else self._parsed(message)))

    def _finish(self) -> list[Chunk]:
        rest = self._stream.cut(self._count(self._webm.close())) if self._webm else []
        return rest + self._stream.cut_last()

    def _count(self, samples: np.ndarray) -> np.ndarray:
        self._samples += len(samples)
        if self._samples > self._service.config.max_recording * self._rate:
            raise Problem(413, f"The stream is longer than {self._service.config.max_recording:g} s. Open another one.")
        return samples

    def _parsed(self, message: bytes) -> np.ndarray:
        data = self._rest + message
        frame = np.dtype(ENCODINGS[self._start.encoding]).itemsize * self._start.channels
        whole = len(data) - len(data) % frame
        self._rest = data[whole:]
        return np.frombuffer(data[:whole], ENCODINGS[self._start.encoding]).reshape(-1, self._start.channels)

    async def _tell(self, pieces: list[Chunk]) -> None:
        for piece in pieces:
            (promise,) = self._service.batcher.submit([long_enough(piece.waveform)], urgent=True)
            answer = await asyncio.wrap_future(promise)
            segment = self._stream.finish(piece, row_of(answer), answer.label != NO_SPEECH)
            if segment is not None:
                await self._websocket.send_json({"type": "segment", **segment.to_dict()})

    async def _progress(self) -> None:
        seconds = self._samples / self._rate
        if seconds - self._told >= PROGRESS_EVERY:
            self._told = seconds
            await self._websocket.send_json({"type": "progress", "time": round(seconds, 3)})
