"""Uploads: files of a request, read without blocking the event loop and without a second copy."""

import asyncio
import io
import tempfile
import threading
from typing import ClassVar

import pytest
from starlette import formparsers
from starlette.requests import Request

from genser.audio import load_audio
from genser.errors import AudioError
from genser.serving import uploads
from genser.serving.config import ServerConfig
from genser.serving.uploads import IN_MEMORY, Upload, read_uploads

SIZE = 4 * IN_MEMORY
HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
TAIL = b"\r\n--b--\r\n"


class RecordedFile(tempfile.SpooledTemporaryFile):
    """A temporary file that notes how many bytes each thread wrote to or read from its disk part."""

    traffic: ClassVar[list[tuple[int, str, int]]] = []

    def write(self, data):
        super().write(data)
        if self._rolled:
            self.traffic.append((threading.get_ident(), "write", len(data)))

    def read(self, *size):
        data = super().read(*size)
        if self._rolled:
            self.traffic.append((threading.get_ident(), "read", len(data)))
        return data


def request_of(body, kind):
    pieces = [body[at : at + 65_536] for at in range(0, len(body), 65_536)]

    async def receive():
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    return Request({"type": "http", "headers": [(b"content-type", kind.encode())]}, receive)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (bytes(SIZE), "audio/wav"),
        (HEAD + bytes(SIZE) + TAIL, "multipart/form-data; boundary=b"),
    ],
)
def test_a_large_upload_is_written_once_and_not_by_the_event_loop(monkeypatch, body, kind):
    monkeypatch.setattr(uploads, "SpooledTemporaryFile", RecordedFile)
    monkeypatch.setattr(formparsers, "SpooledTemporaryFile", RecordedFile)
    RecordedFile.traffic.clear()
    loop = threading.get_ident()
    (upload,) = asyncio.run(read_uploads(request_of(body, kind), ServerConfig(), 2 * SIZE))
    traffic = list(RecordedFile.traffic)
    upload.seek(0)
    assert upload.read() == bytes(SIZE)
    assert {operation for _, operation, _ in traffic} == {"write"}
    assert sum(size for _, _, size in traffic) <= SIZE
    assert loop not in {thread for thread, _, _ in traffic}


def test_errors_name_the_file_as_the_client_does():
    upload = Upload("file", "meeting.wav", io.BytesIO())
    with pytest.raises(AudioError, match=r"meeting\.wav is empty"):
        load_audio(upload)


def test_a_closed_upload_closes_its_file():
    file = io.BytesIO()
    Upload("file", "a.wav", file).close()
    assert file.closed
