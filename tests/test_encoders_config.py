"""The registry of encoders, and how an encoder is named: kind:source, or a source alone."""

import json
import sys
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file
from toys import toy_folder, toy_weights

from genser.encoders import KINDS, EncoderConfig, EncoderKind, Pooling, SpeechEncoder, load_encoder, named_encoder
from genser.encoders.checkpoint import find_folder
from genser.errors import ConfigError, ModelError
from genser.export.quantize import SPARED
from genser.model.folder import load_model, load_speech_model, save_model
from genser.training.recipe import TrainConfig

POOLING = Pooling(("mean", "std"), (1, 2))


class Toy(SpeechEncoder):
    name, dim, states = "toy", 64, 3

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    @property
    def settings(self):
        return {"kind": "toy"}

    def frame_states(self, waveforms, lengths):
        frames = waveforms[:, : waveforms.shape[1] // 320 * 320].unflatten(1, (-1, 320)).mean(2)
        state = frames[:, :, None].expand(-1, -1, self.dim)
        return [state * number * self.weight for number in range(3)], torch.ones_like(frames, dtype=torch.bool)


@pytest.fixture
def toy(monkeypatch):
    """A new kind of encoder: one module and one line."""
    module = ModuleType("toy_encoder")
    module.load = lambda source, revision: Toy()
    monkeypatch.setitem(sys.modules, "toy_encoder", module)
    monkeypatch.setitem(KINDS, "toy", EncoderKind("toy_encoder", ("toy-net",), embeds=True, layers="blocks"))


def checkpoint(folder, model_type):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    return str(folder)


def test_a_new_kind_needs_its_module_and_its_line(toy, tmp_path):
    source = checkpoint(tmp_path / "net", "toy-net")
    config = named_encoder(source, EncoderConfig("whisper", "x", pooling=POOLING))
    assert config == EncoderConfig("toy", source, pooling=POOLING)
    encoder = load_encoder(config)
    assert encoder.states == 4
    folder = load_model(toy_folder(tmp_path / "whisper"))
    save_model(tmp_path / "model", folder.head, config, encoder.fingerprint, embed=encoder)
    assert load_model(tmp_path / "model").encoder.kind == "toy"
    assert TrainConfig(encoder=config, adaptation=replace(TrainConfig().adaptation, rank=2)).adaptation.rank == 2
    with pytest.raises(ConfigError, match="needs a source"):
        EncoderConfig("toy")


def test_kinds_without_the_ability_are_refused():
    with pytest.raises(ConfigError, match="adapted encoder of kind 'fbank'"):
        TrainConfig(encoder=EncoderConfig("fbank"), adaptation=replace(TrainConfig().adaptation, rank=2))


@pytest.mark.parametrize(
    ("name", "kind", "source"),
    [
        ("hubert", "hubert", KINDS["hubert"].default),
        ("hubert:a/b", "hubert", "a/b"),
        ("whisper:c:/d.safetensors", "whisper", "c:/d.safetensors"),
        ("fbank", "fbank", None),
    ],
)
def test_names_with_a_kind(name, kind, source):
    config = named_encoder(name, EncoderConfig("whisper", "x", "1", POOLING), "2" if source else None)
    pooling = POOLING if kind != "fbank" else Pooling()
    assert config == EncoderConfig(kind, source, "2" if source else None, pooling)


def test_the_kind_of_a_source_alone_is_read_from_it(tmp_path):
    file = toy_weights(tmp_path / "w.safetensors").source
    assert named_encoder(file) == EncoderConfig("whisper", file)
    for model_type in ("hubert", "wavlm", "whisper"):
        source = checkpoint(tmp_path / model_type, model_type)
        assert named_encoder(source).kind == ("whisper" if model_type == "whisper" else "hubert")


def test_sources_of_no_known_kind_are_reported(tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "a.safetensors")
    (tmp_path / "b.safetensors").write_bytes(b"\xff" * 20)
    deep = b"[" * 100_000
    (tmp_path / "c.safetensors").write_bytes(len(deep).to_bytes(8, "little") + deep)
    for name, header in {"d": b"5", "e": b"[1]", "f": b"null", "g": b'"conv1.weight"'}.items():
        (tmp_path / f"{name}.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    for name in "abcdefg":
        with pytest.raises(ConfigError, match=r"of no known encoder.*KIND:"):
            named_encoder(str(tmp_path / f"{name}.safetensors"))
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "config.json").write_bytes(deep)
    with pytest.raises(ModelError, match=r"config.json cannot be read"):
        named_encoder(str(tmp_path / "deep"))
    with pytest.raises(ConfigError, match=r"a 'bert' model.*hubert"):
        named_encoder(checkpoint(tmp_path / "bert", "bert"))
    with pytest.raises(ModelError, match="no folder"):
        named_encoder(str(tmp_path / "none" / "such"))
    for name in ("~no such user/x/y", "whisper:" + "d/" * 3000 + "x"):
        with pytest.raises(ModelError, match="no folder"):
            load_encoder(named_encoder(name))
    with pytest.raises(ConfigError, match="Unknown kind of encoder 'wisper'"):
        named_encoder("wisper:a/b")
    with pytest.raises(ConfigError, match="needs a source"):
        named_encoder("whisper")


def test_a_model_with_a_pooling_finds_its_moved_encoder_by_name(tmp_path):
    folder = toy_folder(tmp_path / "model", pooling=Pooling(("mean",), (1, 2)))
    moved = tmp_path / "moved.safetensors"
    (tmp_path / "model-encoder.safetensors").rename(moved)
    model = load_model(folder)
    with pytest.raises(ModelError, match="--encoder"):
        load_speech_model(model)
    for name in (f"whisper:{moved}", str(moved)):
        assert load_speech_model(model, name).encoder.pooling == Pooling(("mean",), (1, 2))


@pytest.mark.parametrize(
    ("name", "spared"),
    [
        ("encoder.layers.0.self_attn.q_proj", True),
        ("encoder.model.layers.1.attention.k_proj", True),
        ("encoder.layers.1.fc2", True),
        ("encoder.layers.1.feed_forward.output_dense", True),
        ("encoder.layers.2.self_attn.q_proj", False),
        ("encoder.layers.2.fc2", False),
        ("encoder.layers.10.self_attn.q_proj", False),
    ],
)
def test_the_8_bit_export_knows_the_module_names_of_all_kinds(name, spared):
    assert bool(SPARED.search(name)) is spared


@pytest.mark.parametrize(
    ("source", "asked"),
    [
        ("owner/name", ("owner/name", None)),
        ("owner/name@refs/pr/1", ("owner/name", "refs/pr/1")),
        ("owner/name@0123abc", ("owner/name", "0123abc")),
    ],
)
def test_a_hub_id_may_name_its_revision(monkeypatch, tmp_path, source, asked):
    found = []
    monkeypatch.setattr("genser.encoders.checkpoint.download", lambda *given: found.append(given[:2]) or tmp_path)
    assert find_folder(source) == tmp_path
    assert found == [asked]
    (tmp_path / "a@b").mkdir()
    assert find_folder(str(tmp_path / "a@b")) == tmp_path / "a@b", "a folder is a folder"
