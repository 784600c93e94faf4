"""Uploads: files of a request, read without blocking the event loop and without a second copy."""

import asyncio
import io
import tempfile
import threading
from typing import ClassVar

import numpy as np
import pytest
from starlette import formparsers
from starlette.requests import Request

from genser.audio import AudioLimits, load_audio, stream_audio
from genser.errors import AudioError, MissingExtraError
from genser.serving import profiles, uploads
from genser.serving.config import ServerConfig
from genser.serving.service import Service
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


@pytest.mark.parametrize("kind", ["Multipart/Form-Data; Boundary=b", "MULTIPART/FORM-DATA ;boundary=b", "Audio/X-WAV"])
def test_upper_and_lower_case_of_a_media_type_make_no_difference(kind):
    body = HEAD + b"sound" + TAIL if "oundary" in kind else b"sound"
    (upload,) = asyncio.run(read_uploads(request_of(body, kind), ServerConfig(), SIZE))
    upload.seek(0)
    assert upload.read() == b"sound"


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("models/model-1.5", "model-1.5"),
        ("model-1.5/", "model-1.5"),
        ("a/b-2.0.onnx", "b-2.0"),
        ("tiny", "tiny"),
        (None, "base"),
    ],
)
def test_the_name_of_a_model_keeps_its_version(model, name):
    service = Service(ServerConfig(model), None)
    assert service.name == name


def test_recordings_that_need_a_missing_extra_fail_alone(monkeypatch):
    def missing(source, *_, **__):
        if source.name == "b.m4a":
            raise MissingExtraError("media", "Reading b.m4a")
        return stream_audio((np.ones(16_000, np.float32), 16_000))

    monkeypatch.setattr(profiles, "stream_audio", missing)
    files = [Upload("file", name, io.BytesIO(b"sound")) for name in ("a.wav", "b.m4a", "c.wav")]
    learning = profiles._Learning(AudioLimits(), files, "mix")
    found = [clip for group in learning._clips() for clip in group]
    assert [clip.error is None for clip in found] == [True, False, True]
    assert list(learning.failed) == ["b.m4a"]


def test_errors_name_the_file_as_the_client_does():
    upload = Upload("file", "meeting.wav", io.BytesIO())
    with pytest.raises(AudioError, match=r"meeting\.wav is empty"):
        load_audio(upload)


def test_a_closed_upload_closes_its_file():
    file = io.BytesIO()
    Upload("file", "a.wav", file).close()
    assert file.closed
