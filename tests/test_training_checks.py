"""What a table cannot give is said before its clips are encoded: by train, bench and evaluate."""

import csv
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

import genser.training.data
from genser.bench.plan import load_plan
from genser.bench.runner import BenchSettings, run_bench
from genser.cli.bench import bench
from genser.cli.evaluate import evaluate
from genser.encoders import EncoderConfig
from genser.errors import ConfigError, GenserError, ManifestError, MissingExtraError, ModelError
from genser.model.estimator import NetworkConfig
from genser.model.features import TransformConfig
from genser.training.checks import claim_folder
from genser.training.recipe import CalibrationConfig, TrainConfig
from genser.training.run import run_training

CONFIG = TrainConfig(EncoderConfig("fbank"), network=NetworkConfig(width=16, depth=1, heads=2), steps=2)
COMPONENTS = TransformConfig(components=16)


class Encoded(Exception):
    """Clips were about to be encoded."""


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Write a table of clips; to encode them ends the test."""

    def encoded(*_, **__):
        raise Encoded

    monkeypatch.setattr(genser.training.data, "extract_features", encoded)

    def write(clips=40, **columns):
        about = {"label": lambda n: "ab"[n % 2], "speaker": lambda n: f"s{n // 2 % 5}", **columns}
        with (tmp_path / "table.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["path", *about])
            for n in range(clips):
                soundfile.write(tmp_path / f"{n}.wav", np.full(800, n / 100), 16_000)
                rows.writerow([f"{n}.wav", *(make(n) for make in about.values())])
        return tmp_path / "table.csv"

    return write


def run(manifest, config, sentences=None):
    folder = manifest.parent
    report = (sentences if sentences is not None else []).append
    return run_training(manifest, config, folder / "model", folder / "store", report=report)


def test_a_table_that_suffices_is_encoded(table):
    with pytest.raises(Encoded):
        run(table(), replace(CONFIG, feature_transform=COMPONENTS))


@pytest.mark.parametrize(
    ("columns", "changes", "words"),
    [
        ({"clips": 16}, {"feature_transform": COMPONENTS, "validation": 0.0}, "16 training rows are too few for 16"),
        ({"clips": 24}, {"feature_transform": COMPONENTS, "validation": 0.4}, "rows are too few for 16 components"),
        (
            {"clips": 30},
            {"feature_transform": COMPONENTS, "validation": 0.0, "calibration": CalibrationConfig(2)},
            "training rows are too few for 16 components",
        ),
        (
            {"clips": 30, "corpus": lambda n: "xy"[n > 19]},
            {"feature_transform": COMPONENTS, "validation": 0.0, "calibration": CalibrationConfig(0, True)},
            "10 training rows are too few for 16 components",
        ),
        (
            {"clips": 40, "gender": lambda n: ("f", "m", "")[n % 3] if n < 12 else ""},
            {"feature_transform": COMPONENTS, "validation": 0.0, "gender": True},
            "8 training rows are too few for 16 components",
        ),
        ({"label": lambda _: "a"}, {}, "has 1 class of the task"),
        ({"speaker": lambda _: "s"}, {"validation": 0.1}, "No speaker can be held out"),
        ({"split": lambda _: "test"}, {}, "in the split 'train'"),
        ({"split": lambda n: "validation" if n % 2 else ""}, {}, "The training side has only the class a"),
        ({}, {"feature_transform": TransformConfig(components=5000)}, "have fewer than 5000 components"),
    ],
)
def test_what_a_table_lacks_is_an_error_before_its_clips_are_encoded(table, columns, changes, words):
    with pytest.raises(GenserError, match=words):
        run(table(**columns), replace(CONFIG, **changes))


@pytest.mark.parametrize(
    ("columns", "changes", "words"),
    [
        ({}, {"validation": 0.0}, "not calibrated, since no clips were held out"),
        ({}, {}, "fewer than 50 held-out clips"),
        ({}, {"calibration": CalibrationConfig(2, True)}, "across_corpora has no effect"),
        ({}, {"gender": True}, "does not recognise the gender"),
        ({"gender": lambda n: "fm"[n % 2]}, {"gender": True}, "The gender is not calibrated"),
        ({"speaker": lambda _: ""}, {}, "Some rows have no speaker"),
        ({"label": lambda n: ("a", "b", "")[n % 3]}, {}, "13 rows have no class"),
        (
            {"label": lambda n: "abc"[n % 3], "split": lambda n: "validation" if n % 3 == 2 else ""},
            {},
            "No clip to train on has the class c",
        ),
    ],
)
def test_what_will_have_no_effect_is_said_before_the_clips_are_encoded(table, columns, changes, words):
    sentences = []
    with pytest.raises(Encoded):
        run(table(**columns), replace(CONFIG, **changes), sentences)
    assert [words in one for one in sentences].count(True) == 1


def test_a_folder_of_another_recipe_is_refused_before_the_clips_are_encoded(table):
    manifest = table()
    with pytest.raises(Encoded):
        run(manifest, CONFIG)
    (manifest.parent / "model/run/last.safetensors").touch()
    claim_folder(manifest.parent / "model/run", CONFIG)
    with pytest.raises(ModelError, match="belongs to another recipe"):
        run(manifest, replace(CONFIG, steps=3))
    with pytest.raises(Encoded):
        run(manifest, CONFIG)


def plan_of(folder, **changes):
    entry = {"settings": {"network.width": 16, "network.depth": 1, "network.heads": 2, **changes}}
    (folder / "plan.yaml").write_text(yaml.safe_dump({"seeds": 1, "heads": {"linear": entry}}))
    return load_plan(str(folder / "plan.yaml"), encoder=EncoderConfig("fbank"))


@pytest.mark.parametrize(
    ("columns", "settings", "words"),
    [
        ({"label": lambda _: "a"}, {}, "has 1 class of the task"),
        (
            {"split": lambda n: "test" if n % 2 else "train", "label": lambda n: "" if n % 2 else "ab"[n // 2 % 2]},
            {"protocol": "official"},
            "empty test side",
        ),
        ({"gender": lambda n: "fm"[n % 2] if n < 20 else ""}, {"protocol": "loco", "task": "gender"}, "empty"),
        (
            {"label": lambda n: "a" if n >= 20 else "ab"[n % 2]},
            {"protocol": "loco"},
            "The training side of 'loco x' has only the class a",
        ),
    ],
)
def test_a_bench_without_a_side_is_refused_before_its_clips_are_encoded(table, columns, settings, words):
    manifest = table(corpus=lambda n: "xy"[n >= 20], **columns)
    given = {"protocol": "kfold-speaker", "manifests": (manifest,), "k": 2} | settings
    folder = manifest.parent
    with pytest.raises(ManifestError, match=words):
        run_bench(BenchSettings(folder=folder / "out", store=folder / "store", **given), [plan_of(folder)])


def test_every_encoder_and_head_of_a_bench_is_tried_before_the_first_one_encodes(table):
    manifest = table()
    folder = manifest.parent
    settings = BenchSettings("kfold-speaker", (manifest,), folder / "out", folder / "store", k=2)
    good = plan_of(folder)
    with pytest.raises(Encoded):
        run_bench(settings, [good])
    missing = load_plan("quick", encoder=EncoderConfig("hubert", str(folder / "nowhere")))
    with pytest.raises(GenserError, match="nowhere"):
        run_bench(settings, [good, missing])
    posterior = plan_of(folder, **{"feature_transform.components": 0, "feature_transform.repeat": False})
    with pytest.raises(ConfigError, match="The state 'posterior' needs x_1"):
        run_bench(settings, [good, posterior])


def test_what_a_test_set_is_too_small_for_is_said_before_it_is_scored(table, monkeypatch, capsys):
    class Scored(Exception):
        pass

    def scored(recognizer, choose, **_):
        choose(("a", "b", "c"), {})
        raise Scored

    monkeypatch.setattr("genser.bench.score_manifest.score_recognizer", scored)
    monkeypatch.setattr("genser.inference.load.load", lambda *_, **__: None)
    monkeypatch.setattr("genser.inference.load.find_model", lambda _: Path("model.onnx"))
    for columns, words in (
        ({"clips": 20}, "There are no intervals, since 20 clips are too few"),
        ({"label": lambda n: "ab"[n < 4]}, "4 clips are too few for the class 'b'"),
        ({"speaker": lambda _: ""}, "The speakers are unknown"),
        ({"label": lambda n: "ab "[n % 3].strip()}, "13 rows without a class are omitted"),
    ):
        with pytest.raises(Scored):
            evaluate("tiny", table(**columns))
        assert words in capsys.readouterr().err


def test_a_report_that_cannot_be_drawn_is_refused_before_anything_is_scored(table, monkeypatch):
    manifest = table()
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"genser\[plot\]"):
        evaluate("base", manifest, output=manifest.parent / "report")
    with pytest.raises(MissingExtraError, match=r"genser\[plot\]"):
        bench("kfold-speaker", manifest, output=manifest.parent / "bench", store=manifest.parent / "store")
