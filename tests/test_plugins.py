"""Encoders and heads of other packages, which entry points name."""

import sys

import numpy as np
import pytest
import torch

from genser.encoders import KINDS, EncoderConfig, encode, load_encoder, named_encoder
from genser.errors import ConfigError
from genser.model import HEADS, EstimatorConfig, HeadConfig, make_head
from genser.model.estimator import NetworkConfig
from genser.training.recipe import TrainConfig

ENTRIES = """
[genser.encoders]
halves = other_package.things:KIND
transport = other_package.broken:KIND
lost = other_package.things:LOST

[genser.heads]
nearest = other_package.things:Nearest
broken = other_package.broken:Head
number = other_package.things:NUMBER
linear = other_package.broken:Head
"""
THINGS = """
import torch
from genser.encoders import EncoderKind
from genser.encoders.base import SpeechEncoder
from genser.model.baselines import Classifier

KIND, LOST, NUMBER = EncoderKind("other_package.things"), EncoderKind("other_package.nowhere"), 7

class Halves(SpeechEncoder):
    name, dim, states, hop = "halves", 4, 2, 2
    settings = {"kind": "halves"}

    def frame_states(self, waveforms, lengths):
        pairs = waveforms[:, : waveforms.shape[1] // 2 * 2].unflatten(1, (-1, 2))
        mask = torch.arange(pairs.shape[1]) < (lengths // 2)[:, None]
        return [pairs.repeat(1, 1, 2), pairs.abs().repeat(1, 1, 2)], mask

def load(source=None, revision=None):
    return Halves()

class Nearest(Classifier):
    def __init__(self, config):
        super().__init__(config)
        self.points = torch.nn.Parameter(torch.randn(len(config.labels), config.estimator.dim))

    def logits(self, states):
        return -torch.cdist(states[:, -1], self.points)
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package that offers things, some of which cannot be used."""
    (tmp_path / "other_package").mkdir()
    (tmp_path / "other_package/__init__.py").touch()
    (tmp_path / "other_package/things.py").write_text(THINGS)
    (tmp_path / "other_package/broken.py").write_text("import a_package_that_is_missing")
    info = tmp_path / "other_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    monkeypatch.syspath_prepend(tmp_path)
    before = dict(KINDS.items()), dict(HEADS.items())
    yield
    for registry, own in zip((KINDS, HEADS), before, strict=True):
        for name in registry.keys() - own:
            del registry[name]
    for name in [name for name in sys.modules if name.startswith("other_package")]:
        del sys.modules[name]


def test_a_package_offers_an_encoder_and_a_head(package):
    assert {"halves", "hubert"} <= set(KINDS)
    assert "nearest" in HEADS
    assert "nearest" in ", ".join(HEADS)
    assert not any(name.startswith("other_package") for name in sys.modules), "a list of names imports nothing"
    encoder = load_encoder(named_encoder("halves"))
    features = encode(encoder, [np.full(1600, level, np.float32) for level in (-0.5, 0.5)])
    np.testing.assert_allclose(features[:, :, 0], [[-0.5, 0.5], [0.5, 0.5]])
    recipe = TrainConfig(EncoderConfig("halves"), head="nearest", network=NetworkConfig(heads=2))
    head = make_head(recipe.head_config(("low", "high"), encoder.states, encoder.dim))
    assert type(head).__name__ == "Nearest"
    head.fit(torch.from_numpy(features), torch.tensor([0, 1]))
    assert torch.allclose(head(torch.from_numpy(features)).sum(1), torch.ones(2))


def config_of(kind):
    return HeadConfig(("sad", "merry"), EstimatorConfig(dim=8, conditions=1, heads=2), kind=kind)


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (
            lambda: make_head(config_of("broken")),
            "The package other-package offers 'broken'.*a_package_that_is_missing",
        ),
        (lambda: make_head(config_of("number")), "other-package offers 'number'.*things:NUMBER is no Head"),
        (lambda: make_head(config_of("nowhere")), "no head 'nowhere': use one of .*nearest"),
        (lambda: load_encoder(EncoderConfig("transport")), "other-package offers 'transport'.*Update or remove"),
        (lambda: load_encoder(EncoderConfig("lost")), "'lost' needs other_package.nowhere, which cannot be imported"),
    ],
)
def test_what_cannot_be_used_is_named_when_it_is_asked_for(package, use, words):
    with pytest.raises(ConfigError, match=words):
        use()


def test_a_name_of_genser_is_not_replaced(package):
    assert type(make_head(config_of("linear"))).__name__ == "LinearHead"
