"""The gender of the voice in place of the emotion, from the same model."""

import json

import numpy as np
import pytest
import soundfile
import torch
from toys import LABELS, toy_folder
from voices import babble

import genser
from genser.cli.predict import predict
from genser.errors import ConfigError
from genser.inference.class_prior import ClassPrior
from genser.inference.load import load
from genser.inference.profile import Profile
from genser.model.folder import load_model, load_speech_model, save_model

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return toy_folder(tmp_path_factory.mktemp("models") / "toy", gated=True, gendered="flat")


@pytest.fixture(scope="module")
def clips():
    return [babble(seconds, seed=seed) for seed, seconds in enumerate((0.5, 1.0, 2.5, 4.0))]


def test_the_scores_are_those_of_the_second_head(folder, clips):
    model = load_speech_model(load_model(folder))
    recognizer = genser.load(folder, task="gender")
    assert recognizer.labels == ("female", "male")
    for clip in clips:
        features = model.encoder(torch.from_numpy(clip)[None], torch.tensor([len(clip)]))
        (wanted,) = model.gender(features).detach().numpy()
        (found,) = recognizer.predict_waveforms([clip])
        assert list(found.scores.values()) == pytest.approx(wanted, abs=1e-6)
        assert found.label in ("female", "male", "no speech")
        assert found.speech == genser.load(folder).predict_waveforms([clip])[0].speech


def test_the_emotion_is_the_same_with_and_without_the_second_head(folder, clips, tmp_path):
    model = load_model(folder)
    save_model(tmp_path / "plain", model.head, model.encoder, model.fingerprint, gate=model.gate)
    plain = genser.load(tmp_path / "plain").scores(clips)
    np.testing.assert_array_equal(genser.load(folder).scores(clips), plain)
    np.testing.assert_array_equal(genser.load(folder, task="emotion").scores(clips), plain)


def test_there_is_no_transport_of_the_gender(folder, clips):
    recognizer = genser.load(folder, task="gender")
    assert not recognizer.has_transport
    assert recognizer.trajectory(clips[0]) is None
    assert genser.load(folder).has_transport


def test_the_gender_over_time(folder):
    recognizer = genser.load(folder, task="gender")
    for segment in recognizer.segments((babble(6.0), 16_000)):
        assert set(segment.scores) == {"female", "male"}


def test_the_gender_under_a_prior(folder, clips):
    even, odd = (genser.load(folder, task="gender", prior=prior) for prior in (None, "female=0.9,male=0.1"))
    prior = ClassPrior.of(("female", "male"), prior={"female": 0.9, "male": 0.1})
    np.testing.assert_allclose(odd.scores(clips), prior.posterior(even.scores(clips)), atol=1e-6)


def test_a_profile_is_refused(folder, clips):
    emotion, gender = genser.load(folder), genser.load(folder, task="gender")
    profile = Profile.learned(emotion.metadata, np.zeros((3, 3, 64), np.float32), 3.0)
    with pytest.raises(ConfigError, match="no effect on the gender"):
        genser.load(folder, task="gender", profile=profile)
    with pytest.raises(ConfigError, match="no effect on the gender"):
        gender.adapted([(clip, 16_000) for clip in clips])


def test_a_model_without_it_says_so(toys):
    for model in (toys.folder, toys.float32):
        with pytest.raises(ConfigError, match=r"recognises emotion and not gender\. Train one with gender: true"):
            genser.load(model, task="gender")
    with pytest.raises(ConfigError, match=r"no task 'genders'\. Did you mean 'gender'\?"):
        genser.load(toys.folder, task="genders")


def test_a_model_of_the_task_gender_is_itself(folder, tmp_path):
    model = load_model(folder)
    save_model(tmp_path / "own", model.gender, model.encoder, model.fingerprint, {"task": "gender"})
    assert load(tmp_path / "own", task="gender").labels == ("female", "male")
    with pytest.raises(ConfigError, match="recognises gender and not emotion"):
        load(tmp_path / "own", task="emotion")


def test_the_command_line_asks_for_it(folder, tmp_path):
    soundfile.write(tmp_path / "talk.wav", babble(2.0), 16_000)
    found = {}
    for task in (None, "gender"):
        output = tmp_path / f"{task}.json"
        assert predict(str(tmp_path / "talk.wav"), model=str(folder), task=task, output=str(output)) == 0
        (found[task],) = json.loads(output.read_text())
    assert set(found[None]["scores"]) == set(LABELS)
    assert set(found["gender"]["scores"]) == {"female", "male"}
    assert found[None].keys() == found["gender"].keys()
