"""Bodies of requests become sounds: raw or multipart, within limits of size, number and time, never whole in memory."""

import asyncio
import re
import tempfile
import time
import unicodedata
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from genser.serving.config import ServerConfig
from genser.serving.errors import Problem

IN_MEMORY = 1 << 20  # bytes of an upload; larger ones lie in a temporary file
COPY_BLOCK = 1 << 18
RAW_TYPES = re.compile(r"(audio|video)/[\w.+-]+|application/(octet-stream|ogg|x-flac)")
BOUNDARY = re.compile(r'boundary="?([^";,\s]+)', re.IGNORECASE)
LONGEST_NAME = 200


@dataclass(frozen=True)
class Upload:
    """A file that a client sent.

    Attributes:
        field: Name of the form's field, empty for a raw body.
        name: As the client calls it, for messages alone: never a path here.
        source: Its bytes, or the temporary file that holds them.
    """

    field: str
    name: str
    source: bytes | Path

    def told(self, error: Exception) -> str:
        """Words of an error with the client's name of the file instead of ours."""
        ours = str(self.source) if isinstance(self.source, Path) else f"sound in {len(self.source)} bytes"
        return str(error).replace(ours, self.name)


async def read_uploads(request: Request, config: ServerConfig, max_bytes: int, stack: ExitStack) -> list[Upload]:
    """Read the files of a request; temporary ones live as long as the stack.

    Raises:
        Problem: 400 broken or without a file, 408 too slow, 413 too large or too many, 415 of another type.
    """
    kind = request.headers.get("content-type", "application/octet-stream")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    body = _Body(request, config, max_bytes)
    if kind.startswith("multipart/form-data"):
        return await _multipart(request, body, kind, config, stack)
    if RAW_TYPES.fullmatch(kind.partition(";")[0].strip().lower()):
        return [await _raw(body, stack)]
    raise Problem(415, f"A body of type {kind[:100]!r} is no sound. Send audio/*, or multipart/form-data with files.")


def _too_large(max_bytes: int) -> Problem:
    return Problem(413, f"The body is larger than the limit of {max_bytes} bytes. Split the sound or compress it.")


class _Body:
    """The body of a request, counted and timed; remembers its end."""

    def __init__(self, request: Request, config: ServerConfig, max_bytes: int) -> None:
        self._request, self._config, self._max_bytes = request, config, max_bytes
        self._received, self._begin = 0, time.monotonic()
        self.tail = b""

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body in pieces.

        Raises:
            Problem: 408 too slow, 413 too large.
        """
        source = self._request.stream()
        while True:
            allowed = self._config.body_timeout + self._received / self._config.slowest_body
            try:
                async with asyncio.timeout(self._begin + allowed - time.monotonic()):
                    chunk = await anext(source, None)
            except TimeoutError:
                raise Problem(
                    408, f"The body came too slowly: {self._received} bytes in {allowed:.0f} s. Send it faster."
                ) from None
            if chunk is None:
                return
            self._received += len(chunk)
            if self._received > self._max_bytes:
                raise _too_large(self._max_bytes)
            self.tail = (self.tail + chunk)[-256:]
            yield chunk


async def _raw(body: _Body, stack: ExitStack) -> Upload:
    spool = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115
    stack.callback(spool.close)
    async for chunk in body.chunks():
        spool.write(chunk)
    return Upload("", "sound", _settled(spool, stack))


async def _multipart(request: Request, body: _Body, kind: str, config: ServerConfig, stack: ExitStack) -> list[Upload]:
    boundary = BOUNDARY.search(kind)
    parser = MultiPartParser(request.headers, body.chunks(), max_files=config.max_files, max_fields=16)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        status = 413 if "Too many" in error.message or "exceeded" in error.message else 400
        raise Problem(status, f"The form cannot be read: {error.message}") from error
    except (KeyError, ValueError, AssertionError) as error:
        raise Problem(400, f"The form cannot be read: {error}. Name each part, and give the boundary.") from error
    files = [(name, value) for name, value in form.multi_items() if isinstance(value, UploadFile)]
    for _, value in files:
        stack.callback(value.file.close)
    if boundary is None or f"--{boundary[1]}--".encode() not in body.tail:
        raise Problem(400, "The form ends before its closing boundary. Send it whole.")
    if not files:
        raise Problem(400, "The form holds no file. Send at least one, such as: curl -F file=@speech.wav")
    return [Upload(name, _safe_name(value.filename), _settled(value.file, stack)) for name, value in files]


def _settled(spool, stack: ExitStack) -> bytes | Path:
    """Bytes of a small upload, or the path of a file with those of a large one."""
    spool.seek(0)
    head = spool.read(IN_MEMORY + 1)
    if len(head) <= IN_MEMORY:
        return head
    file = tempfile.NamedTemporaryFile(prefix="genser-")  # noqa: SIM115
    stack.callback(file.close)
    file.write(head)
    while block := spool.read(COPY_BLOCK):
        file.write(block)
    file.flush()
    return Path(file.name)


def _safe_name(name: str | None) -> str:
    base = re.split(r"[/\\]", name or "")[-1]
    shown = "".join(letter for letter in base if not unicodedata.category(letter).startswith("C"))
    return shown[:LONGEST_NAME] or "sound"
