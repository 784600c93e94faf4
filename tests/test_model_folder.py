import hashlib
import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from toys import LABELS, toy_folder, toy_gate, toy_head, toy_weights

from genser.encoders import EncoderConfig, Pooling, load_encoder
from genser.errors import ModelError
from genser.model.folder import load_model, load_speech_model, save_model
from genser.transport import Sampler

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return toy_folder(tmp_path_factory.mktemp("models") / "toy", gated=True)


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "copy")


def test_a_saved_model_is_loaded(tmp_path):
    config = toy_weights(tmp_path / "encoder.weights.safetensors")
    encoder, head = load_encoder(config), toy_head(sampler=Sampler(3, "bridge"), exponent=1.5)
    gate = toy_gate(encoder, 0.3)
    save_model(tmp_path / "a", head, config, encoder.fingerprint, {"speakers": 4}, license="terms", gate=gate)
    model = load_model(tmp_path / "a")
    assert model.head.config == head.config
    assert model.head.config.labels == LABELS
    assert (model.info, model.license, model.fingerprint) == ({"speakers": 4}, "terms", encoder.fingerprint)
    features = torch.randn(4, 3, 64)
    torch.testing.assert_close(model.head(features), head(features), rtol=0, atol=0)
    torch.testing.assert_close(model.gate(features), gate(features), rtol=0, atol=0)
    assert model.gate.threshold == 0.3
    assert not model.head.training


def test_a_head_for_the_gender_is_kept(tmp_path):
    folder = toy_folder(tmp_path / "toy", gendered="flat")
    model = load_model(folder)
    wanted = toy_head(("female", "male"), 3, 1, kind="flat")
    features = torch.randn(4, 3, 64)
    torch.testing.assert_close(model.gender(features), wanted(features), rtol=0, atol=0)
    assert model.description["genders"] == ["female", "male"]
    (folder / "gender.safetensors").unlink()
    with pytest.raises(ModelError, match=r"gender\.safetensors is missing"):
        load_model(folder)


def test_a_model_takes_the_place_of_one_with_more_parts(tmp_path):
    folder = toy_folder(tmp_path / "toy", gated=True, gendered="flat")
    assert load_model(folder).gate is not None
    model = load_model(toy_folder(tmp_path / "toy"))
    assert (model.gate, model.gender) == (None, None)


def test_loading_leaves_the_global_randomness_alone(made):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    load_model(made)
    assert torch.equal(torch.rand(4), expected)


def test_only_safetensors_and_json_are_written(made):
    assert sorted(path.name for path in made.iterdir()) == ["config.json", "gate.safetensors", "head.safetensors"]


def test_a_relative_encoder_is_found_from_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toy_weights(tmp_path / "w.safetensors")
    config = EncoderConfig("whisper", "w.safetensors")
    save_model(tmp_path / "m", toy_head(), config, load_encoder(config).fingerprint)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_speech_model(load_model(tmp_path / "m")).encoder.dim == 64


@pytest.mark.parametrize("pooling", [Pooling(), Pooling(("speech-mean", "std"), (0, 1), level=True)])
def test_an_embedded_encoder_needs_nothing_else(tmp_path, pooling):
    source = toy_weights(tmp_path / "w.safetensors").source
    config = EncoderConfig("whisper", source, pooling=pooling)
    encoder = load_encoder(config)
    save_model(tmp_path / "m", toy_head(states=encoder.states), config, encoder.fingerprint, embed=encoder)
    (tmp_path / "w.safetensors").unlink()
    moved = shutil.move(tmp_path / "m", tmp_path / "moved")
    assert load_speech_model(load_model(moved)).encoder.fingerprint == encoder.fingerprint


def test_a_lost_encoder_is_named_with_the_cure(made, folder, tmp_path):
    model = load_model(folder)
    lost = EncoderConfig("whisper", str(tmp_path / "lost.safetensors"))
    with pytest.raises(ModelError, match=r"lost\.safetensors.*name its present path"):
        load_speech_model(model, lost)


def test_another_encoder_is_refused(folder, tmp_path):
    other = toy_weights(tmp_path / "other.safetensors", seed=5)
    with pytest.raises(ModelError, match="trained on another encoder"):
        load_speech_model(load_model(folder), other)


@pytest.mark.parametrize("name", ["config.json", "head.safetensors", "gate.safetensors"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(ModelError, match=name):
        load_model(folder)


@pytest.mark.parametrize("name", ["head.safetensors", "gate.safetensors"])
def test_an_altered_file_is_named(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match=f"{name} was changed"):
        load_model(folder)


def test_an_altered_configuration_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    config["labels"][0] = "joy"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"config\.json was changed"):
        load_model(folder)


@pytest.mark.parametrize("name", ["encoder.safetensors", "pytorch_model.bin", "weights.pt"])
def test_a_file_that_does_not_belong_is_refused(folder, name):
    (folder / name).write_bytes(pickle.dumps("anything"))
    with pytest.raises(ModelError, match=f"{name} does not belong"):
        load_model(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", ["config.json", "head.safetensors", "gate.safetensors"])
def test_a_link_is_followed_to_a_file_of_the_recorded_checksum_only(folder, tmp_path, name):
    original, target = folder / name, tmp_path / "elsewhere"
    original.rename(target)
    original.symlink_to(target)
    load_model(folder)
    target.write_bytes(target.read_bytes()[:-1] + b"!")
    with pytest.raises(ModelError, match=name):
        load_model(folder)
    os.mkfifo(tmp_path / "fifo")
    for endless in ("/dev/zero", tmp_path / "fifo"):
        original.unlink()
        original.symlink_to(endless)
        with pytest.raises(ModelError, match=name):
            load_model(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"files": {"/dev/zero": ""}},
        {"files": {"head.safetensors": "", "../secret.json": ""}},
        {"files": None},
        {"files": ["head.safetensors"]},
        {"fingerprint": ...},
        {"gate": "gate"},
        {"head": [1]},
        {"encoder": {"kind": []}},
    ],
)
def test_a_hostile_configuration_with_a_right_checksum_is_refused(folder, changes):
    config = json.loads((folder / "config.json").read_text())
    config = {key: value for key, value in (config | changes).items() if value is not ...}
    del config["checksum"]
    checksum = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    (folder / "config.json").write_text(json.dumps({**config, "checksum": checksum}))
    with pytest.raises(ModelError, match=str(folder)):
        load_model(folder)


def test_a_folder_of_pickles_is_no_model(tmp_path):
    (tmp_path / "model.pt").write_bytes(pickle.dumps({}))
    with pytest.raises(ModelError, match="not a model folder"):
        load_model(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"model_type": "whisper"}', "\x00\xff", "[" * 100_000])
def test_another_configuration_is_refused(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(ModelError, match=r"config\.json"):
        load_model(tmp_path)


def test_another_format_names_both_versions(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "format": 99, "genser": "7.1"}))
    with pytest.raises(ModelError, match=r"written by genser 7\.1 in format 99\. This is genser"):
        load_model(folder)


def test_a_killed_save_leaves_nothing_that_loads(tmp_path, made, monkeypatch):
    folder = shutil.copytree(made, tmp_path / "m")
    model = load_model(folder)
    monkeypatch.setattr("genser.model.folder.json.dumps", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        save_model(folder, model.head, model.encoder, model.fingerprint)
    monkeypatch.undo()
    with pytest.raises(ModelError, match="not a model folder"):
        load_model(folder)


FORMAT_1 = Path(__file__).parent / "format_1"
"""A folder written by genser 0.1: ensemble, components, ridge prior, in-domain score and gate, with their outputs."""


def test_a_folder_of_format_1_gives_the_same_outputs():
    model = load_model(FORMAT_1)
    features = torch.tensor(model.info["features"])
    with torch.no_grad():
        found = {
            "scores": model.head(features),
            "familiar": model.head.in_domain_score(features),
            "speech": model.gate(features),
        }
    for name, values in found.items():
        torch.testing.assert_close(values, torch.tensor(model.info[name]), atol=1e-6, rtol=1e-6)
    config = model.head.config
    assert (config.exponent, config.out_of_domain_exponent, config.in_domain_components) == (2.0, 0.7, 4)
    assert (config.ridge_prior, config.estimator.ensemble, config.feature_transform.components) == (1.0, 2, 8)
    assert config.kind == "transport"
    assert model.gate.threshold == 0.4


@pytest.mark.parametrize(("setting", "value"), [("code", "one-hot"), ("floor", 0.1), ("state", "given")])
def test_a_setting_of_format_1_that_is_gone_is_named(tmp_path, setting, value):
    folder = shutil.copytree(FORMAT_1, tmp_path / "old")
    config = json.loads((folder / "config.json").read_text())
    config["head"][setting] = value
    del config["checksum"]
    config["checksum"] = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=f"{setting} '?{value}"):
        load_model(folder)
