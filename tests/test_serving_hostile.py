"""Hostile and broken requests get a clear answer, and the server goes on for the other clients."""

import socket
import struct
import threading
import time
import zlib

import httpx2 as httpx
import numpy as np
import pytest
import voice_server
from voice_server import encoded
from voices import RATE, babble

LIMITS = {
    "max_bytes": 2 << 20,
    "max_files": 4,
    "max_duration": 10.0,
    "max_recording": 60.0,
    "max_recording_bytes": 4 << 20,
    "body_timeout": 1.0,
    "max_recordings": 1,
    "max_queue": 64,
}


SPEECH = encoded(babble(1.0))


@pytest.fixture(scope="module")
def server():
    with voice_server.running(**LIMITS) as server:
        yield server


@pytest.fixture
def client(server):
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client
        answer = client.post("/v1/predict", content=SPEECH)
        assert answer.json()["predictions"][0]["label"] == "middle", "the server no longer answers"


def refused(response, status, words):
    assert response.status_code == status, response.text
    assert words in response.json()["detail"]


def exchange(server, data, wait=10.0):
    """Send raw bytes; return everything that comes back until the server closes or the time is over."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=wait) as raw:
        raw.sendall(data)
        answer = b""
        try:
            while chunk := raw.recv(65_536):
                answer += chunk
        except TimeoutError:
            pass
    return answer


def test_bodies_beyond_the_limit(client):
    refused(client.post("/v1/predict", content=bytes(3 << 20)), 413, "2097152 bytes")
    chunked = (bytes(1 << 16) for _ in range(64))
    refused(client.post("/v1/predict", content=chunked), 413, "2097152 bytes")
    files = [("file", ("a.wav", SPEECH))] * 5
    refused(client.post("/v1/predict", files=files), 413, "Too many files")
    refused(client.post("/v1/predict", data={"a": "x" * 2_000_000}, files={"file": ("a", SPEECH)}), 413, "exceeded")


def test_sounds_beyond_the_limit(client):
    refused(client.post("/v1/predict", content=encoded(np.zeros(11 * 8000), rate=8000)), 422, "limit is 10 s")
    refused(client.post("/v1/segments", content=encoded(np.zeros(61 * 8000), rate=8000)), 422, "limit is 60 s")
    refused(client.post("/v1/predict", content=encoded(np.zeros((RATE, 9)))), 422, "9 channels")
    refused(client.post("/v1/predict", content=encoded(np.zeros(100))), 422, "ms are needed")


def test_a_flac_that_unpacks_to_gigabytes(server, client):
    silence = encoded(np.zeros((RATE * 600, 4), np.int16), "FLAC")
    assert len(silence) < 1 << 20
    lying = bytearray(silence)
    lying[18 + 3] &= 0xF0  # the number of samples in STREAMINFO: unknown
    lying[22:26] = bytes(4)
    before = server.memory()
    for body in (silence, bytes(lying)):
        refused(client.post("/v1/predict", content=body), 422, "limit is 10 s")
        refused(client.post("/v1/segments", content=body), 422, "limit is 60 s")
    assert server.memory() - before < 64 << 20


def test_truncated_and_broken_forms(server, client):
    boundary = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    whole = boundary + SPEECH + b"\r\n--b--\r\n"
    kind = {"content-type": "multipart/form-data; boundary=b"}
    assert client.post("/v1/predict", content=whole, headers=kind).status_code == 200
    two = boundary + SPEECH + b"\r\n" + boundary + SPEECH[:5_000]
    refused(client.post("/v1/predict", content=two, headers=kind), 400, "closing boundary")
    for body in (b"", b"--b", b"rubbish", boundary, b"--b\r\n\r\n\r\n--b--\r\n"):
        assert client.post("/v1/predict", content=body, headers=kind).status_code == 400
    refused(client.post("/v1/predict", content=whole, headers={"content-type": "multipart/form-data"}), 400, "boundary")
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(head + b"half of it")  # and away


def test_a_slow_body_is_refused(server, client):
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n"
    answer = exchange(server, head + b"a", wait=30)
    assert b"408" in answer.split(b"\r\n", 1)[0]
    assert b"Check the network" in answer


def test_nonsense_for_http(server, client):
    for data in (b"\x16\x03\x01\x02\x00rubbish\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 70_000 + b"\r\n"):
        assert exchange(server, data, wait=3)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 421", b"")


def test_wrong_types_and_names(client):
    png = b"\x89PNG\r\n\x1a\n" + bytes(100)
    refused(client.post("/v1/predict", content=png, headers={"content-type": "image/png"}), 415, "image/png")
    for name in ("../../../etc/passwd", "..\\..\\boot.ini", "/dev/zero", "a\x00b\u202e.wav", "x" * 1_000):
        result = client.post("/v1/predict", files={"file": (name, SPEECH)}).json()["predictions"][0]
        assert result["label"] == "middle"
        assert not set(result["name"]) & set("/\\\x00\u202e")
        assert len(result["name"]) <= 200


def test_a_compressed_body_is_not_unpacked(client):
    bomb = zlib.compress(bytes(64 << 20), 9)
    refused(client.post("/v1/predict", content=bomb, headers={"content-encoding": "deflate"}), 422, "not audio")


def test_a_wav_whose_header_lies(client):
    lying = bytearray(SPEECH)
    lying[40:44] = struct.pack("<I", 0xFFFFFFF0)
    assert client.post("/v1/predict", content=bytes(lying)).status_code in (200, 422)
    lying[24:28] = struct.pack("<I", 0)
    assert client.post("/v1/predict", content=bytes(lying)).status_code == 422


def test_thousands_of_tiny_requests(server, client):
    """Pipelined by the hundred, each with a type and a path of its own."""
    for _ in range(300):
        client.get("/healthz")
    before = server.memory()
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as raw:
        for start in range(0, 4_000, 100):
            requests = b"".join(
                b"POST /%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: audio/x%d\r\nContent-Length: 1\r\n\r\nx"
                % (b"v1/predict" if i % 2 else b"made-up-%d" % i, i)
                for i in range(start, start + 100)
            )
            raw.sendall(requests)
            answer = b""
            while answer.count(b"HTTP/1.1 ") < 100 or not answer.endswith(b"}"):
                answer += raw.recv(1 << 20)
            assert answer.count(b"HTTP/1.1 422") == answer.count(b"HTTP/1.1 404") == 50
    assert server.memory() - before < 16 << 20
    assert "made-up" not in client.get("/metrics").text


def test_work_stops_when_the_client_disconnects(server, client):
    long = encoded(np.tile(babble(3.0), 18), "FLAC")
    head = f"POST /v1/segments HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(long)}\r\n\r\n".encode()
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(head + long)
            time.sleep(0.05)
    deadline = time.monotonic() + 10
    while "genser_requests_in_work 0.0" not in client.get("/metrics").text:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert client.post("/v1/segments", content=SPEECH).status_code == 200


def test_recordings_in_progress_are_limited(server, client):
    long = encoded(np.tile(babble(3.0), 18), "FLAC")
    results = []
    threads = [
        threading.Thread(
            target=lambda: results.append(httpx.post(f"{server.url}/v1/segments", content=long, timeout=60))
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = sorted(result.status_code for result in results)
    assert set(statuses) <= {200, 503}
    assert 200 in statuses
    assert all("retry-after" in result.headers for result in results if result.status_code == 503)
