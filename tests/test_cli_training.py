"""From a folder of sounds to a model and its report, on the command line, as a user would."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from command_line import run

RECIPE = """
encoder: {kind: fbank}
network: {width: 16, depth: 1, heads: 2}
objective: {time_power: 4.0, mixup: 0.3, noise: 0.1}
optimizer: {lr: 0.005, ema: 0.9}
batch_size: 16
steps: 60
evaluate_every: 20
checkpoint_every: 20
validation: 0.3
"""


def genser(*arguments, cwd, check=0):
    done = run(*arguments, cwd=cwd)
    assert done.returncode == check, done.stderr.decode()
    return SimpleNamespace(stdout=done.stdout.decode(), stderr=done.stderr.decode())


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Six speakers who hum low when they are sad and high when they are merry; the last two are the test side."""
    folder = tmp_path_factory.mktemp("corpus")
    generator = np.random.default_rng(0)
    rows = []
    for speaker in range(6):
        for take in range(6):
            label, pitch = (("sad", 150), ("merry", 450))[take % 2]
            time = np.arange(8000) / 16000
            tone = np.sin(2 * np.pi * (pitch + 8 * speaker) * time) + 0.05 * generator.standard_normal(8000)
            soundfile.write(folder / f"{speaker}_{take}.wav", 0.3 * tone, 16000)
            split = "test" if speaker > 3 else ""
            rows.append([f"{speaker}_{take}.wav", label, f"s{speaker}", ("female", "male")[speaker % 2], split])
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "label", "speaker", "gender", "split"], *rows])
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="module")
def model(corpus):
    track = ("--track", f"tensorboard:{corpus / 'tracked'}")
    genser("train", "manifest.csv", "--recipe", "recipe.yaml", "-o", "model", "--seed", "3", *track, cwd=corpus)
    return corpus / "model"


def test_training_leaves_a_model_and_its_metrics(model):
    assert {path.name for path in model.iterdir()} == {"card.md", "config.json", "head.safetensors", "run"}
    metrics = [json.loads(line) for line in (model / "run/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in metrics] == [20, 40, 60]
    assert all(0 <= row["validation_ua"] <= 1 for row in metrics)
    config = json.loads((model / "config.json").read_text())
    assert config["labels"] == ["merry", "sad"]
    assert config["info"]["recipe"]["seed"] == 3


def test_a_tracker_gets_the_metrics_too(corpus, model):
    (file,) = (corpus / "tracked").iterdir()
    assert b"validation_ua" in file.read_bytes()


def test_the_test_side_is_never_trained_on(model):
    config = json.loads((model / "config.json").read_text())
    assert config["info"]["utterances"] == 36
    assert config["info"]["training_utterances"] == 24 - 6


def test_evaluation_reports_the_test_side_and_steps(corpus, model):
    genser("evaluate", "model", "manifest.csv", "--split", "test", "-o", "report", "--resamples", "50", cwd=corpus)
    report = json.loads((corpus / "report/report.json").read_text())
    assert report["evaluation"]["utterances"] == 12
    assert report["evaluation"]["ua"] > 0.8
    assert set(report["steps"]) == {"1", "2", "4", "10", "20"}
    assert report["evaluation"]["intervals"] == {}
    few_speakers, few_clips = report["warnings"]
    assert "2 speakers only" in few_speakers
    assert "12 clips are too few" in few_clips
    assert {path.suffix for path in (corpus / "report").iterdir() if path.is_file()} == {".json", ".md", ".html"}


def test_prepare_split_train_and_evaluate_follow_each_other(corpus, tmp_path):
    """As in README: a table without splits and with a column of its own, to a score on unseen speakers."""
    with (corpus / "manifest.csv").open(newline="") as file:
        rows = [
            {**row, "file": str(corpus / row["path"]), "take": str(n)} for n, row in enumerate(csv.DictReader(file))
        ]
    with (tmp_path / "mine.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["", "file", "label", "speaker", "take"], delimiter=";", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    genser("prepare", "csv", "mine.csv", "-o", "table.csv", cwd=tmp_path)
    done = genser("split", "table.csv", "-o", "split.csv", "--test", "0.34", "--validation", "0.17", cwd=tmp_path)
    assert "train: 18 clips (50%), 3 speakers; merry 9, sad 9\n" in done.stderr
    with (tmp_path / "split.csv").open(newline="") as file:
        divided = list(csv.DictReader(file))
    assert sorted(row["take"] for row in divided) == sorted(row["take"] for row in rows)
    sides = {side: {row["speaker"] for row in divided if row["split"] == side} for side in ("train", "test")}
    assert [len(names) for names in sides.values()] == [3, 2]
    genser("train", "split.csv", "--recipe", str(corpus / "recipe.yaml"), "-o", "model", cwd=tmp_path)
    for choice in (["split.csv", "--split", "test"], ["table.csv"], ["table.csv", "--speakers", "all"]):
        done = genser("evaluate", "model", *choice, "-o", "report", "--resamples", "20", cwd=tmp_path)
        scored = json.loads((tmp_path / "report/report.json").read_text())
        assert scored["evaluation"]["utterances"] == (36 if "all" in choice else 12)
        assert ("24 clips of training speakers are omitted" in done.stderr) == (choice == ["table.csv"])
        assert any("training speakers" in warning for warning in scored["warnings"]) == ("all" in choice)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["manifest.csv", "-o", "new.csv"], "12 rows of manifest.csv have a split already"),
        (["manifest.csv", "-o", "manifest.csv", "--replace-split"], "names the input"),
        (["manifest.csv", "-o", "new.csv", "--replace-split", "--test", "1"], "must leave a share for training"),
        (["nameless.csv", "-o", "new.csv"], "Or add --by file"),
    ],
)
def test_a_split_that_cannot_be_made_is_refused_in_a_sentence(corpus, arguments, words):
    (corpus / "nameless.csv").write_text("path,label\n0_0.wav,sad\n0_1.wav,merry\n0_2.wav,sad\n")
    done = genser("split", *arguments, cwd=corpus, check=2)
    assert words in done.stderr
    assert not (corpus / "new.csv").exists()


def test_a_split_by_file_warns(corpus):
    (corpus / "nameless.csv").write_text("path,label\n0_0.wav,sad\n0_1.wav,merry\n0_2.wav,sad\n")
    done = genser("split", "nameless.csv", "-o", "by_file.csv", "--by", "file", cwd=corpus)
    assert "The sides may share speakers" in done.stderr
    with (corpus / "by_file.csv").open() as file:
        assert {row["split"] for row in csv.DictReader(file)} == {"train", "validation", "test"}


def test_gender_is_a_task_like_emotion(corpus):
    genser("train", "manifest.csv", "--recipe", "recipe.yaml", "-o", "gender", "--task", "gender", cwd=corpus)
    done = genser(
        "evaluate", "gender", "manifest.csv", "--task", "gender", "--split", "test", "--steps", "1", cwd=corpus
    )
    assert "female" in done.stdout


def test_a_broken_file_is_named_and_the_rest_is_trained_on(corpus):
    (corpus / "broken.wav").write_bytes(b"RIFF no sound")
    text = (corpus / "manifest.csv").read_text() + "broken.wav,sad,s0,female,\n"
    (corpus / "with_broken.csv").write_text(text)
    done = genser("train", "with_broken.csv", "--recipe", "recipe.yaml", "-o", "other", cwd=corpus, check=1)
    assert "broken.wav" in done.stderr
    assert (corpus / "other/config.json").exists()


def test_features_are_computed_once(corpus):
    first = genser("features", "manifest.csv", "--encoder", "fbank", "-o", "kept", cwd=corpus)
    second = genser("features", "manifest.csv", "--encoder", "fbank", "-o", "kept", cwd=corpus)
    assert "36 of 36 utterances have features of fbank (mean; states all), 36 of them new" in first.stderr
    assert "36 of 36 utterances have features of fbank (mean; states all), 0 of them new" in second.stderr


def test_a_folder_a_label_becomes_a_manifest(corpus, tmp_path):
    for label in ("sad", "merry"):
        (tmp_path / "by_label" / label).mkdir(parents=True)
        soundfile.write(tmp_path / "by_label" / label / "a.wav", np.zeros(8000), 16000)
    genser("prepare", "folder", "by_label", "-o", "list.csv", cwd=tmp_path)
    with (tmp_path / "list.csv").open() as file:
        assert sorted(row["label"] for row in csv.DictReader(file)) == ["merry", "sad"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--optimizer.rate", "1"], "unknown key 'rate'"),
        (["--steps", "none"], "steps"),
        (["--steps"], "no value"),
        (["stray"], "Unexpected argument 'stray'"),
        (["--recipe", "missing"], "No recipe 'missing'"),
    ],
)
def test_wrong_usage_is_reported_in_a_sentence(corpus, arguments, word):
    done = genser("train", "manifest.csv", *arguments, cwd=corpus, check=2)
    assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_labels_that_the_model_does_not_have_are_named(corpus, model):
    text = (corpus / "manifest.csv").read_text().replace(",sad,", ",gloomy,")
    (corpus / "renamed.csv").write_text(text)
    done = genser("evaluate", "model", "renamed.csv", cwd=corpus, check=2)
    assert "'gloomy'" in done.stderr
