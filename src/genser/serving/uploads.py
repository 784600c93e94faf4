"""Reads the files of a request, raw or multipart, within limits of size, number and time and in bounded memory."""

import asyncio
import re
import time
import unicodedata
from collections.abc import AsyncGenerator
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from genser.audio.sources import UnnamedFile
from genser.serving.config import ServerConfig
from genser.serving.errors import Problem

IN_MEMORY = 1 << 20  # bytes of an upload; larger ones are in a temporary file
MOST_FIELDS = 16  # of a form, not counting files
RAW_TYPES = re.compile(r"(audio|video)/[\w.+-]+|application/(octet-stream|ogg|x-flac)")
LONGEST_NAME = 200
BINARY = {"type": "string", "format": "binary"}
AUDIO_FILES = {"type": "array", "items": BINARY, "minItems": 1, "description": "Audio; repeat it for several files."}


def described_body(file: dict[str, Any], **others: dict[str, Any]) -> dict[str, Any]:
    """Part of OpenAPI for a body that is the file itself, or a form with the field ``file`` and optional others."""
    form = {"type": "object", "properties": {"file": file, **others}, "required": ["file"]}
    content = {"multipart/form-data": {"schema": form}}
    content |= {kind: {"schema": BINARY} for kind in ("audio/*", "application/octet-stream")}
    return {"requestBody": {"required": True, "content": content}}


class Upload(UnnamedFile):
    """A file that a client sent, open for reading: a source for `load_audio`, which names it in error messages.

    For a type checker an `io.RawIOBase` is no `BinaryIO`, so calls that take an audio source cast it.

    Args:
        field: Name of the form's field, empty for a raw body.
        name: The client's name of the file; never a path on the server.
        file: Its bytes, in memory or in a temporary file, which is deleted when it is closed.
    """

    def __init__(self, field: str, name: str, file: BinaryIO) -> None:
        super().__init__(file)
        self.field, self.name = field, name

    def close(self) -> None:
        """Delete the file."""
        self._file.close()
        super().close()


async def read_uploads(request: Request, config: ServerConfig, max_bytes: int) -> list[Upload]:
    """Read the files of a request; large ones are written to disk in a thread, once.

    Raises:
        Problem: 400 broken, without a file, or with text; 408 too slow, 413 too large or too many,
            415 not an audio type.
    """
    kind = request.headers.get("content-type", "application/octet-stream")
    media_type = kind.partition(";")[0].strip().lower()
    chunks = _body(request, config, max_bytes)
    if media_type == "multipart/form-data":
        return await _multipart(request, chunks, config.max_files)
    if not RAW_TYPES.fullmatch(media_type):
        cure = "Send audio/*, or multipart/form-data, for example: curl -F file=@speech.wav"
        raise Problem(415, f"A body of type {kind[:100]!r} is not audio. {cure}")
    spool: Any = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - closed with its Upload; lacks only a name
    upload = UploadFile(spool)
    async for chunk in chunks:
        await upload.write(chunk)
    return [Upload("", "sound", upload.file)]


async def _body(request: Request, config: ServerConfig, max_bytes: int) -> AsyncGenerator[bytes, None]:
    """Yield the body in pieces.

    Raises:
        Problem: 408 too slow, 413 too large.
    """
    declared = request.headers.get("content-length", "")
    source, begin, received = request.stream(), time.monotonic(), 0
    while True:
        if received > max_bytes or (declared.isdecimal() and int(declared) > max_bytes):
            raise Problem(413, f"The body is larger than the limit of {max_bytes} bytes. Split or compress the audio.")
        allowed = config.body_timeout + received / config.slowest_body
        try:
            async with asyncio.timeout(begin + allowed - time.monotonic()):
                chunk = await anext(source, None)
        except TimeoutError:
            raise Problem(
                408, f"Only {received} bytes of the body arrived in {allowed:.0f} s. Check the network, or send less."
            ) from None
        if chunk is None:
            return
        received += len(chunk)
        if received <= max_bytes:
            yield chunk


class _Parser(MultiPartParser):
    """Starlette's parser of forms; it also notes whether the closing boundary came."""

    spool_max_size = IN_MEMORY
    is_complete = False

    def on_end(self) -> None:
        self.is_complete = True


async def _multipart(request: Request, chunks: AsyncGenerator[bytes, None], max_files: int) -> list[Upload]:
    parser = _Parser(request.headers, chunks, max_files=max_files, max_fields=MOST_FIELDS)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        status = 413 if "Too many" in error.message or "exceeded" in error.message else 400
        raise Problem(status, f"The form cannot be read: {error.message}") from error
    except (KeyError, ValueError, AssertionError) as error:
        raise Problem(400, f"The form cannot be read: {error}. Name each part, and give the boundary.") from error
    if not parser.is_complete:
        raise Problem(400, "The form ends before its closing boundary. Send it completely.")
    files = []
    for field, value in form.multi_items():
        if not isinstance(value, UploadFile):
            raise Problem(
                400,
                f"The field {field[:100]!r} of the form holds text, not a file. Settings belong in the address, "
                "such as ?channel=each; files need a name, for example: curl -F file=@speech.wav",
            )
        files.append((field, value))
    if not files:
        raise Problem(400, "The form holds no file. Send at least one, for example: curl -F file=@speech.wav")
    return [Upload(field, _safe_name(value.filename), value.file) for field, value in files]


def _safe_name(name: str | None) -> str:
    base = re.split(r"[/\\]", name or "")[-1]
    printable = "".join(letter for letter in base if not unicodedata.category(letter).startswith("C"))
    return printable[:LONGEST_NAME] or "sound"
