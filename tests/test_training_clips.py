"""Waveforms in memory: the same as decoded, decoded once, and none beyond the limit."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
from toys import toy_weights

from genser.audio import load_audio
from genser.audio.augment import Augmentation, AugmentedCopy
from genser.data.utterance import Utterance
from genser.encoders import encode, load_encoder
from genser.training import clips as module
from genser.training.clips import FULL_SCALE, Clips


@pytest.fixture
def items(tmp_path):
    generator = np.random.default_rng(0)
    for index in range(5):
        soundfile.write(tmp_path / f"{index}.wav", 0.1 * generator.standard_normal(8000 + 1000 * index), 16000)
    return [Utterance(str(tmp_path / f"{index}.wav"), "a") for index in range(5)]


def drawn(clips, draws):
    return [one / FULL_SCALE for batch in clips.batches(draws) for one in batch]


def test_waveforms_are_those_of_the_files_in_the_order_of_the_draws(items):
    draws = [[(items[3], None), (items[0], None)], [(replace(items[4], start=0.1, end=0.3), None)]]
    found = drawn(Clips(), draws)
    expected = [load_audio(items[3].path), load_audio(items[0].path), load_audio(items[4].path, start=0.1, end=0.3)]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=0.51 / FULL_SCALE)


def test_copies_follow_from_the_sound_and_not_from_its_folder(items, tmp_path):
    copy = AugmentedCopy(Augmentation(noise_chance=1.0))
    moved = tmp_path / "moved.wav"
    moved.write_bytes((tmp_path / "1.wav").read_bytes())
    clean, first, second = drawn(Clips(), [[(items[1], None), (items[1], copy), (Utterance(str(moved), "a"), copy)]])
    np.testing.assert_array_equal(first, second)
    assert len(first) != len(clean) or not np.allclose(first, clean)


@pytest.mark.parametrize(("memory", "times"), [(10**6, [1, 1, 1, 1, 1]), (40_000, [1, 1, 2, 2, 2])])
def test_what_fits_into_memory_is_decoded_once(items, monkeypatch, memory, times):
    monkeypatch.setattr(module, "MEMORY", memory)
    count = []
    monkeypatch.setattr(module, "load_audio", lambda path, **part: count.append(path) or load_audio(path, **part))
    monkeypatch.setattr("genser.data.features.decoders", lambda: 2)  # threads, which see the patch
    clips, draws = Clips(), [[(item, None) for item in items]]
    first, second = drawn(clips, draws), drawn(clips, draws)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
    assert [count.count(item.path) for item in items] == times


def test_features_are_those_of_the_encoder(items, tmp_path):
    encoder = load_encoder(toy_weights(tmp_path / "toy.safetensors"))
    found = Clips().features(encoder, [(item, None) for item in items])
    expected = encode(encoder, [load_audio(item.path) for item in items])
    assert found.shape == (5, encoder.states, encoder.dim)
    np.testing.assert_allclose(found, expected, atol=2e-2 * np.abs(expected).max())
