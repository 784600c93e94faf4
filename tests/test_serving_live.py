"""Live sound over a real WebSocket."""

import io
import json
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx2 as httpx
import numpy as np
import pytest
import soundfile
import soxr
import voice_server
from voices import PITCHES, RATE, PitchRecognizer, babble, hush
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

import genser
from genser.audio import load_audio
from genser.audio.synthetic_noise import synthetic_noise
from genser.segments.options import LIVE, SegmentOptions
from genser.segments.timeline import recognize_timeline

TALK = np.concatenate([part for pitch in PITCHES for part in (hush(0.8), babble(2.0, pitch))] + [hush(0.8)])
CLIP = Path(__file__).resolve().parent.parent / "examples/synthetic.flac"
EXPECTED = recognize_timeline(PitchRecognizer(), (np.round(TALK * 32767) / 32768, RATE), LIVE).segments


@pytest.fixture(scope="module")
def server():
    with voice_server.running(max_streams=8, max_recording=20.0) as server:
        yield server


def talk(server, start, chunks, **settings):
    """Send a whole conversation; return the messages of the server by type."""
    with connect(f"ws://127.0.0.1:{server.port}/v1/stream", **settings) as socket:
        socket.send(json.dumps({"type": "start", **start}))
        with suppress(ConnectionClosed):  # an error ends the stream, and its reason is read below
            for chunk in chunks:
                socket.send(chunk)
            socket.send(json.dumps({"type": "stop"}))
        messages = []
        with suppress(ConnectionClosed):
            while True:
                messages.append(json.loads(socket.recv(20)))
    return {kind: [one for one in messages if one["type"] == kind] for kind in ("ready", "segment", "done", "error")}


def pieces(data, size):
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("size", [320, 32_000, 7_777])
def test_segments_are_those_of_the_library_however_the_sound_is_chunked(server, size):
    data = np.round(TALK * 32767).astype("<i2").tobytes()
    told = talk(server, {"encoding": "s16le", "sample_rate": RATE}, pieces(data, size))
    assert told["ready"][0]["latency"] <= 0.7
    assert [(one["start"], one["end"], one["label"]) for one in told["segment"]] == [
        (round(one.start, 3), round(one.end, 3), one.label) for one in EXPECTED
    ]
    assert told["segment"][0]["scores"] == pytest.approx(dict(EXPECTED[0].scores), abs=1e-6)
    assert told["done"][0]["time"] == pytest.approx(len(TALK) / RATE)


@pytest.mark.parametrize("size", [640, 32_000])
def test_what_the_gate_turns_away_is_not_told(size):
    """One voice is taken for a machine; chunks do not matter, and the others get what the library gives them."""
    data = np.round(TALK * 32767).astype("<i2").tobytes()
    sound = (np.round(TALK * 32767) / 32768, RATE)
    expected = recognize_timeline(PitchRecognizer("middle"), sound, LIVE).segments
    with voice_server.running("voice_server:gated_app") as server:
        told = talk(server, {}, pieces(data, size))
    assert [(one["start"], one["end"], one["label"]) for one in told["segment"]] == [
        (round(one.start, 3), round(one.end, 3), one.label) for one in expected
    ]
    assert [one["label"] for one in told["segment"]] == ["low", "high"]
    for one, other in zip(told["segment"], expected, strict=True):
        assert one["scores"] == pytest.approx(dict(other.scores), abs=1e-6)
    assert told["done"][0]["time"] == pytest.approx(len(TALK) / RATE)


def test_the_bundled_model_tells_nothing_of_music():
    music = np.resize(synthetic_noise("music", 1), 6 * RATE)
    talking = np.concatenate([music, load_audio(CLIP), music])
    windows = {"window": 2.0, "hop": 0.5, "smoothing": "none"}
    expected = genser.load().segments((np.round(talking * 32767) / 32768, RATE), SegmentOptions(**windows))
    with voice_server.running("genser.serving.app:app_from_environment") as server:
        for sound, segments in ((music, []), (talking, expected)):
            data = np.round(sound * 32767).astype("<i2").tobytes()
            told = talk(server, windows, pieces(data, 64_000))
            assert not told["error"]
            assert [one["start"] for one in told["segment"]] == [round(one.start, 3) for one in segments]
            file = io.BytesIO()
            soundfile.write(file, sound, RATE, format="FLAC")
            answer = httpx.post(f"{server.url}/v1/segments", params=windows, content=file.getvalue(), timeout=30).json()
            assert [one["start"] for one in answer["segments"]] == [round(one.start, 3) for one in segments]
    assert 4.0 < expected[0].start < 7.0


def test_floats_channels_and_other_rates_are_taken(server):
    sound = soxr.resample(TALK, RATE, 44_100)
    data = np.stack([sound, sound], axis=1).astype("<f4").tobytes()
    start = {"encoding": "f32le", "sample_rate": 44_100, "channels": 2, "smoothing": "none"}
    assert [one["label"] for one in talk(server, start, pieces(data, 50_001))["segment"]] == ["low", "middle", "high"]


def test_opus_in_webm_is_taken_as_browsers_record_it(server):
    av = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format="webm") as container:
        track = container.add_stream("libopus", rate=48_000, layout="mono")
        sound = (soxr.resample(TALK, RATE, 48_000) * 32767).astype(np.int16)
        for at in range(0, len(sound), 960):
            block = np.pad(sound[at : at + 960], (0, max(0, 960 - len(sound[at : at + 960]))))
            frame = av.AudioFrame.from_ndarray(block[None], format="s16", layout="mono")
            frame.sample_rate = 48_000
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    told = talk(server, {"encoding": "webm"}, pieces(file.getvalue(), 1_500))
    assert [one["label"] for one in told["segment"]] == ["low", "middle", "high"]
    for one, expected in zip(told["segment"], EXPECTED, strict=True):
        assert one["start"] == pytest.approx(expected.start, abs=0.1)


def test_a_segment_is_out_within_0_7_s_of_its_end(server):
    """The sound is sent in real time; the clock runs from the moment at which the end of a segment was sent."""
    data = np.round(TALK * 32767).astype("<i2")
    with connect(f"ws://127.0.0.1:{server.port}/v1/stream") as socket:
        socket.send(json.dumps({"type": "start", "sample_rate": RATE}))
        assert json.loads(socket.recv(5))["type"] == "ready"
        begin, late = time.monotonic(), []
        for at in range(0, len(data), 640):
            while True:
                left = begin + (at + 640) / RATE - time.monotonic()
                try:
                    message = json.loads(socket.recv(max(left, 0)))
                except TimeoutError:
                    break
                if message["type"] == "segment":
                    late.append(time.monotonic() - begin - message["end"])
            socket.send(data[at : at + 640].tobytes())
    assert len(late) == 3
    assert max(late) <= 0.7


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ("not json", "first message must be JSON"),
        (b"\x00\x01", "first message must be JSON"),
        ("[]", "first message must be JSON"),
        ('{"type": "start", "encoding": "mp3"}', "mp3"),
        ('{"type": "start", "sample_rate": 1}', "sample_rate"),
        ('{"type": "start", "sample_rate": "x"}', "sample_rate"),
        ('{"type": "start", "channels": 0}', "channels"),
        ('{"type": "start", "smoothing": "posterior"}', "look ahead"),
        ('{"type": "start", "volume": 3}', "volume"),
        ('{"type": "start", "threshold": "high"}', "threshold"),
    ],
)
def test_a_first_message_that_cannot_be_is_refused_with_a_reason(server, first, words):
    with connect(f"ws://127.0.0.1:{server.port}/v1/stream") as socket:
        socket.send(first)
        error = json.loads(socket.recv(5))
        assert error["type"] == "error"
        assert words in error["detail"]
        with pytest.raises(ConnectionClosed):
            socket.recv(5)


def test_sound_that_is_none_ends_the_stream_with_a_reason(server):
    nan = np.full(100, np.nan, "<f4").tobytes()
    assert "nan" in talk(server, {"encoding": "f32le"}, [nan])["error"][0]["detail"]
    pytest.importorskip("av")
    assert "WebM" in talk(server, {"encoding": "webm"}, [b"rubbish" * 5_000])["error"][0]["detail"]


def test_a_stream_has_a_longest_duration(server):
    told = talk(server, {}, pieces(bytes(2 * RATE * 21), 64_000))
    assert "longer than 20 s" in told["error"][0]["detail"]


def test_pages_from_elsewhere_and_foreign_names_are_refused(server):
    url = f"ws://127.0.0.1:{server.port}/v1/stream"
    with connect(url, origin="http://evil.example") as socket:
        assert "evil.example" in json.loads(socket.recv(5))["detail"]
    with connect(url, origin=f"http://127.0.0.1:{server.port}") as socket:
        socket.send('{"type": "start"}')
        assert json.loads(socket.recv(5))["type"] == "ready"
    with pytest.raises(InvalidStatus), connect(url, additional_headers={"Host": "evil.example"}):
        pass


def test_streams_have_room_and_leave_it_behind(server):
    url = f"ws://127.0.0.1:{server.port}/v1/stream"
    with ExitStack() as stack:
        for _ in range(8):
            socket = stack.enter_context(connect(url))
            socket.send('{"type": "start"}')
            assert json.loads(socket.recv(5))["type"] == "ready"
        with connect(url) as one_too_many:
            assert json.loads(one_too_many.recv(5))["status"] == 503
    deadline = time.monotonic() + 10
    while not talk(server, {}, [])["done"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_keys_are_asked_for_in_the_first_message_or_a_header():
    key = "0123456789abcdef"
    with voice_server.running(api_keys=(key,)) as server:
        assert talk(server, {}, [])["error"][0]["status"] == 401
        assert talk(server, {"key": key}, [])["done"]
        assert talk(server, {}, [], additional_headers={"Authorization": f"Bearer {key}"})["done"]
