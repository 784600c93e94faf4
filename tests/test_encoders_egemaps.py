"""eGeMAPS: with openSMILE where it is installed, which its licence forbids some to do, and always with a stand-in."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas
import pytest
from toys import toy_head

from genser.encoders import EncoderConfig, encode, load_encoder, named_encoder
from genser.errors import ConfigError, GenserError
from genser.export.onnx import export_onnx
from genser.model.folder import load_model, load_speech_model, save_model
from genser.training.recipe import load_recipe


class Smile:
    """What is used of opensmile.Smile: a table with one row of 88 columns."""

    def __init__(self, feature_set, feature_level):
        assert (feature_set, feature_level) == ("eGeMAPSv02", "func")

    def process_signal(self, signal, sampling_rate):
        assert (signal.ndim, signal.dtype, sampling_rate) == (1, np.float32, 16_000)
        values = np.r_[len(signal), signal.mean(), signal.std(), np.zeros(85)]
        return pandas.DataFrame(values[None], columns=[f"feature {n}" for n in range(88)])


@pytest.fixture(params=["stand-in", "opensmile"])
def opensmile(request, monkeypatch):
    if request.param == "opensmile":
        return pytest.importorskip("opensmile")
    module = ModuleType("opensmile")
    module.__version__, module.Smile = "9.9", Smile
    module.FeatureSet = SimpleNamespace(eGeMAPSv02="eGeMAPSv02")
    module.FeatureLevel = SimpleNamespace(Functionals="func")
    monkeypatch.setitem(sys.modules, "opensmile", module)
    return module


def hum(length):
    time = np.arange(length) / 16_000
    return (0.3 * np.sin(2 * np.pi * 180 * time) * (1 + 0.4 * np.sin(9 * time))).astype(np.float32)


def test_a_batch_has_the_functionals_of_every_clip(opensmile, caplog):
    encoder, clips = load_encoder(named_encoder("egemaps")), [hum(length) for length in (16_000, 9000, 20_000)]
    assert "not for products" in caplog.text
    assert encoder.settings["opensmile"] == opensmile.__version__
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    expected = [smile.process_signal(clip, 16_000).to_numpy() for clip in clips]
    np.testing.assert_allclose(encode(encoder, clips), expected, rtol=1e-6)


def test_a_recipe_for_hidden_states_takes_them_and_no_graph_does(opensmile, tmp_path):
    config = load_recipe("small", {}, EncoderConfig("egemaps"))
    encoder = load_encoder(config.encoder)
    assert config.head_config(("a", "b"), encoder.states, encoder.dim).labels == ("a", "b")
    head = toy_head(states=1)
    save_model(tmp_path / "model", head, config.encoder, encoder.fingerprint)
    with pytest.raises(GenserError, match="no ONNX graph can contain"):
        export_onnx(tmp_path / "model", tmp_path / "model.onnx")
    assert load_speech_model(load_model(tmp_path / "model")).encoder.name == "egemaps"


def test_a_missing_opensmile_is_named_with_its_licence(monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(ConfigError, match=r"pip install opensmile.*research, teaching and private use"):
        load_encoder(EncoderConfig("egemaps"))
