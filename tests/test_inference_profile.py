"""Profiles: learned from recordings without labels, stored, applied, and refused by another model."""

import json
import pickle

import numpy as np
import pytest
import soundfile

import genser
from genser.audio import SAMPLE_RATE
from genser.cli import app
from genser.config import plain_array
from genser.errors import ConfigError
from genser.inference.embeddings import features_of
from genser.inference.profile import Profile, features_id, shrunk_shift, training_mean
from genser.inference.recognizer import Recognizer
from genser.inference.torch_backend import TorchBackend
from genser.segments.adapt import self_adapted
from genser.segments.options import SegmentOptions
from genser.segments.turns import Turn

MEAN = np.array([[1.0, 2.0], [3.0, 4.0]])
METADATA = {"fingerprint": "f", "mean": plain_array(MEAN)}


def sounds(count, seed=0):
    random = np.random.default_rng(seed)
    return [((0.1 * random.standard_normal(9_000 + 37 * n)).astype(np.float32), SAMPLE_RATE) for n in range(count)]


@pytest.fixture(scope="module")
def toy(toys):
    """The exported toy model without its gate, which random noise does not pass."""
    recognizer = genser.load(toys.float32)
    recognizer._backend.metadata["speech_threshold"] = None
    return recognizer


def test_many_clips_move_the_mean_to_that_of_the_training_clips():
    random = np.random.default_rng(0)
    features = random.standard_normal((1000, 2, 2)) + np.array([[5.0, 5.0], [0.0, 0.0]])
    profile = Profile.learned(METADATA, features, 1.0)
    np.testing.assert_allclose((features + profile.shift).mean(0), MEAN, atol=0.05)
    assert profile.remark is None


def test_few_clips_are_believed_in_part():
    features = np.zeros((5, 2, 2))
    profile = Profile.learned(METADATA, features, 1.0)
    np.testing.assert_allclose(profile.shift, MEAN / 2)
    assert "5 clips" in profile.remark
    assert "50 %" in profile.remark


def test_a_speaker_is_shrunk_towards_the_collection():
    base = np.array([[1.0, 0.0], [0.0, 0.0]])
    at_rest = np.stack([MEAN - base] * 5)
    np.testing.assert_allclose(shrunk_shift(at_rest, MEAN, base), base)


def test_the_order_of_the_clips_does_not_matter():
    features = np.random.default_rng(0).standard_normal((101, 2, 2)).astype(np.float32)
    profiles = [Profile.learned(METADATA, features[order], 1.0) for order in (slice(None), slice(None, None, -1))]
    np.testing.assert_array_equal(profiles[0].shift, profiles[1].shift)


def test_a_recognizer_learns_a_profile_and_applies_it(toy, tmp_path):
    profile = toy.learn_profile(sounds(12))
    assert (profile.clips, profile.remark) == (12, None)
    adapted = toy.adapted(profile)
    clips = sounds(3, seed=1)
    before, after = ([p.scores for p in one.predict_many(clips)] for one in (toy, adapted))
    assert max(abs(b[k] - a[k]) for b, a in zip(before, after, strict=True) for k in b) > 1e-4
    alone = adapted.predict(clips[1]).scores
    assert alone == pytest.approx(after[1], abs=1e-6), "a clip has one answer, alone and among others"
    assert adapted.restricted(classes=list(toy.labels[:2])).profile is profile
    assert adapted.adapted(sounds(12)).profile.shift == pytest.approx(profile.shift, abs=1e-6)

    profile.save(tmp_path / "p.json")
    loaded = Profile.load(tmp_path / "p.json")
    np.testing.assert_array_equal(loaded.shift, profile.shift)
    assert (loaded.model, loaded.clips) == (profile.model, 12)


def test_embeddings_are_the_features_that_a_profile_moves(toy, tmp_path):
    clips = sounds(12)
    soundfile.write(tmp_path / "long.wav", np.concatenate([clip for clip, _ in clips] * 5), SAMPLE_RATE)
    found = toy.embed([*clips, "missing.wav", str(tmp_path / "long.wav")])
    mean = training_mean(toy.metadata)
    assert found.shape == (14, *mean.shape)
    assert found.dtype == np.float32
    assert np.isnan(found[12]).all()
    assert np.isfinite(found[13]).all()
    profile = toy.learn_profile(clips)
    np.testing.assert_allclose(shrunk_shift(found[:12], mean), profile.shift, atol=1e-5)
    np.testing.assert_allclose(toy.adapted(profile).embed(clips), found[:12], atol=1e-6)
    assert toy.embed([]).shape == (0, *mean.shape)


@pytest.mark.parametrize("kind", ["float32", "folder"])
def test_a_recognizer_pickles_with_its_profile_and_classes(toys, kind, monkeypatch, tmp_path):
    recognizer = genser.load(getattr(toys, kind), threads=1)
    random = np.random.default_rng(0)
    shift = random.standard_normal(training_mean(recognizer.metadata).shape).astype(np.float32)
    profile = Profile(features_id(recognizer.metadata), shift, 20, 9.0)
    recognizer = recognizer.adapted(profile).restricted(classes=recognizer.labels[:2])
    content = pickle.dumps(recognizer)
    monkeypatch.chdir(tmp_path)
    again = pickle.loads(content)
    assert repr(again) == repr(recognizer)
    assert ", ".join(recognizer.labels) in repr(again)
    clip = sounds(1)[0]
    assert again.predict(clip).scores == pytest.approx(recognizer.predict(clip).scores, abs=1e-6)
    assert len(content) < 100_000, "the weights stay in their file"


def test_a_model_that_is_from_no_file_cannot_be_pickled():
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(TorchBackend(dict, {"labels": ["a", "b"]}, "cpu"))


def test_each_speaker_gets_a_profile_shrunk_towards_that_of_all(toy):
    clips = [clip for clip, _ in sounds(9)]
    names = ["anna", "ben", "anna", None, "ben", "anna", "anna", "ben", "anna"]
    profiles = toy.learn_profiles(zip(names, clips, strict=True))
    every = toy.learn_profile((clip, SAMPLE_RATE) for clip in clips)
    assert {name: profile.clips for name, profile in profiles.items()} == {"anna": 5, "ben": 3, None: 1}
    assert sum(profile.duration for profile in profiles.values()) == pytest.approx(every.duration)
    bens = np.array([row for row, _ in toy._runner.run_waveforms([clips[n] for n in (1, 4, 7)], features_of)])
    expected = shrunk_shift(bens, training_mean(toy.metadata), every.shift)
    np.testing.assert_allclose(profiles["ben"].shift, expected, atol=1e-5)
    with pytest.raises(ConfigError, match="no clip with speech"):
        toy.learn_profiles([])


def test_turns_are_recognised_with_the_profile_of_their_speaker(toy):
    clips = [clip for clip, _ in sounds(6)]
    ends = np.cumsum([len(clip) for clip in clips]) / SAMPLE_RATE
    starts = [0.0, *ends[:-1]]
    turns = [Turn(start, end, "ab"[n % 2]) for n, (start, end) in enumerate(zip(starts, ends, strict=True))]
    recording = (np.concatenate(clips), SAMPLE_RATE)
    profiles = toy.learn_profiles(("ab"[n % 2], clip) for n, clip in enumerate(clips))
    options = SegmentOptions(smoothing="none")
    found = toy.segments(recording, options, turns=turns, adapt=True)
    for number, segment in enumerate(found):
        expected = toy.adapted(profiles["ab"[number % 2]]).scores([clips[number]])[0]
        np.testing.assert_allclose(list(segment.scores.values()), expected, atol=1e-4)
    plain = toy.segments(recording, options, turns=turns)
    assert list(plain[0].scores.values()) != pytest.approx(list(found[0].scores.values()), abs=1e-4)


def test_turns_of_channels_are_learned_from_their_channel(toy):
    first, second = (np.resize(clip, 16_000) for clip, _ in sounds(2))
    turns = [Turn(0, 1, "a", channel=1), Turn(0, 1, "b", channel=2)]
    recording = np.stack([first, second], axis=1), SAMPLE_RATE
    missing = Turn(0, 1, "c", channel=3)
    _, speakers = self_adapted(toy, recording, turns=[*turns, missing], channel="each")
    assert speakers.keys() == {"a", "b"}
    expected = toy.learn_profiles([("a", first), ("b", second)])
    for name in "ab":
        np.testing.assert_allclose(speakers[name].profile.shift, expected[name].shift, atol=1e-4)


def test_a_recording_without_speech_is_recognised_without_a_profile(toys):
    recognizer = genser.load(toys.float32)
    recognizer._backend.metadata["speech_threshold"] = 2.0
    silence = np.zeros(16_000, np.float32), SAMPLE_RATE
    assert self_adapted(recognizer, silence, turns=[Turn(0, 1, "a")]) == (recognizer, {})
    assert self_adapted(recognizer, silence) == (recognizer, {})


def test_without_speech_there_is_no_profile(toy):
    with pytest.raises(ConfigError, match="no clip with speech"):
        toy.learn_profile([])
    with pytest.raises(ConfigError, match=r"no recording to learn a profile from. no such file"):
        toy.learn_profile(["no such file.wav"])


def test_a_profile_of_another_model_is_refused(toy):
    profile = Profile("0" * 16, np.zeros((5, 64), np.float32), 20, 9.0)
    with pytest.raises(ConfigError, match="another model"):
        toy.adapted(profile)


def test_a_model_that_states_no_mean_supports_no_profiles(toy):
    with pytest.raises(ConfigError, match="does not support profiles"):
        training_mean({"fingerprint": "f"})

    class Old:
        labels, metadata = toy.labels, {"labels": list(toy.labels)}

        def outputs(self, windows, batch_samples, shift=None):
            for index, output in toy._backend.outputs(windows, batch_samples, shift):
                yield index, type(output)(output.scores)

    with pytest.raises(ConfigError, match="does not support profiles"):
        Recognizer(Old()).learn_profile(sounds(2))


def test_one_model_in_two_precisions_has_one_kind_of_features(toys):
    ids = {features_id(genser.load(path).metadata) for path in (toys.float32, toys.int8, toys.folder)}
    assert len(ids) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[1]",
        b"\xff\xfe",
        b'{"genser profile": 2}',
        b'{"genser profile": 1, "model": "x", "clips": 1, "duration": 1, "shift": {"shape": [1, 1], "float32": "!"}}',
        b'{"genser profile": 1, "model": "x", "clips": 1, "duration": 1, "shift": {"shape": [9], "float32": ""}}',
        b'{"genser profile": 1, "model": "x", "clips": true, "duration": 1, "shift": '
        b'{"shape": [1, 1], "float32": "AAAAAA=="}}',
        b'{"genser profile": 1, "model": "x", "clips": 1, "duration": 1, "shift": '
        b'{"shape": [1, 1], "float32": "AADAfw=="}}',
        b"[" * 5000,
    ],
)
def test_what_is_no_profile_is_refused(content, tmp_path):
    (tmp_path / "p.json").write_bytes(content)
    with pytest.raises(ConfigError, match="is not a profile"):
        Profile.load(tmp_path / "p.json")


def test_a_missing_profile_is_named(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        Profile.load(tmp_path / "none.json")


@pytest.fixture
def recordings(tmp_path):
    folder = tmp_path / "recordings"
    folder.mkdir()
    for number, (samples, rate) in enumerate(sounds(4)):
        soundfile.write(folder / f"{number}.wav", samples, rate)
    return folder


def test_the_command_line_adapts(toys, recordings, tmp_path, capsys, monkeypatch):
    from genser.model import folder as models

    ungated = tmp_path / "model"
    model = models.load_model(toys.folder)
    models.save_model(ungated, model.head, model.encoder, model.fingerprint)
    common = ["--model", str(ungated), "--format", "json"]
    assert app(["adapt", str(recordings), "-o", str(tmp_path / "p.json"), "--model", str(ungated)]) == 0
    assert "4 clips" in capsys.readouterr().err
    results = []
    for options in ([], ["--profile", str(tmp_path / "p.json")], ["--adapt"]):
        assert app(["predict", str(recordings), *common, *options]) == 0
        results.append([row["scores"] for row in json.loads(capsys.readouterr().out)])
    plain, stored, direct = results
    assert stored == direct
    assert plain != stored


def test_what_cannot_be_combined_is_refused(recordings, tmp_path):
    with pytest.raises(ConfigError, match="Omit one"):
        app(["predict", str(recordings), "--adapt", "--profile", "p.json"], exit_on_error=False)
    with pytest.raises(ConfigError, match="reads every input twice"):
        app(["predict", "-", "--adapt"], exit_on_error=False)
    with pytest.raises(ConfigError, match="-o"):
        app(["adapt", str(recordings), "-o", "-"], exit_on_error=False)


def test_each_recording_over_time_gets_a_profile_of_its_own(toys, tmp_path, capsys):
    """A recording in which nothing is recognised as speech has nothing to learn from, and stays as it is."""
    from genser.model import folder as models

    model = models.load_model(toys.folder)
    models.save_model(tmp_path / "model", model.head, model.encoder, model.fingerprint)
    for name, seed in (("a", 0), ("b", 1)):
        samples = np.concatenate([one for one, _ in sounds(8, seed)])
        soundfile.write(tmp_path / f"{name}.wav", samples, SAMPLE_RATE)

    def table(*words):
        command = ["predict", "--segments", *words, "--window", "1", "--model", str(tmp_path / "model")]
        assert app([*command, "--format", "jsonl"]) == 0
        return [json.loads(line)["scores"] for line in capsys.readouterr().out.splitlines()]

    paths = [str(tmp_path / "a.wav"), str(tmp_path / "b.wav")]
    together = table(*paths, "--adapt")
    assert together == table(paths[0], "--adapt") + table(paths[1], "--adapt")
    assert together != table(*paths)


def test_evaluate_measures_what_a_profile_changes(toy, toys, tmp_path):
    paths = []
    for number, (clip, rate) in enumerate(sounds(12)):
        paths.append(tmp_path / f"{number}.wav")
        soundfile.write(paths[-1], clip, rate, "FLOAT")
    profile = toy.learn_profile(paths)
    profile.save(tmp_path / "p.json")
    rows = "".join(f"{path},sadness\n" for path in paths)
    (tmp_path / "m.csv").write_text("path,label\n" + rows)
    command = ["evaluate", str(toys.float32), str(tmp_path / "m.csv"), "-o", str(tmp_path / "out")]
    assert app([*command, "--profile", str(tmp_path / "p.json")]) == 0
    found = json.loads((tmp_path / "out/report.json").read_text())["evaluation"]["calibration"]["nll"]
    plain, adapted = (
        -np.log([one.scores["sadness"] for one in recognizer.predict_many(paths)]).mean()
        for recognizer in (toy, toy.adapted(profile))
    )
    assert found == pytest.approx(adapted, abs=1e-4)
    assert abs(found - plain) > 1e-3
    with pytest.raises(ConfigError, match="a peer is none"):
        app(["evaluate", "peer:emotion2vec=x", str(tmp_path / "m.csv"), "--profile", str(tmp_path / "p.json")])
