"""Embeddings by frame: from a model folder and out of an ONNX file, and how they become the pooled ones."""

import sys

import numpy as np
import pytest
import torch
from torch.nn import functional

import genser
from genser.audio import SAMPLE_RATE
from genser.errors import AudioError, ConfigError, MissingExtraError
from genser.inference.recognizer import Recognizer
from genser.inference.torch_backend import TorchBackend


def sound(samples):
    """Noise that becomes softer."""
    noise = np.random.default_rng(0).standard_normal(samples)
    return (0.1 * noise * np.linspace(1, 0.01, samples)).astype(np.float32)


def clip(samples):
    return sound(samples), SAMPLE_RATE


@pytest.mark.parametrize("kind", ["folder", "float32", "int8"])
@pytest.mark.parametrize("samples", [400, 24_100])
def test_the_mean_over_the_frames_is_the_pooled_vector(toys, kind, samples):
    recognizer = genser.load(getattr(toys, kind))
    found, pooled = recognizer.embed_frames(clip(samples)), recognizer.embed([clip(samples)])
    assert found.states.dtype == np.float32
    assert found.states.shape == (samples // 320, 3, 64)
    np.testing.assert_allclose(found.times, np.arange(samples // 320) / 50)
    tolerance = 0.05 if kind == "int8" else 1e-4  # ONNX Runtime and torch round to eight bits at other places
    np.testing.assert_allclose(found.states.mean(0), pooled[0], atol=tolerance)


def test_a_long_clip_has_the_frames_of_its_windows(toys):
    recognizer = genser.load(toys.folder)
    found = recognizer.embed_frames(clip(33 * SAMPLE_RATE))
    np.testing.assert_allclose(found.times, np.arange(33 * 50) / 50)
    second = recognizer.embed_frames((sound(33 * SAMPLE_RATE)[160_000:320_000], SAMPLE_RATE))
    np.testing.assert_allclose(found.states[500:1000], second.states, atol=1e-4)


@pytest.mark.parametrize("name", ["tiny", "base"])
def test_the_bundled_models_give_their_frames(name):
    recognizer = genser.load(name)
    found, pooled = recognizer.embed_frames(clip(32_000)), recognizer.embed([clip(32_000)])[0]
    assert found.states.shape == (100, 2, pooled.shape[-1])
    for state in range(2):
        plain = functional.layer_norm(torch.from_numpy(found.states[:50, state].mean(0)), pooled.shape[-1:])
        similar = [np.corrcoef(plain, pooled[statistic * 2 + state])[0, 1] for statistic in range(2)]
        assert min(similar) > 0.95


def test_what_has_no_frames_is_refused(toys, monkeypatch):
    recognizer = genser.load(toys.float32)
    with pytest.raises(AudioError, match="missing"):
        recognizer.embed_frames("missing.wav")
    with pytest.raises(ConfigError, match="one channel"):
        recognizer.embed_frames(clip(8000), channel="each")
    single = TorchBackend(dict, {"labels": ["a", "b"]}, "cpu", frames=lambda *_: torch.zeros(1, 1, 1, 4))
    with pytest.raises(ConfigError, match="no frames of a fixed length"):
        Recognizer(single).embed_frames(clip(8000))
    monkeypatch.delitem(sys.modules, "genser.inference.torch_backend")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"Embedding by frame needs the extra \[train\]"):
        recognizer.embed_frames(clip(8000))
