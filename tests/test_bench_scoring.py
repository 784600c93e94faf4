"""Scoring of a manifest: the same probabilities as `genser predict`, the right encoder, warnings about speakers."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from toys import LABELS, toy_folder, toy_weights

from genser import load
from genser.audio import SAMPLE_RATE
from genser.bench.score_manifest import (
    _problem,
    labelled,
    late_ends,
    score_folder,
    score_recognizer,
    speaker_warnings,
    unseen,
)
from genser.cli.evaluate import evaluate as evaluate_verb
from genser.data.utterance import Utterance
from genser.errors import ConfigError, ManifestError, ModelError
from genser.model.folder import load_model, save_model
from genser.model.heads import make_head


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A model folder with a speech gate, and clips of 1 s, 31 s and 45 s, the last one with a long pause."""
    folder = tmp_path_factory.mktemp("home")
    toy_folder(folder / "model", gated=True)
    random = np.random.default_rng(0)
    for name, seconds in (("short", 1), ("middle", 31), ("long", 45)):
        noise = 0.1 * random.standard_normal(seconds * SAMPLE_RATE)
        noise *= 1 + 0.5 * np.sin(np.arange(len(noise)) / (3000 * (1 + len(name))))
        noise[10 * SAMPLE_RATE : 20 * SAMPLE_RATE] = 0
        soundfile.write(folder / f"{name}.wav", noise, SAMPLE_RATE, subtype="FLOAT")
    return folder


def utterances(home, **fields):
    return [
        Utterance(str(home / f"{name}.wav"), LABELS[number], **{"speaker": f"s{number}", "corpus": "toy"} | fields)
        for number, name in enumerate(("short", "middle", "long"))
    ]


def score(home, items, tmp_path, model="model", **options):
    return score_folder(home / model, lambda *_: items, tmp_path / "store", **options)


def test_evaluate_and_predict_give_the_same_probabilities_for_clips_of_any_length(home, tmp_path):
    items = utterances(home)
    cropped = replace(items[2], start=2.0, end=44.5)
    found = score(home, [*items, cropped], tmp_path)
    recognizer = load(home / "model")
    direct = [recognizer.predict(item.path) for item in items]
    expected = [[one.scores[name] for name in LABELS] for one in direct]
    np.testing.assert_allclose(found.predictions.probabilities[:3], expected, atol=2e-5)
    from_audio = score_recognizer(recognizer, lambda *_: [*items, cropped])
    np.testing.assert_allclose(found.predictions.probabilities, from_audio.predictions.probabilities, atol=2e-5)
    assert not found.problems
    assert found.refused == from_audio.refused


def test_other_numbers_of_steps_reach_long_clips_too(home, tmp_path):
    found = score(home, utterances(home), tmp_path, steps=[1, 2])
    assert list(found.steps) == [1, 2]
    np.testing.assert_allclose(found.steps[2], found.predictions.probabilities, atol=1e-6)
    assert (np.abs(found.steps[1] - found.steps[2]).max(axis=1) > 1e-4).all()


def test_a_head_without_steps_is_scored_once(home, tmp_path):
    model = load_model(home / "model")
    head = make_head(replace(model.head.config, kind="linear"))
    save_model(tmp_path / "linear", head, model.encoder, model.fingerprint)
    found = score(tmp_path, utterances(home), tmp_path, model="linear", steps=[1, 2])
    assert found.steps == {}
    assert np.isfinite(found.predictions.probabilities).all()


def test_a_clip_that_cannot_be_read_is_a_problem_and_costs_the_others_nothing(home, tmp_path):
    (tmp_path / "bad.wav").write_text("no audio")
    bad = [Utterance(str(tmp_path / "bad.wav"), LABELS[0]), Utterance(str(tmp_path / "gone.wav"), LABELS[0])]
    found = score(home, [bad[0], *utterances(home), bad[1]], tmp_path)
    assert len(found.problems) == 2
    assert np.isnan(found.predictions.probabilities).all(axis=1).tolist() == [True, False, False, False, True]


def test_another_encoder_is_refused(tmp_path, home):
    folder = toy_folder(tmp_path / "model")
    toy_weights(folder.with_name("model-encoder.safetensors"), seed=1)
    with pytest.raises(ModelError, match="trained on another encoder"):
        score(tmp_path, utterances(home), tmp_path)


def digests(*speakers):
    keys = (speaker.split("/") for speaker in speakers)
    return [Utterance("a.wav", corpus=corpus, speaker=name).speaker_digest for corpus, name in keys]


@pytest.mark.parametrize(
    ("fields", "info", "words"),
    [
        ({"split": "test"}, {"corpora": ["other"]}, []),
        ({"split": "test"}, {}, []),
        ({"split": "train"}, {}, ["3 of 3 clips are of the splits train and validation"]),
        ({"split": "validation"}, {}, ["3 of 3 clips"]),
        ({}, {"corpora": ["toy"]}, ["the corpora toy, but does not record its training speakers"]),
        ({}, {"corpora": ["toy"], "training_speakers": digests("toy/s9", "other/s0")}, []),
        (
            {"corpus": "mine"},
            {"corpora": ["toy"], "training_speakers": digests("toy/s2", "toy/s7")},
            ["1 of 3 speakers have the name of a training speaker of toy"],
        ),
        ({"speaker": None}, {"training_speakers": digests("toy/s9")}, ["3 of 3 clips name no speaker"]),
        (
            {},
            {"training_speakers": digests("toy/s2", "toy/s1")},
            ["2 of 3 evaluated speakers are training speakers"],
        ),
    ],
)
def test_training_speakers_are_reported(home, fields, info, words):
    found = speaker_warnings(utterances(home, **fields), info)
    assert len(found) == len(words)
    assert all(part in warning for part, warning in zip(words, found, strict=True))


def test_training_speakers_are_omitted(home):
    items = utterances(home)
    assert unseen(items, {}) == unseen(items, {"training_speakers": digests("other/s1")}) == items
    assert {item.speaker for item in unseen(items, {"training_speakers": digests("toy/s1")})} == {"s0", "s2"}
    with pytest.raises(ManifestError, match=r"trained on all these speakers.*--speakers all"):
        unseen(items, {"training_speakers": digests("toy/s0", "toy/s1", "toy/s2")})


def test_labels_in_other_capitals_are_those_of_the_model():
    items = [Utterance("a.wav", "Anger"), Utterance("b.wav", "JOY")]
    assert [item.label for item in labelled(items, ("anger", "Joy"), "emotion", None, None)[0]] == ["anger", "Joy"]


def test_clips_of_classes_that_cannot_occur_are_omitted():
    items = [Utterance(f"{name}.wav", name) for name in ("Anger", "joy", "awe")] + [Utterance("b.wav", "joy")]
    items.append(Utterance("c.wav", "no speech"))
    kept, other, unlabelled = labelled(items, ("anger", "joy", "sadness"), "emotion", None, None, ("anger", "sadness"))
    assert unlabelled == 1
    assert [item.path for item in kept] == ["Anger.wav"]
    assert other == {"joy": 2, "awe": 1}, "a class that the model does not know cannot occur either"
    with pytest.raises(ManifestError, match="No utterance of the manifest has one of the classes sadness, awe"):
        labelled(items[:2], ("anger", "joy"), "emotion", None, None, ("sadness", "awe"))


@pytest.fixture
def manifest(home, tmp_path):
    path = tmp_path / "manifest.csv"
    with path.open("w", newline="") as file:
        rows = [[item.path, item.label, item.speaker, item.corpus] for item in utterances(home)[:1]]
        csv.writer(file).writerows([["path", "label", "speaker", "corpus"], *rows])
    return path


def test_the_verb_reports_steps_and_warnings(home, manifest, tmp_path, capsys):
    output = tmp_path / "report"
    options = {"store": tmp_path / "s", "resamples": 20}
    assert evaluate_verb(str(home / "model"), manifest, steps="4, 1,,1", **options) == 0
    assert "does not record its training speakers" in capsys.readouterr().out
    assert (
        evaluate_verb(str(home / "model"), manifest, store=tmp_path / "s", steps="", resamples=20, output=output) == 0
    )
    data = json.loads((output / "report.json").read_text())
    assert data["steps"] == {}
    assert "does not record its training speakers" in data["warnings"][0]
    assert "a single speaker" in data["warnings"][1]
    assert "1 clip is too few" in data["warnings"][2]
    assert all(warning in capsys.readouterr().err for warning in data["warnings"][:1])
    assert "does not record its training speakers" in (output / "report.html").read_text()


@pytest.mark.parametrize("steps", ["abc", "1,-2", "1.5"])
def test_wrong_steps_are_refused(home, manifest, steps):
    with pytest.raises(ConfigError, match="--steps must be numbers of steps"):
        evaluate_verb(str(home / "model"), manifest, steps=steps)


def test_a_manifest_without_labels_of_the_task_is_refused(home, manifest):
    with pytest.raises(ManifestError, match="label of the task 'gender'"):
        evaluate_verb(str(home / "model"), manifest, task="gender")
    with pytest.raises(ManifestError, match="label of the task 'emotion' in the split 'test'"):
        evaluate_verb(str(home / "model"), manifest, split="test")
    Path(manifest).write_text(Path(manifest).read_text().replace("anger", "gloom"))
    with pytest.raises(ManifestError, match="no class 'gloom'"):
        evaluate_verb(str(home / "model"), manifest)


@pytest.fixture
def many(home, tmp_path):
    """A manifest of two clips of each class of the model."""
    items = utterances(home)
    path = tmp_path / "many.csv"
    with path.open("w", newline="") as file:
        rows = [
            [items[n % 3].path, name, f"s{n}", 0.1 * (n % 7), 0.5 + 0.1 * (n % 7)] for n, name in enumerate(2 * LABELS)
        ]
        csv.writer(file).writerows([["path", "label", "speaker", "start", "end"], *rows])
    return path


def test_the_verb_scores_the_classes_that_can_occur(home, many, tmp_path, capsys):
    chosen = {"classes": ",".join(LABELS[:2]), "prior": f"{LABELS[0]}=0.9,{LABELS[1]}=0.1"}
    options = {"store": tmp_path / "s", "resamples": 20, "steps": "2", "output": tmp_path / "report"}
    assert evaluate_verb(str(home / "model"), many, **chosen, **options) == 0
    data = json.loads((tmp_path / "report/report.json").read_text())
    assert data["about"]["classes"] == chosen["classes"]
    assert data["evaluation"]["classes"] == list(LABELS[:2])
    assert data["evaluation"]["utterances"] == data["steps"]["2"]["utterances"] == 4
    recognizer = load(home / "model", **chosen)
    right = 0
    with many.open() as file:
        for row in list(csv.DictReader(file)):
            if row["label"] in LABELS[:2]:
                clip, rate = soundfile.read(row["path"], dtype="float32")
                part = clip[round(float(row["start"]) * rate) : round(float(row["end"]) * rate)]
                scores = recognizer.predict((part, rate)).scores
                right += max(scores, key=scores.__getitem__) == row["label"]
    assert data["evaluation"]["wa"] == pytest.approx(right / 4)
    omitted = capsys.readouterr().err
    assert "Clips of classes that cannot occur are omitted: " in omitted
    assert f"{LABELS[2]} 2" in omitted


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"classes": "anger,gloom"}, "no class 'gloom'"),
        ({"classes": "anger"}, "two or more"),
        ({"prior": "anger=0.2,sadness=-1"}, "numbers above 0"),
    ],
)
def test_wrong_classes_are_refused(home, many, tmp_path, chosen, words):
    with pytest.raises(ConfigError, match=words):
        evaluate_verb(str(home / "model"), many, store=tmp_path / "s", **chosen)


def test_ends_behind_the_file_are_counted_and_a_problem_names_its_clip_once(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(16_000), 16_000)
    path = str(tmp_path / "a.wav")
    ends = (None, 0.5, 1.05, 1.5, 900.0)
    clips = [Utterance(path, start=None if end is None else 0.0, end=end) for end in ends]
    assert late_ends(clips).startswith("2 clips end behind the end of the file, by up to 899.00 s.")
    assert late_ends([*clips[:3], Utterance("gone.wav", start=0.0, end=9.0)]) is None
    assert _problem(clips[0], f"{path} is empty.") == f"{path} is empty."
    assert _problem(clips[1], f"{path} is empty.") == f"{path}#t=0,0.5 is empty."
    assert _problem(clips[1], "No sound.") == f"{path}#t=0,0.5: No sound."
