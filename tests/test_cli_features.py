"""genser features stores what genser train opens."""

import numpy as np
import pytest
import soundfile
from toys import toy_weights

import genser.encoders
from genser.cli import app

RECIPE = """
encoder: {kind: whisper, source: openai/whisper-base, pooling: {statistics: [mean, std], states: [1, 2]}}
network: {width: 16, depth: 1, heads: 2}
batch_size: 4
steps: 2
evaluate_every: 2
checkpoint_every: 2
validation: 0.0
keep: last
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    rows = ["path,label,speaker"]
    for number in range(4):
        soundfile.write(tmp_path / f"{number}.wav", 0.1 * generator.standard_normal(8000), 16_000)
        rows.append(f"{number}.wav,{'ab'[number % 2]},s{number}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    toy_weights(tmp_path / "toy.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words):
    return app(list(words), exit_on_error=False)


@pytest.mark.parametrize("encoder", ["whisper:toy.safetensors", "toy.safetensors"])
def test_train_finds_what_features_stored(folder, monkeypatch, capsys, encoder):
    assert run("features", "manifest.csv", "--recipe", "recipe.yaml", "--encoder", encoder) == 0
    (stored,) = (folder / "features").glob("*/settings.json")
    said = capsys.readouterr().err
    assert "4 of 4 utterances have features of whisper:toy.safetensors (mean, std; states 1, 2), 4 of them new" in said
    assert str(stored.parent.relative_to(folder)) in said
    monkeypatch.setitem(vars(genser.encoders), "encode", None)  # nothing is left to encode
    assert run("train", "manifest.csv", "--recipe", "recipe.yaml", "--encoder", encoder, "-o", "model") == 0
    assert run("train", "manifest.csv", "--recipe", "recipe.yaml", "--encoder.source", "toy.safetensors") == 0


def test_settings_of_the_recipe_can_be_changed(folder, capsys):
    words = ("--recipe", "recipe.yaml", "--encoder", "toy.safetensors", "--encoder.pooling.states=2")
    run("features", "manifest.csv", *words)
    assert "states 2)" in capsys.readouterr().err


def test_filter_banks_are_never_pooled_otherwise(folder, capsys):
    assert run("features", "manifest.csv", "--recipe", "recipe.yaml", "--encoder", "fbank") == 0
    assert "features of fbank (mean; states all), 4 of them new" in capsys.readouterr().err
