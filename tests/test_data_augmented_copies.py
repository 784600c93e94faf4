"""Augmented copies of clips: drawn from the audio alone and stored apart from clean clips."""

import numpy as np
import pytest
import soundfile

import genser.encoders
from genser.audio.augment import Augmentation, AugmentedCopy
from genser.data.features import compute_features, extract_features, open_store
from genser.data.utterance import Utterance
from genser.errors import ConfigError
from genser.training.data import build_dataset

LOUDER = Augmentation(speed=(1, 1), gain=(3, 9), noise_chance=0, tilt=0)


class FakeEncoder:
    name, fingerprint, states, dim, device = "fake", "fake-1", 2, 8, "cpu"


def loudness(encoder, waveforms, *, batch_seconds, bf16):
    """Replaces genser.encoders.encode: gives the root mean square of every clip."""
    levels = [np.sqrt(np.mean(np.square(waveform))) for waveform in waveforms]
    return np.stack([np.full((encoder.states, encoder.dim), level, np.float32) for level in levels])


@pytest.fixture
def encode(monkeypatch):
    monkeypatch.setitem(vars(genser.encoders), "encode", loudness)


def clips(folder, count=6):
    rng = np.random.default_rng(0)
    items = []
    for number in range(count):
        path = folder / f"{number}.wav"
        soundfile.write(path, 0.05 * rng.standard_normal(2000), 16_000)
        items.append(Utterance(str(path), label=["calm", "cross"][number % 2], speaker=str(number // 2)))
    return items


def tone():
    return np.sin(np.arange(4000) / 7).astype(np.float32)


def test_a_copy_follows_from_seed_number_and_audio_alone():
    view = AugmentedCopy(number=2, seed=5)
    expected = view(tone(), "sound")
    np.random.default_rng(0).random(10)
    np.testing.assert_array_equal(AugmentedCopy(number=2, seed=5)(tone(), "sound"), expected)
    others = [
        AugmentedCopy(number=1, seed=5),
        AugmentedCopy(number=2, seed=6),
        AugmentedCopy(Augmentation(gain=(-1, 1)), 2, 5),
    ]
    for copy in (*(other(tone(), "sound") for other in others), view(tone(), "another sound")):
        assert copy.shape != expected.shape or not np.allclose(copy, expected)


def test_copies_are_numbered_from_1():
    with pytest.raises(ConfigError, match="numbered from 1"):
        AugmentedCopy(number=0)


def test_augmented_features_are_stored_apart_and_do_not_depend_on_order(tmp_path, encode):
    items, stores = clips(tmp_path), {}
    views = (None, AugmentedCopy(LOUDER, 1), AugmentedCopy(LOUDER, 2))
    features = {}
    for view in views:
        stores[view] = open_store(tmp_path / "store", FakeEncoder(), augmented_copy=view)
        features[view], _ = extract_features(items, FakeEncoder(), stores[view])
    keys = [set(compute_features(items, FakeEncoder(), store).keys) for store in stores.values()]
    assert not keys[0] & keys[1]
    assert not keys[1] & keys[2]
    gains = {view: 20 * np.log10(features[view] / features[None])[:, 0, 0] for view in views[1:]}
    for gain in gains.values():
        assert ((gain > 2.9) & (gain < 9.1)).all()
        assert np.ptp(gain) > 0.5
    assert np.abs(gains[views[1]] - gains[views[2]]).max() > 0.5
    backwards, _ = extract_features(
        items[::-1], FakeEncoder(), open_store(tmp_path / "other", FakeEncoder(), augmented_copy=views[1])
    )
    np.testing.assert_allclose(backwards[::-1], features[views[1]])


def test_a_data_set_has_clean_rows_and_copies(tmp_path, encode):
    items = clips(tmp_path)
    clean = build_dataset(items, FakeEncoder(), tmp_path / "store")
    altered = build_dataset(items, FakeEncoder(), tmp_path / "store", augmented_copies=3, augmentation=LOUDER)
    assert clean.augmented is None
    assert altered.augmented.shape == (6, 3, 2, 8)
    np.testing.assert_array_equal(altered.features, clean.features)
    assert (altered.augmented > 1.3 * altered.features[:, None]).all()


def test_only_what_may_be_trained_on_is_copied(tmp_path, encode):
    items, store = clips(tmp_path), tmp_path / "store"
    options = {"augmented_copies": 2, "augmentation": LOUDER}
    every = build_dataset(items, FakeEncoder(), store, **options)
    some = build_dataset(items, FakeEncoder(), store, is_copied=lambda item: item in items[1:4], **options)
    np.testing.assert_array_equal(some.augmented[1:4], every.augmented[1:4])
    for row in (0, 4, 5):
        assert (some.augmented[row] == some.features[row]).all()
    none = build_dataset(items, FakeEncoder(), store, is_copied=lambda _: False, **options)
    assert (none.augmented == none.features[:, None]).all()


def test_a_copy_that_fails_is_replaced_by_the_clip_itself_and_reported(tmp_path, encode, monkeypatch):
    def refusing(encoder, waveforms, **options):
        if any(np.abs(waveform).max() > 0.22 for waveform in waveforms):
            raise RuntimeError("too loud")
        return loudness(encoder, waveforms, **options)

    items = clips(tmp_path)
    monkeypatch.setitem(vars(genser.encoders), "encode", refusing)
    options = {"augmented_copies": 1, "augmentation": LOUDER, "is_copied": lambda item: item != items[0]}
    dataset = build_dataset(items, FakeEncoder(), tmp_path / "store", **options)
    assert len(dataset.utterances) == 6
    assert dataset.problems
    for problem in dataset.problems:
        assert "augmented copy 1: RuntimeError: too loud" in str(problem)
        np.testing.assert_array_equal(dataset.augmented[problem.row, 0], dataset.features[problem.row])
