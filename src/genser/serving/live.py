"""The WebSocket /v1/stream: audio goes in, segments come out as they are decided."""

import asyncio
import json
import logging
from collections import Counter
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from genser.audio import HIGHEST_RATE, LOWEST_RATE, SAMPLE_RATE
from genser.audio.mono import joined
from genser.errors import GenserError, counted
from genser.inference.prediction import NO_SPEECH
from genser.inference.profile import Profile
from genser.segments.chunking import Chunk
from genser.segments.stream import ChunkStream
from genser.serving.batching import long_enough, row_of
from genser.serving.connection import STOPPING
from genser.serving.errors import Problem, problem_of, problem_of_faults
from genser.serving.options import SegmentParameters
from genser.serving.security import check_key, check_origin, client_of, key_of, refuse_query
from genser.serving.service import Service

DTYPES = {"s16le": "<i2", "f32le": "<f4"}
START_TIMEOUT = 10.0  # s until the first message
IDLE_TIMEOUT = 60.0  # s between messages
PROGRESS_INTERVAL = 0.5  # s of audio
SERVICE_RESTART = 1012  # WebSocket close code of a server that stops: connect again later
CLOSE_CODES = {401: 1008, 403: 1008, 413: 1009, 429: 1013, 500: 1011, 503: 1013}
INVALID = 1007  # WebSocket close code of data that cannot be used

LOGGER = logging.getLogger("genser.serving")
router = APIRouter()


class Start(SegmentParameters):
    """The first message of a client: how the audio is encoded, how it is cut and labelled."""

    type: Literal["start"]
    encoding: Literal["s16le", "f32le"] = "s16le"
    sample_rate: int = Field(SAMPLE_RATE, ge=LOWEST_RATE, le=HIGHEST_RATE)
    channels: int = Field(1, ge=1, le=8)
    channel: int | Literal["mix"] = "mix"
    smoothing: str = "causal"
    key: str | None = None
    profile: dict[str, Any] | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_truth_value(cls, value: Any) -> Any:
        if isinstance(value, bool):  # pydantic would take it for 1 or 0
            raise PydanticCustomError("truth_value", "Input should not be true or false")
        return value


@router.websocket("/v1/stream")
async def stream(websocket: WebSocket) -> None:
    """Recognise live sound; docs/http.md describes the protocol."""
    service: Service = websocket.app.state.service
    await websocket.accept()
    try:
        check_origin(websocket)
        await refuse_query(websocket)  # settings belong in the first message
        message = await _receive(websocket, START_TIMEOUT)
        if message == STOPPING:
            raise Problem(503, "The server is stopping. Connect again later.", retry_after=5)
        start = parse_start(message)
        key = start.key or key_of(websocket.headers)
        check_key(key, service.config.api_keys)
        with service.admission.stream(client_of(websocket, key)), service.metrics.streams.track_inprogress():
            await _Session(websocket, service, start).run()
    except WebSocketDisconnect:
        service.metrics.abandoned.inc()
    except Problem as problem:
        await _refuse(websocket, problem)
    except GenserError as error:
        await _refuse(websocket, problem_of(error))
    except Exception as error:  # a fault must not leave the client without a reason
        LOGGER.exception("A stream failed")
        await _refuse(websocket, Problem(500, f"The server failed ({type(error).__name__}). See its log."))
    except asyncio.CancelledError:  # uvicorn cancels what a stopping server did not finish within its grace
        await _refuse(websocket, Problem(503, "The server stopped before it could finish. Connect again later."))


def parse_start(message: bytes | str) -> Start:
    """Read the first message.

    Raises:
        Problem: 400 it is not a start message, 422 one of its values is not usable.
    """
    try:
        values: Any = json.loads(message, object_pairs_hook=_members)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict) or values.get("type") != "start":
        raise Problem(
            400, 'The first message must be JSON: {"type": "start", "encoding": "s16le", "sample_rate": 16000}'
        )
    if values.get("encoding") == "webm":
        raise Problem(422, "Live sound is not accepted as WebM. Send s16le or f32le, or upload the file.")
    try:
        return Start.model_validate(values)
    except ValidationError as error:
        raise problem_of_faults(error.errors(), list(Start.model_fields)) from error


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The members of a JSON object.

    Raises:
        Problem: 422 one is given several times.
    """
    for name, count in Counter(name for name, _ in pairs).items():
        if count > 1:
            raise Problem(422, f"{name[:100]!r} is given {count} times in the first message. Give it once.")
    return dict(pairs)


async def _receive(websocket: WebSocket, seconds: float) -> bytes | str:
    try:
        async with asyncio.timeout(seconds):
            message = await websocket.receive()
    except TimeoutError:
        raise Problem(408, f"No message arrived for {seconds:g} s.") from None
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    return message["bytes"] if message.get("bytes") is not None else message["text"]


async def _refuse(websocket: WebSocket, problem: Problem) -> None:
    try:
        await websocket.send_json({**problem.to_dict(), "type": "error"})
        await websocket.close(CLOSE_CODES.get(problem.status, INVALID))
    except (WebSocketDisconnect, RuntimeError):
        return  # the client has already disconnected


class _Session:
    """A live stream after its first message."""

    def __init__(self, websocket: WebSocket, service: Service, start: Start) -> None:
        self._websocket, self._service = websocket, service
        self._encoding, self._channels, self._rate = start.encoding, start.channels, start.sample_rate
        self._dtype = np.dtype(DTYPES[start.encoding])
        self._recognizer = service.recognizer_of(start.task)
        if start.profile is not None:
            profile = Profile.parsed(json.dumps(start.profile).encode(), "The profile of the first message")
            self._recognizer = self._recognizer.adapted(profile)
        self._prior = start.class_prior(self._recognizer.labels)
        self._stream = ChunkStream(
            self._prior.labels,
            self._prior.shares,
            start.options(),
            start.sample_rate,
            channels=start.channels,
            channel=start.channel,
        )
        self._samples, self._reported = 0, 0.0
        self._rest = b""

    async def run(self) -> None:
        """Process audio until the client stops or disconnects, or the server stops."""
        loop = asyncio.get_running_loop()
        ready = {"type": "ready", "model": self._service.name, "labels": list(self._prior.labels)}
        await self._websocket.send_json({**ready, "latency": round(self._stream.latency, 3)})
        while isinstance(message := await _receive(self._websocket, IDLE_TIMEOUT), bytes):
            await self._send_segments(await loop.run_in_executor(self._service.live, self._cut, message))
            seconds = self._samples / self._rate
            if seconds - self._reported >= PROGRESS_INTERVAL:
                self._reported = seconds
                await self._websocket.send_json({"type": "progress", "time": round(seconds, 3)})
        await self._send_segments(await loop.run_in_executor(self._service.live, self._stream.cut_last))
        remark = joined([*filter(None, [self._stream.remark]), *self._incomplete()])
        await self._websocket.send_json({"type": "done", "time": self._samples / self._rate, "remark": remark})
        await self._websocket.close(SERVICE_RESTART if message == STOPPING else 1000)

    def _cut(self, message: bytes) -> list[Chunk]:
        data = self._rest + message
        end = len(data) - len(data) % (self._dtype.itemsize * self._channels)
        self._rest = data[end:]
        samples = np.frombuffer(data[:end], self._dtype).reshape(-1, self._channels)
        self._samples += len(samples)
        longest = self._service.config.max_recording
        if self._samples > longest * self._rate:
            raise Problem(413, f"The stream is longer than {longest:g} s. Open another one.")
        return self._stream.cut(samples)

    def _incomplete(self) -> list[str]:
        """A remark if the audio ends within a sample."""
        if not self._rest:
            return []
        size, channels = self._dtype.itemsize * self._channels, counted(self._channels, "channel")
        return [
            f"The audio ends within a sample: its last {counted(len(self._rest), 'byte is', 'bytes are')} not used. In "
            f"{self._encoding} with {channels} a sample has {size} bytes."
        ]

    async def _send_segments(self, chunks: list[Chunk]) -> None:
        for chunk in chunks:
            waveforms = [long_enough(chunk.waveform)]
            (promise,) = self._service.batcher.submit(self._recognizer, waveforms, urgent=True)
            answer = await asyncio.wrap_future(promise)
            scores, is_speech = self._prior.posterior(row_of(answer)), answer.label != NO_SPEECH
            segment = self._stream.finish(chunk, scores, is_speech, answer.familiar)
            if segment is not None:
                await self._websocket.send_json({"type": "segment", **segment.to_dict()})
