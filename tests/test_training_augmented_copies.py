"""Augmented copies in training: which rows are learned from, how often, and that a resumed run is the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from genser.data.utterance import Utterance
from genser.errors import ConfigError
from genser.model import TransportHead
from genser.model.estimator import NetworkConfig
from genser.training import OptimizerConfig, TrainConfig, TrainingData, load_recipe, train
from genser.training.batches import draw_features
from genser.training.data import Dataset, sides
from genser.transport import Objective


def dataset(copies=2):
    features = np.zeros((8, 2, 8), np.float32)
    views = np.broadcast_to(np.arange(1, copies + 1, dtype=np.float32)[None, :, None, None], (8, copies, 2, 8))
    items = [Utterance(f"{n}.wav", label="ab"[n % 2], speaker=str(n // 2)) for n in range(8)]
    return Dataset(tuple(items), features, ("a", "b"), (), 0, views.copy())


def test_validation_rows_have_no_copies():
    config = TrainConfig(augmented_copies=2, validation=0.25)
    train_rows, held_out_rows = sides(dataset().utterances, config)
    data, held_out = dataset().training_rows(train_rows, config), dataset().rows(held_out_rows)
    assert held_out.augmented is None
    assert data.augmented.shape == (6, 2, 2, 8)


def test_a_recipe_that_wants_more_copies_than_there_are_is_refused():
    with pytest.raises(ConfigError, match="asks for 3 augmented copies of every clip, the features have 2"):
        dataset().training_rows(np.arange(8), TrainConfig(augmented_copies=3))
    with pytest.raises(ConfigError, match="have 0"):
        replace(dataset(), augmented=None).training_rows(np.arange(8), TrainConfig(augmented_copies=1))


def test_copies_are_drawn_with_their_share_and_equally_often():
    data = dataset(3).training_rows(np.arange(8), TrainConfig(augmented_copies=3, augmented_share=0.6))
    drawn = torch.cat([draw_features(data, torch.arange(8), step, 4)[:, 0, 0] for step in range(1000)])
    shares = np.bincount(drawn.long().numpy(), minlength=4) / len(drawn)
    np.testing.assert_allclose(shares, [0.4, 0.2, 0.2, 0.2], atol=0.02)
    assert torch.equal(draw_features(data, torch.arange(8), 7, 4), draw_features(data, torch.arange(8), 7, 4))
    assert (data.features == 0).all(), "drawing does not change the rows"


def test_copies_of_another_shape_are_refused():
    with pytest.raises(ConfigError, match="copies of shape"):
        TrainingData(torch.zeros(4, 2, 8), torch.arange(4) % 2, augmented=torch.zeros(3, 1, 2, 8))


@pytest.mark.parametrize(
    ("key", "value"), [("augmented_copies", -1), ("augmented_share", 1.5), ("augmentation.tilt", 2)]
)
def test_impossible_augmentation_settings_are_refused(key, value):
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
    head = TransportHead(config.head_config(("a", "b", "c"), states=3, dim=16))
    train(head, data, config, folder=folder, on_step=on_step)
    return torch.cat([parameter.detach().flatten() for parameter in head.parameters()])


def test_copies_change_what_is_learned_but_a_share_of_none_does_not():
    features, labels, views = problem()
    clean = trained(TrainingData(features, labels))
    # close, not equal: the scale is fitted to rows and copies by weight, and sums in another order
    unused = trained(TrainingData(features, labels, augmented=views, augmented_share=0.0))
    torch.testing.assert_close(unused, clean, atol=1e-3, rtol=0)
    used = trained(TrainingData(features, labels, augmented=views, augmented_share=0.5))
    assert (used - clean).abs().max() > 1e-2


def test_a_killed_and_resumed_run_with_copies_equals_an_uninterrupted_one(tmp_path):
    features, labels, views = problem()
    data = TrainingData(features, labels, augmented=views, augmented_share=0.5)

    def kill(step, metrics):
        if step == 12:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        trained(data, tmp_path, kill)
    assert torch.equal(trained(data, tmp_path), trained(data))
