"""Altered copies of clips: drawn from the sound alone, stored apart, and shown to training rows only."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

import genser.encoders
from genser.audio.augment import Augmentation, AugmentedCopy
from genser.data.features import compute_features, extract_features, open_store
from genser.data.utterance import Utterance
from genser.errors import ConfigError
from genser.model import TransportHead
from genser.training import OptimizerConfig, TrainConfig, TrainingData, load_recipe, train
from genser.training.batches import draw_features
from genser.training.data import Dataset, build_dataset, divide
from genser.training.recipe import NetworkConfig
from genser.transport import Objective

LOUDER = Augmentation(speed=(1, 1), gain=(3, 9), noise_chance=0, tilt=0)


class FakeEncoder:
    name, fingerprint, states, dim, device = "fake", "fake-1", 2, 8, "cpu"


def loudness(encoder, waveforms, *, batch_seconds, bf16):
    """Stands for genser.encoders.encode: the root mean square of every clip, everywhere."""
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


def test_a_copy_follows_from_seed_number_and_sound_alone():
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


def test_the_clip_itself_is_no_view():
    with pytest.raises(ConfigError, match="numbered from 1"):
        AugmentedCopy(number=0)


def test_altered_features_are_stored_apart_and_do_not_depend_on_order(tmp_path, encode):
    items, stores = clips(tmp_path), {}
    views = (None, AugmentedCopy(LOUDER, 1), AugmentedCopy(LOUDER, 2))
    features = {}
    for view in views:
        stores[view] = open_store(tmp_path / "store", FakeEncoder(), view=view)
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
        items[::-1], FakeEncoder(), open_store(tmp_path / "other", FakeEncoder(), view=views[1])
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


def test_only_what_is_learned_from_needs_copies(tmp_path, encode):
    items = clips(tmp_path)
    whole = build_dataset(items, FakeEncoder(), tmp_path / "store", augmented_copies=2, augmentation=LOUDER)
    part = build_dataset(
        items, FakeEncoder(), tmp_path / "other", augmented_copies=2, augmentation=LOUDER, copied=items[1:4]
    )
    np.testing.assert_array_equal(part.augmented[1:4], whole.augmented[1:4])
    for place in (0, 4, 5):
        np.testing.assert_array_equal(part.augmented[place], np.stack([whole.features[place]] * 2))


def test_a_copy_that_fails_is_the_clip_itself_and_is_told(tmp_path, encode, monkeypatch):
    def refusing(encoder, waveforms, **options):
        if any(np.abs(waveform).max() > 0.22 for waveform in waveforms):
            raise RuntimeError("too loud")
        return loudness(encoder, waveforms, **options)

    items = clips(tmp_path)
    monkeypatch.setitem(vars(genser.encoders), "encode", refusing)
    dataset = build_dataset(items, FakeEncoder(), tmp_path / "store", augmented_copies=1, augmentation=LOUDER)
    assert len(dataset.utterances) == 6
    assert dataset.problems
    for problem in dataset.problems:
        assert "altered copy 1: RuntimeError: too loud" in str(problem)
        np.testing.assert_array_equal(dataset.augmented[problem.row, 0], dataset.features[problem.row])


def dataset(copies=2):
    features = np.zeros((8, 2, 8), np.float32)
    views = np.broadcast_to(np.arange(1, copies + 1, dtype=np.float32)[None, :, None, None], (8, copies, 2, 8))
    items = [Utterance(f"{n}.wav", label="ab"[n % 2], speaker=str(n // 2)) for n in range(8)]
    return Dataset(tuple(items), features, ("a", "b"), (), 0, views.copy())


def test_validation_is_never_altered():
    config = TrainConfig(augmented_copies=2, validation=0.25)
    data, held_out = divide(dataset(), config)
    assert held_out.views is None
    assert data.augmented.shape == (6, 2, 2, 8)


def test_a_recipe_that_wants_more_copies_than_there_are_is_refused():
    with pytest.raises(ConfigError, match="wants 3 altered copies of every clip; the features have 2"):
        dataset().training_rows(np.arange(8), TrainConfig(augmented_copies=3))
    with pytest.raises(ConfigError, match="have 0"):
        replace(dataset(), views=None).training_rows(np.arange(8), TrainConfig(augmented_copies=1))


def test_copies_are_drawn_with_their_share_and_all_alike():
    data = dataset(3).training_rows(np.arange(8), TrainConfig(augmented_copies=3, augmented_share=0.6))
    drawn = torch.cat([draw_features(data, torch.arange(8), step, 4)[:, 0, 0] for step in range(1000)])
    shares = np.bincount(drawn.long().numpy(), minlength=4) / len(drawn)
    np.testing.assert_allclose(shares, [0.4, 0.2, 0.2, 0.2], atol=0.02)
    assert torch.equal(draw_features(data, torch.arange(8), 7, 4), draw_features(data, torch.arange(8), 7, 4))
    assert (data.features == 0).all(), "drawing leaves the rows alone"


def test_copies_of_another_shape_are_refused():
    with pytest.raises(ConfigError, match="copies of shape"):
        TrainingData(torch.zeros(4, 2, 8), torch.arange(4) % 2, views=torch.zeros(3, 1, 2, 8))


@pytest.mark.parametrize(("key", "value"), [("views", -1), ("augmented_share", 1.5), ("augmentation.tilt", 2)])
def test_impossible_settings_are_refused(key, value):
    with pytest.raises(ConfigError):
        load_recipe("small", {key: value})


def problem():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    features = torch.randn(60, 3, 16, generator=generator)
    features[torch.arange(60), :, labels] += 2.5
    views = features[:, None] + torch.randn(60, 2, 3, 16, generator=generator)
    return features, labels, views


def trained(data, folder=None, on_step=None, **changes):
    config = TrainConfig(
        network=NetworkConfig(depth=1, heads=2, dropout=0.1),
        objective=Objective(mixup=0.5, noise=0.1),
        optimizer=OptimizerConfig(lr=3e-3, ema=0.9),
        batch_size=32,
        steps=20,
        checkpoint_every=5,
        **changes,
    )
    torch.manual_seed(11)
    head = TransportHead(config.head(("a", "b", "c"), states=3, dim=16))
    train(head, data, config, folder=folder, on_step=on_step)
    return torch.cat([parameter.detach().flatten() for parameter in head.parameters()])


def test_copies_change_what_is_learned_but_a_share_of_none_does_not():
    features, labels, views = problem()
    clean = trained(TrainingData(features, labels))
    # close, not equal: the scale is fitted to rows and copies by weight, and sums in another order
    unused = trained(TrainingData(features, labels, views=views, augmented_share=0.0))
    torch.testing.assert_close(unused, clean, atol=1e-3, rtol=0)
    used = trained(TrainingData(features, labels, views=views, augmented_share=0.5))
    assert (used - clean).abs().max() > 1e-2


def test_a_killed_and_resumed_run_with_copies_equals_an_uninterrupted_one(tmp_path):
    features, labels, views = problem()
    data = TrainingData(features, labels, views=views, augmented_share=0.5)

    def kill(step, metrics):
        if step == 12:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        trained(data, tmp_path, kill)
    assert torch.equal(trained(data, tmp_path), trained(data))
