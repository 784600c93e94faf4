"""One optimiser step: what it draws, what it changes, and that it can be recorded."""

import numpy as np
import pytest
import torch
from test_training import fresh, problem, recipe

from genser.model.estimator import NetworkConfig
from genser.training import OptimizerConfig, TrainingData, train
from genser.training import batches as batches_module
from genser.training.batches import draw_features, draw_rows, fitting_rows, resident_features, resident_indices
from genser.training.checkpoint import TrainState
from genser.training.cuda_graph import recorded
from genser.training.train import Step, averaging_weight, make_optimizer
from genser.transport import Objective


def with_copies(data, copies=2):
    """The same rows with augmented copies."""
    noise = torch.randn(len(data), copies, *data.features.shape[1:], generator=torch.Generator().manual_seed(3))
    return TrainingData(data.features, data.labels, augmented=data.features[:, None] + noise, augmented_share=0.5)


def made(config, data=None):
    head = fresh(config)
    head.fit((data or problem()).features, (data or problem()).labels)
    state = TrainState(head, [], make_optimizer(head, config.optimizer))
    state.average = [parameter.detach().clone() for parameter in state.parameters]
    return state, Step(state, data or problem(), config)


def test_resident_features_are_those_of_the_drawn_rows():
    data, config = with_copies(problem()), recipe()
    head = fresh(config)
    head.feature_transform.fit(data.features)
    kept = resident_features(head, data, torch.device("cpu"))
    for step in range(5):
        rows = draw_rows(data, 32, step, 7)
        expected = head.feature_transform(draw_features(data, rows, step, 7))
        torch.testing.assert_close(kept[resident_indices(data, rows, step, 7)], expected)


@pytest.mark.parametrize("data", [problem(), with_copies(problem())], ids=["clips", "copies"])
def test_features_that_do_not_fit_are_copied_batch_by_batch_with_the_same_result(data, monkeypatch):
    config = recipe(steps=12, network=NetworkConfig(depth=1, heads=2, dropout=0.1, ensemble=2))
    resident, copied = fresh(config), fresh(config)
    expected = train(resident, data, config, problem(seed=1))
    monkeypatch.setattr(batches_module, "SMALL", 0)
    result = train(copied, data, config, problem(seed=1))
    np.testing.assert_allclose([row["loss"] for row in result.history], [row["loss"] for row in expected.history])
    for theirs, ours in zip(resident.parameters(), copied.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_parameters_without_a_gradient_have_no_moments_and_stay():
    """Over one token a softmax is 1, so queries and keys have no gradient."""
    state, step = made(recipe())
    before = {name: parameter.detach().clone() for name, parameter in state.head.named_parameters()}
    dead = {name for name in before if ".query." in name or ".key." in name}
    assert dead
    for _ in range(3):  # in a fresh network, whose blocks are the identity, gradients are partly zero
        step(draw_rows(problem(), 32, 0, 0), 1e-2)
    assert len(state.optimizer.state) == len(before) - len(dead)
    for name, parameter in state.head.named_parameters():
        assert torch.equal(before[name], parameter) == (name in dead), name


def test_the_average_follows_the_weights():
    state, step = made(recipe())
    expected = [average.clone() for average in state.average]
    for number in range(3):
        torch.manual_seed(number)
        step(draw_rows(problem(), 32, number, 0), 1e-2)
        weight = 1 - min(0.9, (1 + number) / (10 + number))
        assert averaging_weight(number, 0.9) == weight
        torch._foreach_lerp_(expected, [parameter.detach() for parameter in state.parameters], weight)
        state.step += 1
        torch.testing.assert_close(state.average, expected)


def test_without_decay_the_average_is_the_weights():
    state, step = made(recipe(optimizer=OptimizerConfig(ema=0.0)))
    step(draw_rows(problem(), 32, 0, 0), 1e-2)
    assert all(map(torch.equal, state.average, state.parameters))


def test_the_gradient_is_clipped():
    """Under clipping, AdamW's first moment is 0.1 times a gradient of at most that norm."""
    for clip, is_clipped in ((1e-3, True), (0.0, False)):
        state, step = made(recipe(optimizer=OptimizerConfig(clip=clip)))
        _, norm = step(draw_rows(problem(), 32, 0, 0), 1e-2)
        moments = [one["exp_avg"].flatten() for one in state.optimizer.state.values()]
        taken = float(torch.cat(moments).norm()) / 0.1
        assert taken == pytest.approx(1e-3 if is_clipped else float(norm), rel=1e-3)


def test_in_bfloat16_the_loss_curve_is_that_of_float32():
    losses = {}
    for precision in ("float32", "bfloat16"):
        config = recipe(steps=40, precision=precision)
        losses[precision] = [row["loss"] for row in train(fresh(config), problem(), config).history]
    assert losses["bfloat16"] != losses["float32"]
    np.testing.assert_allclose(losses["bfloat16"], losses["float32"], rtol=0.02)


@pytest.mark.parametrize("weights", [None, torch.arange(1, 91).double()])
def test_what_needs_no_gradient_is_fitted_to_rows_as_often_as_they_are_drawn(weights):
    data = with_copies(problem())
    data = TrainingData(data.features, data.labels, weights, data.augmented, 0.3)
    features, labels, found = fitting_rows(data)
    each = torch.ones(90).double() if weights is None else weights
    assert features.shape[0] == labels.shape[0] == found.shape[0] == 90 + 180
    torch.testing.assert_close(features[:90], data.features)
    torch.testing.assert_close(features[90:], data.augmented.flatten(0, 1))
    torch.testing.assert_close(labels[90:], data.labels.repeat_interleave(2))
    torch.testing.assert_close(found[:90], 0.7 * each)
    torch.testing.assert_close(found[90:].view(90, 2), (0.15 * each)[:, None].expand(-1, 2))


@pytest.mark.parametrize("objective", [Objective(), Objective(time_power=4, mixup=0.7, noise=0.3)])
def test_what_is_recorded_waits_for_nothing_from_the_device(objective, monkeypatch):
    """Reading a number off the device would break a recording."""
    _, step = made(recipe(objective=objective))
    reads = []
    for name in ("item", "__bool__", "__float__", "__int__", "tolist", "cpu"):
        monkeypatch.setattr(torch.Tensor, name, lambda self, *args, name=name: reads.append(name))
    step.differentiate()
    assert reads == []


def test_without_a_gpu_nothing_is_recorded():
    calls = []
    work = recorded(lambda: calls.append(1), torch.device("cpu"))
    for _ in range(5):
        work()
    assert calls == [1] * 5
