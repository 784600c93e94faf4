"""The server as its clients see it: a process, called over HTTP."""

import csv
import io
import json
import threading
import time
from contextlib import ExitStack, suppress
from socket import create_connection

import httpx2 as httpx
import numpy as np
import pytest
import soundfile
import voice_server
from voices import LABELS, PITCHES, RATE, PitchRecognizer, babble, hush
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from genser.errors import ConfigError
from genser.segments.options import SegmentOptions
from genser.segments.timeline import recognize_timeline
from genser.serving.config import ServerConfig

TALK = np.concatenate([part for pitch in PITCHES for part in (hush(1.0), babble(2.0, pitch))] + [hush(1.0)])

UPGRADE = (
    b"GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def encoded(sound, format="WAV", rate=RATE):
    file = io.BytesIO()
    soundfile.write(file, sound, rate, format=format)
    return file.getvalue()


@pytest.fixture(scope="module")
def server():
    with voice_server.running() as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def problem(response, status):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    told = response.json()
    assert told["status"] == status
    assert told["title"]
    return told["detail"]


@pytest.mark.parametrize("format", ["WAV", "FLAC", "OGG", "MP3"])
def test_a_raw_body_is_recognised_as_the_library_does(client, format):
    body = encoded(TALK[: 3 * RATE], format)
    answer = client.post("/v1/predict", content=body, headers={"content-type": "audio/x"}).json()
    (expected,) = PitchRecognizer().predict_many([body])
    (told,) = answer["predictions"]
    assert answer["labels"] == list(LABELS)
    assert (told["label"], told["duration"], told["error"]) == (expected.label, expected.duration, None)
    assert told["scores"] == pytest.approx(dict(expected.scores), abs=1e-6)


def test_a_form_of_many_keeps_order_and_a_bad_one_stops_nobody(client):
    files = [("file", (f"{i}.wav", encoded(babble(1.0, pitch)))) for i, pitch in enumerate(PITCHES)]
    files.insert(1, ("file", ("../../etc/passwd", b"no sound at all")))
    told = client.post("/v1/predict", files=files).json()["predictions"]
    assert [one["name"] for one in told] == ["0.wav", "passwd", "1.wav", "2.wav"]
    assert [one["label"] for one in told] == ["low", None, "middle", "high"]
    assert "passwd is not a sound" in told[1]["error"]


def test_a_part_of_a_sound_and_its_transport(client):
    body = encoded(TALK)
    told = client.post("/v1/predict?start=4&end=6&trajectory=true", content=body).json()["predictions"][0]
    (expected,) = PitchRecognizer().predict_many([(TALK[4 * RATE : 6 * RATE], RATE)])
    assert told["duration"] == 2.0
    assert told["label"] == "middle"
    assert told["trajectory"][-1] == pytest.approx(list(expected.scores.values()), abs=1e-3)
    assert "12.000 s" in problem(client.post("/v1/predict?start=12", content=body), 422)


def test_segments_are_those_of_the_library_in_every_format(client):
    expected = recognize_timeline(PitchRecognizer(), (TALK, RATE), SegmentOptions(min_silence=0.5)).segments
    body = encoded(TALK, "FLAC")
    told = client.post("/v1/segments?min_silence=0.5&envelope=true", content=body).json()
    assert [(one["start"], one["end"], one["label"]) for one in told["segments"]] == [
        (round(one.start, 3), round(one.end, 3), one.label) for one in expected
    ]
    assert told["duration"] == len(TALK) / RATE
    assert len(told["envelope"]) == 1000
    rows = list(csv.DictReader(io.StringIO(client.post("/v1/segments?format=csv", content=body).text)))
    assert [row["label"] for row in rows] == ["low", "middle", "high"]
    for format in ("jsonl", "tsv", "labels", "textgrid", "rttm", "srt", "vtt"):
        assert "middle" in client.post(f"/v1/segments?format={format}", content=body).text


def test_turns_come_beside_the_recording(client):
    turns = "SPEAKER talk 1 1.0 2.0 <NA> <NA> anna <NA> <NA>\nSPEAKER other 1 0 9 <NA> <NA> x <NA> <NA>\n"
    files = {"file": ("talk.wav", encoded(TALK)), "turns": ("turns.rttm", turns.encode())}
    (told,) = client.post("/v1/segments", files=files).json()["segments"]
    assert (told["start"], told["end"], told["speaker"], told["label"]) == (1.0, 3.0, "anna", "low")
    files["turns"] = ("turns.rttm", b"SPEAKER talk\n")
    assert problem(client.post("/v1/segments", files=files), 422).startswith("turns.rttm has 1 faulty lines")


def test_what_cannot_be_is_a_problem_with_a_cure(client):
    wav = encoded(babble(1.0))
    assert "not a sound" in problem(client.post("/v1/predict", content=b"x" * 100), 422)
    assert "empty" in problem(client.post("/v1/predict", content=b""), 422)
    assert "audio/*" in problem(client.post("/v1/predict", json={"a": 1}), 415)
    assert "holds no file" in problem(client.post("/v1/predict", data={"a": "b"}, files={"c": (None, b"d")}), 400)
    assert "POST" in problem(client.get("/v1/predict"), 405)
    assert "/openapi.json" in problem(client.get("/nothing"), 404)
    assert "window" in problem(client.post("/v1/segments?hop=1", content=wav), 422)
    assert "threshold" in problem(client.post("/v1/segments?threshold=7", content=wav), 422)
    two = [("file", ("a.wav", wav)), ("file", ("b.wav", wav))]
    assert "not 2" in problem(client.post("/v1/segments", files=two), 400)


def test_health_models_metrics_and_description(client):
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ok"}
    (model,) = client.get("/v1/models").json()["models"]
    assert model["labels"] == list(LABELS)
    assert set(model["colors"]) == set(LABELS)
    client.post("/v1/predict", content=encoded(babble(1.0)))
    text = client.get("/metrics").text
    assert 'genser_requests_total{route="/v1/predict",status="200"}' in text
    assert "genser_batch_size_bucket" in text
    schema = client.get("/openapi.json").json()
    assert {"/v1/predict", "/v1/segments", "/v1/models", "/healthz", "/readyz", "/metrics"} <= set(schema["paths"])
    assert schema["components"]["schemas"]["PredictionAnswer"]["properties"]["scores"]


def test_only_its_own_names_reach_a_server_on_the_loopback(client):
    problem(client.get("/healthz", headers={"host": "evil.example"}), 421)
    assert client.get("/healthz", headers={"host": "localhost:1234"}).status_code == 200


def test_a_browser_is_kept_within_bounds(client):
    response = client.get("/")
    assert "default-src 'self'" in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in response.headers


def test_many_at_once_are_answered_each_with_its_own(client, server):
    """Sixty concurrent clients; every answer is compared with the library's."""
    sounds = [babble(0.5 + i % 7 / 10, PITCHES[i % 3], seed=i) for i in range(60)]
    expected = list(PitchRecognizer().predict_many([(sound, RATE) for sound in sounds]))
    answers = [None] * len(sounds)

    def ask(i):
        answers[i] = httpx.post(f"{server.url}/v1/predict", content=encoded(sounds[i], "FLAC"), timeout=30).json()

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(sounds))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for answer, one in zip(answers, expected, strict=True):
        assert answer["predictions"][0]["scores"] == pytest.approx(dict(one.scores), abs=2e-3)


def test_keys_are_asked_for_where_there_are_some():
    key = "0123456789abcdef"
    with voice_server.running(api_keys=(key, "another-key-of-some-length")) as server:
        wav = encoded(babble(1.0))
        with httpx.Client(base_url=server.url, timeout=30) as client:
            assert "Bearer" in problem(client.post("/v1/predict", content=wav), 401)
            problem(client.post("/v1/predict", content=wav, headers={"authorization": "Bearer wrong"}), 401)
            for headers in ({"authorization": f"Bearer {key}"}, {"x-api-key": key}):
                assert client.post("/v1/predict", content=wav, headers=headers).status_code == 200
            assert client.get("/healthz").status_code == 200
            assert client.get("/").status_code == 200


def test_stopping_finishes_what_was_taken():
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


def last_words(socket):
    """Messages but those of progress until the server closes, by type; and the code with which it closes."""
    told = []
    with suppress(ConnectionClosed):
        while True:
            told.append(json.loads(socket.recv(30)))
    return [one for one in told if one["type"] != "progress"], socket.close_code


def test_stopping_finishes_live_streams_and_says_goodbye():
    """One has segments in work and one that is not decided yet, one is silent, and one has not even begun."""
    data = np.round(TALK * 32767).astype("<i2").tobytes()
    undecided = data[: 2 * round(8.5 * RATE)]  # ends within the third voice
    with voice_server.running("voice_server:slow_app", grace=20.0) as server, ExitStack() as stack:
        talking, silent = open_stream(server, stack), open_stream(server, stack)
        new = stack.enter_context(connect(f"ws://127.0.0.1:{server.port}/v1/stream"))
        talking.send(undecided)
        silent.send(bytes(3200))
        assert json.loads(talking.recv(10))["label"] == "low"  # the second is now in work
        stopper = threading.Thread(target=server.stop)
        stopper.start()
        told, code = last_words(talking)
        assert [one.get("label") for one in told] == ["middle", "high", None]
        assert told[1]["end"] == pytest.approx(8.5, abs=0.1)
        assert (told[2], code) == ({"type": "done", "time": 8.5}, 1012)
        assert last_words(silent) == ([{"type": "done", "time": 0.1}], 1012)
        (error,), code = last_words(new)
        assert (error["status"], code) == (503, 1013)
        assert "stopping" in error["detail"]
        stopper.join()
    assert server.process.returncode == 0
    assert "exceeded" not in "".join(server.log)


def test_stopping_finishes_predictions_that_wait():
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


def test_the_end_comes_however_much_is_left_and_whoever_does_not_answer():
    """A minute and a half of work, streams that have more to tell or never answer, and half a second of grace."""
    long = encoded(np.tile(TALK, 60), "FLAC")
    with voice_server.running("voice_server:slow_app", grace=0.5, max_batch=2) as server:
        answers = []
        thread = threading.Thread(
            target=lambda: answers.append(httpx.post(f"{server.url}/v1/segments", content=long, timeout=60))
        )
        thread.start()
        wait_for_work(server)
        with ExitStack() as stack:
            deaf = stack.enter_context(create_connection(("127.0.0.1", server.port)))
            deaf.sendall(UPGRADE)
            assert b"101 Switching" in deaf.recv(4096)
            talking = open_stream(server, stack)
            talking.send(np.tile(np.round(TALK * 32767).astype("<i2"), 3).tobytes())
            assert json.loads(talking.recv(10))["label"] == "low"
            assert server.stop() == 0
            told, code = last_words(talking)
        thread.join()
    assert "finish" in problem(answers[0], 503)
    assert (told[-1]["type"], told[-1]["status"], code) == ("error", 503, 1013)
    assert "exceeded" in "".join(server.log)
    assert "Traceback" not in "".join(server.log)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_process_that_is_told_to_stop_ends_well(workers):
    with voice_server.running(workers=workers) as server:
        assert server.stop() == 0
    assert "Traceback" not in "".join(server.log)


def test_workers_share_their_metrics():
    with voice_server.running(workers=2) as server:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{server.url}/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.2)
        for _ in range(20):
            assert httpx.post(f"{server.url}/v1/predict", content=encoded(babble(0.5))).status_code == 200
        text = httpx.get(f"{server.url}/metrics").text
        assert 'genser_requests_total{route="/v1/predict",status="200"} 20.0' in text


def test_a_faulty_configuration_is_refused():
    for options, words in (
        ({"port": 70_000}, "70000"),
        ({"workers": 0}, "workers"),
        ({"api_keys": ("short",)}, "16 characters"),
    ):
        with pytest.raises(ConfigError, match=words):
            ServerConfig(**options)
    assert json.dumps(ServerConfig().hosts)
    assert ServerConfig(host="0.0.0.0").hosts == ()
