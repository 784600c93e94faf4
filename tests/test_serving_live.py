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
from hypothesis import given
from hypothesis import strategies as st
from voices import PITCHES, RATE, PitchRecognizer, babble, hush
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

import genser
from genser.audio import load_audio
from genser.audio.synthetic_noise import synthetic_noise
from genser.inference.profile import Profile
from genser.segments.options import LIVE, SegmentOptions
from genser.segments.timeline import recognize_timeline
from genser.serving.live import Start

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


def test_the_gender_of_live_sound(server):
    data = np.round(TALK * 32767).astype("<i2").tobytes()
    messages = talk(server, {"sample_rate": RATE, "task": "gender"}, pieces(data, 32_000))
    assert messages["ready"][0]["labels"] == ["female", "male"]
    assert [one["label"] for one in messages["segment"]] == ["male", "male", "female"]


@pytest.mark.parametrize("setting", ['"channel": 1, "channel": "mix"', '"profile": {"a": 1, "a": 2}'])
def test_a_setting_that_is_given_twice_is_refused(server, setting):
    with connect(f"ws://127.0.0.1:{server.port}/v1/stream") as socket:
        socket.send(f'{{"type": "start", {setting}}}')
        answer = json.loads(socket.recv(20))
    assert (answer["type"], answer["status"]) == ("error", 422)
    assert "is given 2 times in the first message. Give it once." in answer["detail"]


def test_live_sound_is_recognised_with_a_profile(server):
    data = np.round(TALK * 32767).astype("<i2").tobytes()
    profile = Profile("voices", np.zeros((1, 1), np.float32), 1, 2.0).to_dict()
    messages = talk(server, {"sample_rate": RATE, "profile": profile}, pieces(data, 32_000))
    assert [one["label"] for one in messages["segment"]] == ["middle", "high", "low"]
    messages = talk(server, {"sample_rate": RATE, "profile": {}}, [])
    assert "The profile of the first message is not a profile" in messages["error"][0]["detail"]


@pytest.mark.parametrize("size", [320, 32_000, 7_777])
def test_segments_equal_the_library_for_any_chunk_size(server, size):
    data = np.round(TALK * 32767).astype("<i2").tobytes()
    messages = talk(server, {"encoding": "s16le", "sample_rate": RATE}, pieces(data, size))
    assert messages["ready"][0]["latency"] <= 0.7
    assert [(one["start"], one["end"], one["label"]) for one in messages["segment"]] == [
        (round(one.start, 3), round(one.end, 3), one.label) for one in EXPECTED
    ]
    assert messages["segment"][0]["scores"] == pytest.approx(dict(EXPECTED[0].scores), abs=1e-6)
    assert messages["done"][0]["time"] == pytest.approx(len(TALK) / RATE)


@pytest.mark.parametrize("size", [640, 32_000])
def test_chunks_that_the_speech_gate_rejects_give_no_segment(size):
    """The gate rejects one voice; the segments of the others equal the library for any chunk size."""
    data = np.round(TALK * 32767).astype("<i2").tobytes()
    sound = (np.round(TALK * 32767) / 32768, RATE)
    expected = recognize_timeline(PitchRecognizer("middle"), sound, LIVE).segments
    with voice_server.running("voice_server:gated_app") as server:
        messages = talk(server, {}, pieces(data, size))
    assert [(one["start"], one["end"], one["label"]) for one in messages["segment"]] == [
        (round(one.start, 3), round(one.end, 3), one.label) for one in expected
    ]
    assert [one["label"] for one in messages["segment"]] == ["low", "high"]
    for one, other in zip(messages["segment"], expected, strict=True):
        assert one["scores"] == pytest.approx(dict(other.scores), abs=1e-6)
    assert messages["done"][0]["time"] == pytest.approx(len(TALK) / RATE)


def test_the_bundled_model_gives_no_segment_for_music():
    music = np.resize(synthetic_noise("music", 1), 6 * RATE)
    talking = np.concatenate([music, load_audio(CLIP), music])
    windows = {"window": 2.0, "hop": 0.5, "smoothing": "none"}
    expected = genser.load().segments((np.round(talking * 32767) / 32768, RATE), SegmentOptions(**windows))
    with voice_server.running("genser.serving.app:app_from_environment") as server:
        for sound, segments in ((music, []), (talking, expected)):
            data = np.round(sound * 32767).astype("<i2").tobytes()
            messages = talk(server, windows, pieces(data, 64_000))
            assert not messages["error"]
            assert [one["start"] for one in messages["segment"]] == [round(one.start, 3) for one in segments]
            file = io.BytesIO()
            soundfile.write(file, sound, RATE, format="FLAC")
            answer = httpx.post(f"{server.url}/v1/segments", params=windows, content=file.getvalue(), timeout=30).json()
            assert [one["start"] for one in answer["segments"]] == [round(one.start, 3) for one in segments]
    assert 4.0 < expected[0].start < 7.0


@pytest.mark.parametrize(
    ("encoding", "channels", "cut", "words"),
    [
        ("f32le", 1, 1, "its last 3 bytes are not used. In f32le with 1 channel a sample has 4 bytes."),
        ("s16le", 1, 1, "its last 1 byte is not used. In s16le with 1 channel a sample has 2 bytes."),
        ("s16le", 2, 2, "its last 2 bytes are not used. In s16le with 2 channels a sample has 4 bytes."),
        ("s16le", 1, 2, None),
    ],
)
def test_audio_that_ends_within_a_sample_has_a_remark(server, encoding, channels, cut, words):
    data = bytes(16_000 - cut)
    (done,) = talk(server, {"encoding": encoding, "channels": channels}, pieces(data, 1001))["done"]
    assert done["remark"] == (words and f"The audio ends within a sample: {words}")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"merge": 1}, "Live audio has no future, which merge 1 needs. Omit it."),
        ({"smoothing": "posterior"}, "which the smoothing 'posterior' needs. Choose causal or none."),
        ({"channel": "each"}, ", or: Input should be 'mix', got \"each\"."),
        ({"sample_rate": None}, "sample_rate: Input should be a valid integer, got null."),
        ({"key": True}, "key: Input should not be true or false, got true."),
        ({"key": 1}, "key: Input should be a valid string, got 1."),
        ({"hop": 1}, "hop 1.0 needs a window. Give both, such as a window of 4 and a hop of 1."),
    ],
)
def test_a_message_on_a_wrong_value_does_not_speak_python(server, values, words):
    (error,) = talk(server, values, [])["error"]
    assert words in error["detail"]


def test_floats_channels_and_other_rates_are_accepted(server):
    sound = soxr.resample(TALK, RATE, 44_100)
    data = np.stack([sound, sound], axis=1).astype("<f4").tobytes()
    start = {"encoding": "f32le", "sample_rate": 44_100, "channels": 2, "smoothing": "none"}
    assert [one["label"] for one in talk(server, start, pieces(data, 50_001))["segment"]] == ["low", "middle", "high"]


def test_a_segment_needs_no_more_sound_than_the_latency(server):
    """The client stops sending `latency` seconds after each segment's end, and the segment arrives all the same."""
    data = np.round(TALK * 32767).astype("<i2")
    with connect(f"ws://127.0.0.1:{server.port}/v1/stream") as socket:
        socket.send(json.dumps({"type": "start", "sample_rate": RATE}))
        ready = json.loads(socket.recv(5))
        assert ready["latency"] <= 0.7
        position = 0
        for expected in EXPECTED:
            end = round((expected.end + ready["latency"]) * RATE)
            socket.send(data[position:end].tobytes())
            position = end
            while (message := json.loads(socket.recv(20)))["type"] != "segment":
                pass
            assert message["end"] == round(expected.end, 3)


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
        ('{"type": "start", "smoothing": "posterior"}', "has no future"),
        ('{"type": "start", "volume": 3}', "volume"),
        ('{"type": "start", "threshold": "high"}', "threshold"),
        ('{"type": "start", "encoding": "webm"}', "WebM"),
        ('{"type": "start", "windw": 3}', "Did you mean 'window'?"),
        ('{"type": "start", "prior": [0.5, 0.5]}', "prior"),
        ('{"type": "start", "prior": "many"}', "prior"),
        ('{"type": "start", "prior": {"low": 1}}', "prior"),
        ('{"type": "start", "classes": "low,hihg"}', "Did you mean 'high'"),
        ('{"type": "start", "window": NaN}', "window"),
        ('{"type": "start", "\\ud800": 1}', "ud800"),
        ("[" * 200_000, "first message must be JSON"),
    ],
)
def test_a_wrong_first_message_is_refused_with_a_reason(server, first, words):
    with connect(f"ws://127.0.0.1:{server.port}/v1/stream") as socket:
        socket.send(first)
        error = json.loads(socket.recv(5))
        assert error["type"] == "error"
        assert words in error["detail"]
        with pytest.raises(ConnectionClosed):
            socket.recv(5)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(sorted(Start.model_fields)) | st.text(st.characters(), max_size=10)
MESSAGES = (
    st.text(max_size=200)
    | st.binary(max_size=200)
    | VALUES.map(json.dumps)
    | st.dictionaries(KEYS, VALUES, max_size=5).map(lambda values: json.dumps({"type": "start", **values}))
)


@given(messages=st.lists(MESSAGES, min_size=1, max_size=3))
def test_any_messages_get_a_reason_and_a_close_code(server, messages):
    with connect(f"ws://127.0.0.1:{server.port}/v1/stream", max_size=None) as socket:
        answers = []
        with suppress(ConnectionClosed):
            for message in messages:
                socket.send(message)
            socket.send("stop")
        with suppress(ConnectionClosed):
            while True:
                answers.append(json.loads(socket.recv(20)))
        assert answers[-1]["type"] in ("done", "error")
        assert socket.close_code in (1000, 1007, 1008, 1009)
        if answers[-1]["type"] == "error":
            assert answers[-1]["status"] < 500
            assert answers[-1]["detail"].endswith((".", "}", "?"))


def test_settings_in_the_address_are_refused(server):
    with connect(f"ws://127.0.0.1:{server.port}/v1/stream?sample_rate=8000") as socket:
        answer = json.loads(socket.recv(20))
    assert (answer["type"], answer["status"]) == ("error", 422)
    assert "'sample_rate'" in answer["detail"]


def test_the_server_has_logged_no_exception(server):
    """After all the messages of the tests above."""
    assert "Traceback" not in "".join(server.log)


def test_samples_that_are_not_finite_end_the_stream_with_a_reason(server):
    nan = np.full(100, np.nan, "<f4").tobytes()
    assert "NaN" in talk(server, {"encoding": "f32le"}, [nan])["error"][0]["detail"]


def test_channels_are_chosen_and_cancelling_ones_have_a_remark(server):
    def result(first, second, **start):
        data = np.round(np.stack([first, second], axis=1) * 32767).astype("<i2").tobytes()
        messages = talk(server, {"sample_rate": RATE, "channels": 2, **start}, pieces(data, 30_000))
        return [one["label"] for one in messages["segment"]], messages["done"][0]["remark"]

    labels = [one.label for one in EXPECTED]
    assert result(TALK, TALK) == (labels, None)
    assert result(TALK, 0 * TALK, channel=1) == (labels, None)
    assert result(TALK, 0 * TALK, channel=2) == ([], None)
    assert result(TALK, -TALK) == (labels, "Channels cancel each other; channel 1 was used.")
    error = talk(server, {"channels": 2, "channel": 3}, [])["error"][0]["detail"]
    assert "no channel 3: the recording has channels 1 to 2" in error


def test_a_stream_has_a_longest_duration(server):
    messages = talk(server, {}, pieces(bytes(2 * RATE * 21), 64_000))
    assert "longer than 20 s" in messages["error"][0]["detail"]


def test_other_origins_and_host_names_are_refused(server):
    url = f"ws://127.0.0.1:{server.port}/v1/stream"
    with connect(url, origin="http://evil.example") as socket:
        assert "evil.example" in json.loads(socket.recv(5))["detail"]
    with connect(url, origin=f"http://127.0.0.1:{server.port}") as socket:
        socket.send('{"type": "start"}')
        assert json.loads(socket.recv(5))["type"] == "ready"
    with pytest.raises(InvalidStatus), connect(url, additional_headers={"Host": "evil.example"}):
        pass


def test_open_streams_are_limited(server):
    url = f"ws://127.0.0.1:{server.port}/v1/stream"
    with ExitStack() as stack:
        for _ in range(8):
            socket = stack.enter_context(connect(url))
            socket.send('{"type": "start"}')
            assert json.loads(socket.recv(5))["type"] == "ready"
        assert talk(server, {}, [])["error"][0]["status"] == 503
    deadline = time.monotonic() + 10
    while not talk(server, {}, [])["done"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_configured_keys_are_required_in_the_first_message_or_a_header():
    key = "0123456789abcdef"
    with voice_server.running(api_keys=(key,)) as server:
        for wrong in ({}, {"key": "wrong"}, {"key": "\ud800"}):
            assert talk(server, wrong, [])["error"][0]["status"] == 401
        assert talk(server, {"key": key}, [])["done"]
        assert not [line for line in server.log if "Traceback" in line]
        assert talk(server, {}, [], additional_headers={"Authorization": f"Bearer {key}"})["done"]


def test_streams_without_a_key_and_of_one_client_do_not_lock_out_others():
    keys = ("0123456789abcdef", "fedcba9876543210")
    with voice_server.running(api_keys=keys, max_streams=2, max_client_streams=1) as server, ExitStack() as stack:
        url = f"ws://127.0.0.1:{server.port}/v1/stream"
        for _ in range(4):
            stack.enter_context(connect(url))  # says nothing, and has no key
        for wrong in ({}, {"key": "wrong"}):
            assert talk(server, wrong, [])["error"][0]["status"] == 401
        socket = stack.enter_context(connect(url, additional_headers={"X-API-Key": keys[0]}))
        socket.send('{"type": "start"}')
        assert json.loads(socket.recv(5))["type"] == "ready"
        for given in ({"key": keys[0]}, {"key": ""}):
            headers = {"Authorization": f"Bearer {keys[0]}"}
            assert talk(server, given, [], additional_headers=headers)["error"][0]["status"] == 429
        assert talk(server, {"key": keys[1]}, [])["done"]
        assert talk(server, {"key": keys[1]}, [], additional_headers={"X-API-Key": keys[0]})["done"]
