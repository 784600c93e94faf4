"""The bundled models give the same answers over HTTP as from Python, and learn the same profiles."""

import io
from pathlib import Path

import httpx2 as httpx
import pytest
import soundfile
import voice_server

import genser
from genser.audio import SAMPLE_RATE, load_audio
from genser.inference.profile import Profile

CLIP = Path(__file__).resolve().parent.parent / "examples/synthetic.flac"


@pytest.mark.parametrize("model", ["base", "tiny"])
def test_a_bundled_model_scores_the_same_over_http(model):
    speech = load_audio(CLIP)
    clips = [CLIP.read_bytes()]
    for part in (speech[: SAMPLE_RATE // 2], speech[SAMPLE_RATE:] / 3, 0 * speech):
        file = io.BytesIO()
        soundfile.write(file, part, SAMPLE_RATE, format="FLAC")
        clips.append(file.getvalue())
    recognizer = genser.load(model, threads=1)  # eight bits round otherwise with another number of threads
    expected = list(recognizer.predict_many(clips))
    with voice_server.running("genser.serving.app:app_from_environment", cores=1, model=model) as server:
        files = [("file", (f"{index}.flac", clip)) for index, clip in enumerate(clips)]
        answers = httpx.post(f"{server.url}/v1/predict?trajectory=1", files=files, timeout=60).json()["predictions"]
        learned = httpx.post(f"{server.url}/v1/profile", files=[*files, ("file", ("a.txt", b"none"))], timeout=60)
        files = [("file", ("0.flac", clips[0])), ("profile", ("profile.json", learned.content))]
        moved = httpx.post(f"{server.url}/v1/predict?trajectory=1", files=files, timeout=60).json()["predictions"][0]
    for answer, prediction in zip(answers, expected, strict=True):
        assert answer["label"] == prediction.label
        assert answer["scores"] == pytest.approx(dict(prediction.scores), abs=2e-6)
        for name in ("duration", "speech", "familiar", "error"):
            assert answer[name] == pytest.approx(getattr(prediction, name), abs=1e-6), name
    assert answers[0]["trajectory"][-1] == pytest.approx(recognizer.trajectory(speech)[-1].tolist(), abs=2e-6)
    profile = recognizer.learn_profile(clips)
    found = Profile.parsed(learned.content, "the answer")
    assert (found.model, found.clips, found.duration) == (profile.model, profile.clips, round(profile.duration, 2))
    assert found.shift == pytest.approx(profile.shift, abs=3e-3)  # eight bits: a batch changes the features a little
    assert (list(learned.json()["failed"]), learned.json()["remark"]) == (["a.txt"], profile.remark)
    adapted = recognizer.adapted(found)
    assert moved["scores"] == pytest.approx(dict(adapted.predict(clips[0]).scores), abs=2e-6)
    assert moved["familiar"] == answers[0]["familiar"]
    assert moved["states"][0] == pytest.approx(adapted.state_coordinates(speech)[0].tolist(), abs=2e-6)
    assert moved["unadapted"] == answers[0]["states"][0]
