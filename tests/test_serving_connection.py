"""Connections: slow request heads are closed, and a stopping server finishes the work that it accepted."""

import json
import threading
import time
from contextlib import ExitStack, suppress
from socket import create_connection

import httpx2 as httpx
import numpy as np
import pytest
import voice_server
from voice_server import TALK, encoded, problem
from voices import LABELS, PITCHES, RATE, babble
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

UPGRADE = (
    b"GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def test_a_connection_whose_request_head_drips_is_closed():
    with voice_server.running() as server, create_connection(("127.0.0.1", server.port), timeout=1) as raw:
        raw.sendall(b"POST /v1/predict HTTP/1.1\r\nHo")
        for _ in range(60):
            try:
                raw.sendall(b"x")
                if raw.recv(100) == b"":
                    return
            except TimeoutError:
                continue
            except OSError:
                return
        pytest.fail("the connection is still open")


def test_a_connection_that_sends_nothing_is_closed():
    with voice_server.running() as server, create_connection(("127.0.0.1", server.port), timeout=60) as raw:
        assert raw.recv(100) == b""


def test_a_stopping_server_finishes_a_recording():
    long = encoded(np.tile(TALK, 60), "FLAC")
    with voice_server.running() as server:
        answers = []
        thread = threading.Thread(
            target=lambda: answers.append(httpx.post(f"{server.url}/v1/segments", content=long, timeout=60))
        )
        thread.start()
        wait_for_work(server)
        assert server.stop() == 0
        thread.join()
    assert answers[0].status_code == 200
    assert len(answers[0].json()["segments"]) == 180


def wait_for_work(server):
    while "genser_requests_in_work 1.0" not in httpx.get(f"{server.url}/metrics").text:
        time.sleep(0.05)


def open_stream(server, stack):
    socket = stack.enter_context(connect(f"ws://127.0.0.1:{server.port}/v1/stream"))
    socket.send('{"type": "start"}')
    assert json.loads(socket.recv(5))["type"] == "ready"
    return socket


def remaining_messages(socket):
    """All messages but progress until the server closes the stream, and the close code."""
    messages = []
    with suppress(ConnectionClosed):
        while True:
            messages.append(json.loads(socket.recv(30)))
    return [one for one in messages if one["type"] != "progress"], socket.close_code


def test_a_stopping_server_finishes_live_streams():
    """One stream has a segment in progress and one undecided, one is silent, one has not sent its first message."""
    data = np.round(TALK * 32767).astype("<i2").tobytes()
    undecided = data[: 2 * round(8.5 * RATE)]  # ends within the third voice
    with voice_server.running("voice_server:slow_app", grace=20.0) as server, ExitStack() as stack:
        talking, silent = open_stream(server, stack), open_stream(server, stack)
        new = stack.enter_context(connect(f"ws://127.0.0.1:{server.port}/v1/stream"))
        talking.send(undecided)
        silent.send(bytes(3200))
        assert json.loads(talking.recv(10))["label"] == "low"  # the second is now in progress
        stopper = threading.Thread(target=server.stop)
        stopper.start()
        messages, code = remaining_messages(talking)
        assert [one.get("label") for one in messages] == ["middle", "high", None]
        assert messages[1]["end"] == pytest.approx(8.5, abs=0.1)
        assert (messages[2], code) == ({"type": "done", "time": 8.5, "remark": None}, 1012)
        assert remaining_messages(silent) == ([{"type": "done", "time": 0.1, "remark": None}], 1012)
        (error,), code = remaining_messages(new)
        assert (error["status"], code) == (503, 1013)
        assert "stopping" in error["detail"]
        stopper.join()
    assert server.process.returncode == 0
    assert "exceeded" not in "".join(server.log)


def test_a_stopping_server_finishes_queued_predictions():
    body = [("file", (f"{i}.wav", encoded(babble(0.5, pitch)))) for i, pitch in enumerate(PITCHES)]
    with voice_server.running("voice_server:slow_app") as server:
        answers = []
        thread = threading.Thread(
            target=lambda: answers.append(httpx.post(f"{server.url}/v1/predict", files=body, timeout=30))
        )
        thread.start()
        wait_for_work(server)
        assert server.stop() == 0
        thread.join()
    assert [one["label"] for one in answers[0].json()["predictions"]] == list(LABELS)


def test_a_server_stops_after_its_grace_whatever_is_unfinished():
    """A minute and a half of work, a stream with segments left, a client that never answers, half a second of grace."""
    long = encoded(np.tile(TALK, 60), "FLAC")
    with voice_server.running("voice_server:slow_app", grace=0.5, max_batch=2) as server:
        answers = []
        thread = threading.Thread(
            target=lambda: answers.append(httpx.post(f"{server.url}/v1/segments", content=long, timeout=60))
        )
        thread.start()
        wait_for_work(server)
        with ExitStack() as stack:
            silent_client = stack.enter_context(create_connection(("127.0.0.1", server.port)))
            silent_client.sendall(UPGRADE)
            assert b"101 Switching" in silent_client.recv(4096)
            talking = open_stream(server, stack)
            talking.send(np.tile(np.round(TALK * 32767).astype("<i2"), 3).tobytes())
            assert json.loads(talking.recv(10))["label"] == "low"
            assert server.stop() == 0
            messages, code = remaining_messages(talking)
        thread.join()
    assert "finish" in problem(answers[0], 503)
    assert (messages[-1]["type"], messages[-1]["status"], code) == ("error", 503, 1013)
    assert "exceeded" in "".join(server.log)
    assert "Traceback" not in "".join(server.log)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_idle_server_stops_with_status_0(workers):
    with voice_server.running(workers=workers) as server:
        assert server.stop() == 0
    assert "Traceback" not in "".join(server.log)
