"""A server process, called over HTTP."""

import csv
import io
import json
import threading
import time

import httpx2 as httpx
import numpy as np
import pytest
import voice_server
from voice_server import TALK, encoded, problem
from voices import LABELS, PITCHES, RATE, PitchBackend, PitchRecognizer, babble

from genser.errors import ConfigError
from genser.inference.recognizer import Recognizer
from genser.segments.options import CUTS, SegmentOptions
from genser.segments.timeline import recognize_timeline
from genser.serving.config import ServerConfig


@pytest.fixture(scope="module")
def server():
    with voice_server.running() as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


@pytest.mark.parametrize("format", ["WAV", "FLAC", "OGG", "MP3"])
def test_a_raw_body_gets_the_scores_of_the_library(client, format):
    body = encoded(TALK[: 3 * RATE], format)
    answer = client.post("/v1/predict", content=body, headers={"content-type": "audio/x"}).json()
    (expected,) = PitchRecognizer().predict_many([body])
    (result,) = answer["predictions"]
    assert answer["labels"] == list(LABELS)
    assert (result["label"], result["duration"], result["error"]) == (expected.label, expected.duration, None)
    assert result["scores"] == pytest.approx(dict(expected.scores), abs=1e-6)


def test_a_form_keeps_the_order_of_its_files_and_a_bad_file_does_not_affect_the_others(client):
    files = [("file", (f"{i}.wav", encoded(babble(1.0, pitch)))) for i, pitch in enumerate(PITCHES)]
    files.insert(1, ("file", ("../../etc/passwd", b"no sound at all")))
    result = client.post("/v1/predict", files=files).json()["predictions"]
    assert [one["name"] for one in result] == ["0.wav", "passwd", "1.wav", "2.wav"]
    assert [one["label"] for one in result] == ["low", None, "middle", "high"]
    assert "passwd is not audio" in result[1]["error"]


def test_each_channel_is_recognised_by_itself(client):
    low, high = babble(2.0, PITCHES[0]), babble(2.0, PITCHES[2])
    body = encoded(np.stack([low, high], axis=1))
    found = client.post("/v1/predict?channel=each", content=body).json()["predictions"]
    assert [(one["channel"], one["label"]) for one in found] == [(1, "low"), (2, "high")]
    (second,) = client.post("/v1/predict?channel=2", content=body).json()["predictions"]
    assert second == found[1]
    segments = client.post("/v1/segments?channel=each&window=2", content=body).json()["segments"]
    assert [(one["channel"], one["label"]) for one in segments] == [(1, "low"), (2, "high")]
    for path in ("predict", "segments"):
        assert "no channel 3" in problem(client.post(f"/v1/{path}?channel=3", content=body), 422)
        for wrong in ("left", "0", "-1", "1.5", ""):
            problem(client.post(f"/v1/{path}?channel={wrong}", content=body), 422)


def test_what_is_unusual_about_a_file_is_a_remark(client):
    low = babble(2.0, PITCHES[0])
    whole, inverted = encoded(low), encoded(np.stack([low, -low], axis=1))
    for path in ("predict", "segments"):
        sent = {
            name: client.post(f"/v1/{path}", content=body)
            for name, body in (("whole", whole), ("cut", whole[: len(whole) // 2]), ("inverted", inverted))
        }
        found = {name: (answer.json().get("predictions") or [answer.json()])[0] for name, answer in sent.items()}
        assert found["whole"]["remark"] is None
        assert found["whole"]["duration"] == found["whole"]["heard"] == 2.0
        assert "cut off" in found["cut"]["remark"]
        assert (found["cut"]["duration"], found["cut"]["heard"]) == (2.0, pytest.approx(1.0, abs=0.01))
        assert found["inverted"]["remark"] == "Channels cancel each other; channel 1 was used."


def test_a_gsm_file_does_not_affect_the_other_files(client):
    good = ("file", ("good.wav", encoded(babble(1.0))))
    gsm = ("file", ("phone.wav", encoded(babble(1.0), subtype="GSM610")))
    response = client.post("/v1/predict", files=[good, gsm, good])
    assert response.status_code == 200
    labels = [one["label"] for one in response.json()["predictions"]]
    assert (labels[0], labels[2]) == ("middle", "middle")


def test_a_part_of_a_clip_and_its_trajectory(client):
    body = encoded(TALK)
    result = client.post("/v1/predict?start=4&end=6&trajectory=true", content=body).json()["predictions"][0]
    (expected,) = PitchRecognizer().predict_many([(TALK[4 * RATE : 6 * RATE], RATE)])
    assert result["duration"] == 2.0
    assert result["label"] == "middle"
    assert result["trajectory"][-1] == pytest.approx(list(expected.scores.values()), abs=1e-3)
    assert result["states"][0] == [0, 0, 0]
    assert result["states"][-1] == pytest.approx(list(expected.scores.values()), abs=1e-3)
    plain = client.post("/v1/predict", content=encoded(babble(1.0))).json()["predictions"][0]
    assert not {"trajectory", "states"} & plain.keys()
    assert "12.000 s" in problem(client.post("/v1/predict?start=12", content=body), 422)


def test_segments_are_those_of_the_library_in_every_format(client):
    expected = recognize_timeline(PitchRecognizer(), (TALK, RATE), SegmentOptions(min_silence=0.5)).segments
    body = encoded(TALK, "FLAC")
    result = client.post("/v1/segments?min_silence=0.5&envelope=true", content=body).json()
    assert [(one["start"], one["end"], one["label"]) for one in result["segments"]] == [
        (round(one.start, 3), round(one.end, 3), one.label) for one in expected
    ]
    assert result["duration"] == len(TALK) / RATE
    assert len(result["envelope"]) == 1000
    rows = list(csv.DictReader(io.StringIO(client.post("/v1/segments?format=csv", content=body).text)))
    assert [row["label"] for row in rows] == ["low", "middle", "high"]
    for format in ("jsonl", "tsv", "labels", "textgrid", "rttm", "srt", "vtt"):
        assert "middle" in client.post(f"/v1/segments?format={format}", content=body).text


def test_the_kind_of_recording_stands_for_its_options(client):
    body = encoded(TALK, "FLAC")
    turns = {"file": ("talk.flac", body), "turns": ("talk.csv", b"start,end\n0,1\n")}
    for cut in CUTS:
        same = client.post("/v1/segments", params=CUTS[cut], content=body).json()["segments"]
        assert client.post(f"/v1/segments?cut={cut}", content=body).json()["segments"] == same
    given = {**CUTS["calls"], "merge": 0, "min_speech": 2}
    expected = client.post("/v1/segments", params=given, content=body).json()["segments"]
    found = client.post("/v1/segments?cut=calls&merge=0&min_speech=2", content=body).json()["segments"]
    assert found == expected
    assert "Did you mean" in problem(client.post("/v1/segments?cuts=calls", content=body), 422)
    problem(client.post("/v1/segments?cut=meeting", content=body), 422)
    assert "field turns" in problem(client.post("/v1/segments?cut=talk", files=turns), 422)


def test_a_summary_is_returned_beside_the_segments_or_as_a_table(client):
    expected = [one.to_dict() for one in Recognizer(PitchBackend()).summary((TALK, RATE))]
    body = encoded(TALK, "FLAC")
    result = client.post("/v1/segments?summary=true", content=body).json()
    assert [one["shares"] for one in result["summary"]] == [one["shares"] for one in expected]
    assert result["summary"][0]["segments"] == len(result["segments"])
    assert client.post("/v1/segments", content=body).json()["summary"] is None
    (row,) = csv.DictReader(io.StringIO(client.post("/v1/segments?summary=true&format=csv", content=body).text))
    assert float(row["share_low"]) == pytest.approx(expected[0]["shares"]["low"])
    assert "cannot hold summaries" in problem(client.post("/v1/segments?summary=true&format=srt", content=body), 422)


def test_classes_prior_and_context_change_segments_as_in_the_library(client):
    recognizer = Recognizer(PitchBackend()).restricted(prior="low=0.6,middle=0.4")
    expected = recognize_timeline(recognizer, (TALK, RATE), SegmentOptions(context=0.0)).segments
    query = {"classes": "middle,low", "prior": "low=0.6,middle=0.4", "context": "0"}
    answer = client.post("/v1/segments", params=query, content=encoded(TALK, "FLAC")).json()
    assert answer["labels"] == ["low", "middle"]
    assert len(answer["segments"]) == len(expected)
    for one, segment in zip(answer["segments"], expected, strict=True):
        assert one["scores"] == pytest.approx(dict(segment.scores), abs=2e-3)


def test_the_gender_is_another_task_of_the_same_server(client):
    body = encoded(TALK, "FLAC")
    assert client.get("/v1/models").json()["models"][0]["tasks"] == ["emotion", "gender"]
    answer = client.post("/v1/segments?task=gender", content=body).json()
    assert answer["labels"] == ["female", "male"]
    assert [one["label"] for one in answer["segments"]] == ["male", "male", "female"]
    files = [("file", (f"{i}.wav", encoded(babble(1.0, pitch)))) for i, pitch in enumerate(PITCHES)]
    found = client.post("/v1/predict?task=gender&trajectory=true", files=files).json()["predictions"]
    assert [one["label"] for one in found] == ["male", "male", "female"]
    assert not any("trajectory" in one for one in found)
    assert client.post("/v1/predict?task=emotion", content=body).json()["labels"] == list(LABELS)
    problem(client.post("/v1/predict?task=age", content=body), 422)


def test_classes_and_prior_change_predictions_as_in_the_library(client):
    sound = babble(2.0, 160.0)
    expected = Recognizer(PitchBackend()).restricted(prior="low=0.6,middle=0.4").predict((sound, RATE))
    query = {"prior": "low=0.6,middle=0.4", "trajectory": "true"}
    answer = client.post("/v1/predict", params=query, content=encoded(sound, "FLAC")).json()
    (found,) = answer["predictions"]
    assert answer["labels"] == list(found["scores"]) == ["low", "middle"]
    assert found["label"] == expected.label
    assert found["scores"] == pytest.approx(dict(expected.scores), abs=2e-3)
    assert found["trajectory"][-1] == pytest.approx(list(found["scores"].values()), abs=1e-5)
    wrong = client.post("/v1/predict?classes=low,hihg", content=encoded(sound, "FLAC"))
    assert wrong.status_code == 422
    assert "Did you mean 'high'" in wrong.json()["detail"]


@pytest.mark.parametrize("path", ["/v1/models", "/healthz", "/readyz", "/metrics"])
def test_a_route_without_parameters_refuses_any(client, path):
    assert "Unknown parameter 'x'" in problem(client.get(f"{path}?x=1"), 422)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("segments?windw=3", "Unknown parameter 'windw'. Did you mean 'window'?"),
        ("predict?model=tiny", "Unknown parameter 'model'. Known are: "),
        ("segments?Format=csv", "'Format'. Did you mean 'format'?"),
    ],
)
def test_an_unknown_query_parameter_is_refused_with_the_nearest_known_one(client, path, words):
    assert words in problem(client.post(f"/v1/{path}", content=encoded(babble(1.0))), 422)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("segments?channel=1&channel=mix", "channel"),
        ("segments?format=csv&summary=true&format=csv", "format"),
        ("predict?classes=low,high&start=0&classes=low,middle", "classes"),
        ("profile?channel=1&channel=1", "channel"),
        ("predict?x=1&x=2", "x"),
    ],
)
def test_a_parameter_that_is_given_twice_is_refused(client, path, name):
    detail = problem(client.post(f"/v1/{path}", content=encoded(babble(1.0))), 422)
    assert detail == f"The parameter {name!r} is given 2 times. Give it once."


def test_fields_of_which_there_is_one_are_refused_twice(client):
    for field, path, words in (
        ("profile", "predict", "at most one profile, not 2"),
        ("profile", "segments", "at most one profile, not 2"),
        ("turns", "segments", "at most one file of turns, not 1 and 2"),
        ("file", "segments", "Send one recording"),
    ):
        files = [("file", ("a.wav", encoded(babble(1.0)))), *[(field, ("b.json", b"{}"))] * 2]
        assert words in problem(client.post(f"/v1/{path}", files=files), 400)


def test_different_channels_that_were_mixed_are_a_remark(client):
    sound = np.stack([babble(2.0, PITCHES[0]), babble(2.0, PITCHES[2])], axis=1)
    remarks = ("mix", "2 different channels were mixed to one.", 2), ("each", None, 0), ("2", None, 0)
    for channel, remark, count in remarks:
        answer = client.post(f"/v1/segments?channel={channel}", content=encoded(sound)).json()
        (first, *_) = client.post(f"/v1/predict?channel={channel}", content=encoded(sound)).json()["predictions"]
        assert (answer["remark"], first["remark"], answer["mixed"]) == (remark, remark, count)


def test_turns_are_taken_from_a_second_field(client):
    turns = "SPEAKER talk 1 1.0 2.0 <NA> <NA> anna <NA> <NA>\nSPEAKER other 1 0 9 <NA> <NA> x <NA> <NA>\n"
    files = {"file": ("talk.wav", encoded(TALK)), "turns": ("turns.rttm", turns.encode())}
    (result,) = client.post("/v1/segments", files=files).json()["segments"]
    assert (result["start"], result["end"], result["speaker"], result["label"]) == (1.0, 3.0, "anna", "low")
    files["turns"] = ("turns.rttm", b"SPEAKER talk\n")
    assert problem(client.post("/v1/segments", files=files), 422).startswith("turns.rttm has 1 faulty turn. Correct")


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/segments"])
def test_settings_in_a_form_are_refused_with_the_place_where_they_belong(client, path):
    answer = client.post(path, data={"threshold": "0.3"}, files={"file": ("talk.wav", encoded(TALK))})
    assert "'threshold' of the form holds text, not a file. Settings belong in the address" in problem(answer, 400)


def test_errors_name_a_cure(client):
    wav = encoded(babble(1.0))
    assert "not audio" in problem(client.post("/v1/predict", content=b"x" * 100), 422)
    assert "empty" in problem(client.post("/v1/predict", content=b""), 422)
    assert "curl -F file=@speech.wav" in problem(client.post("/v1/predict", json={"a": 1}), 415)
    assert "/v1/segments" in problem(client.post("/v1/predict", content=encoded(np.zeros(61 * RATE))), 422)
    assert "holds text" in problem(client.post("/v1/predict", data={"a": "b"}, files={"c": (None, b"d")}), 400)
    assert "POST" in problem(client.get("/v1/predict"), 405)
    assert "/openapi.json" in problem(client.get("/nothing"), 404)
    assert "window" in problem(client.post("/v1/segments?hop=1", content=wav), 422)
    assert "threshold" in problem(client.post("/v1/segments?threshold=7", content=wav), 422)
    two = [("file", ("a.wav", wav)), ("file", ("b.wav", wav))]
    assert "not 2" in problem(client.post("/v1/segments", files=two), 400)


def test_a_profile_is_learned_and_applied_to_recordings_over_http(client):
    files = [("file", ("a.wav", encoded(TALK))), ("file", ("b.txt", b"no sound at all"))]
    answer = client.post("/v1/profile", files=files)
    assert (answer.json()["clips"], list(answer.json()["failed"])) == (1, ["b.txt"])
    assert "only 17 % of the difference" in answer.json()["remark"]
    stereo = encoded(np.stack([TALK, TALK], axis=1))
    assert client.post("/v1/profile?channel=each", content=stereo).json()["clips"] == 2
    form = [("file", ("a.wav", encoded(TALK))), ("profile", ("p.json", answer.content))]
    segments = client.post("/v1/segments", files=form).json()["segments"]
    assert [one["label"] for one in segments] == [LABELS[1], LABELS[2], LABELS[0]]
    traced = client.post("/v1/predict?trajectory=1", files=form).json()["predictions"][0]
    assert len(traced["unadapted"]) == len(LABELS)


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/segments"])
def test_what_is_no_profile_is_refused(client, path):
    sound, wrong = ("file", ("a.wav", encoded(TALK))), ("profile", ("p.json", b"{}"))
    assert "p.json is not a profile" in problem(client.post(path, files=[sound, wrong]), 422)
    assert "at most one profile" in problem(client.post(path, files=[sound, wrong, wrong]), 400)
    problem(client.post(path, files=[wrong]), 400)


def test_recordings_without_a_profile_to_learn_are_refused(client):
    assert "no recording to learn" in problem(client.post("/v1/profile", content=b"no sound at all"), 422)
    assert "Unknown parameter" in problem(client.post("/v1/profile?task=gender", content=encoded(TALK)), 422)


def test_a_broken_file_in_each_channel_mode_is_named(client):
    files = {"file": ("notes.txt", b"no sound at all")}
    assert "notes.txt is not audio" in problem(client.post("/v1/segments?channel=each", files=files), 422)


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


def test_head_is_answered_as_get_without_a_body(client):
    schema = client.get("/openapi.json").json()["paths"]
    paths = [path for path, methods in schema.items() if "get" in methods]
    for path in ["/", "/openapi.json", "/static/main.js", "/nothing", "/v1/predict", *paths, f"{paths[0]}?a=1"]:
        got, head = client.get(path), client.head(path)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        assert head.headers["content-type"] == got.headers["content-type"], path
        if path != "/metrics":  # which counts these requests
            assert head.headers["content-length"] == str(len(got.content)), path


def test_a_server_on_the_loopback_accepts_only_its_own_host_names(client):
    problem(client.get("/healthz", headers={"host": "evil.example"}), 421)
    assert client.get("/healthz", headers={"host": "localhost:1234"}).status_code == 200


def test_the_page_has_security_headers(client):
    response = client.get("/")
    assert "default-src 'self'" in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in response.headers


def test_concurrent_clients_each_get_their_own_scores(client, server):
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


def test_configured_keys_are_required():
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


def test_metrics_are_summed_over_workers():
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


def test_a_wrong_configuration_is_refused():
    for options, words in (
        ({"port": 70_000}, "70000"),
        ({"workers": 0}, "workers"),
        ({"workers": True}, "workers"),
        ({"port": True}, "port"),
        ({"api_keys": ("short",)}, "16 characters"),
    ):
        with pytest.raises(ConfigError, match=words):
            ServerConfig(**options)
    assert json.dumps(ServerConfig().hosts)
    assert ServerConfig(host="0.0.0.0").hosts == ()


def test_requests_of_one_client_are_limited_whatever_key_it_makes_up():
    speech = encoded(babble(1.0))
    limit, refused = threading.Event(), 4
    responses = []

    def ask(number):
        def body():
            yield speech[:100]
            limit.wait(25)
            yield speech[100:]

        headers = {"x-api-key": f"made-up key {number}"}
        responses.append(httpx.post(f"{server.url}/v1/predict", content=body(), headers=headers, timeout=60))

    with voice_server.running(max_client_requests=8) as server:
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8 + refused)]
        for thread in threads:
            thread.start()
        while f'genser_refused_total{{reason="client"}} {refused}.0' not in httpx.get(f"{server.url}/metrics").text:
            time.sleep(0.05)
        limit.set()
        for thread in threads:
            thread.join()
    assert sorted(response.status_code for response in responses) == [200] * 8 + [429] * refused
    assert all(int(response.headers["retry-after"]) >= 1 for response in responses if response.status_code == 429)
