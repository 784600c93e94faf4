"""The step made for CUDA graphs, run unrecorded: it learns what plain steps learn, and resumes as they do."""

import multiprocessing
import os
import socket

import numpy as np
import pytest
import torch
from test_training import Killed, fresh, killed_after, problem, recipe, same

from genser.training import OptimizerConfig, TrainingData, train
from genser.training.adamw import Trained, adamw_
from genser.training.batches import draw_features, draw_rows, resident_features, resident_places
from genser.training.checkpoint import TrainState
from genser.training.cuda_graph import WARM_UP, CapturedStep, _Recorded, captured_step
from genser.training.distributed import ALONE, processes
from genser.training.optimizer import make_optimizer
from genser.training.recipe import NetworkConfig
from genser.transport import Objective

HARD = {
    "optimizer": OptimizerConfig(lr=3e-3, ema=0.9, weight_decay=0.1, clip=0.05),
    "network": NetworkConfig(depth=2, heads=2, width=24, dropout=0.1, ensemble=2),
}


def altered(data, copies=2):
    """The same rows with altered copies."""
    noise = torch.randn(len(data), copies, *data.features.shape[1:], generator=torch.Generator().manual_seed(3))
    return TrainingData(data.features, data.labels, augmented=data.features[:, None] + noise, augmented_share=0.5)


def losses(result):
    return [row["loss"] for row in result.history]


@pytest.mark.parametrize("data", [problem(), altered(problem())], ids=["clips", "copies"])
def test_captured_steps_learn_what_plain_steps_learn(data):
    config = recipe(**HARD)
    plain, captured = fresh(config), fresh(config)
    expected = train(plain, data, config, problem(seed=1), captured=False)
    result = train(captured, data, config, problem(seed=1), captured=True)
    np.testing.assert_allclose(losses(result), losses(expected), rtol=1e-3)
    assert result.best == expected.best
    for theirs, ours in zip(plain.parameters(), captured.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_in_bfloat16_the_loss_curves_agree():
    config = recipe(steps=40, precision="bfloat16")
    runs = [train(fresh(config), problem(), config, captured=captured) for captured in (False, True)]
    exact = train(fresh(recipe(steps=40)), problem(), recipe(steps=40), captured=True)
    np.testing.assert_allclose(losses(runs[1]), losses(runs[0]), rtol=0.02)
    np.testing.assert_allclose(losses(runs[1]), losses(exact), rtol=0.02)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("stop", [9, 25])
def test_a_killed_and_resumed_captured_run_equals_an_uninterrupted_one(tmp_path, stop, precision):
    config = recipe(**HARD, precision=precision, steps=40)
    whole, broken, resumed = fresh(config), fresh(config), fresh(config)
    expected = train(whole, problem(), config, problem(seed=1), captured=True)
    with pytest.raises(Killed):
        train(
            broken,
            problem(),
            config,
            problem(seed=1),
            folder=tmp_path,
            on_step=killed_after(stop),
            captured=True,
        )
    result = train(resumed, problem(), config, problem(seed=1), folder=tmp_path, captured=True)
    assert same(whole, resumed)
    assert result.best == expected.best


def test_a_run_can_go_on_in_the_other_way_of_stepping(tmp_path):
    config = recipe(**HARD, steps=20)
    whole, moved = fresh(config), fresh(config)
    train(whole, problem(), config)
    with pytest.raises(Killed):
        train(fresh(config), problem(), config, folder=tmp_path, on_step=killed_after(12), captured=True)
    train(moved, problem(), config, folder=tmp_path, captured=False)
    for theirs, ours in zip(whole.parameters(), moved.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def made(config, data=None):
    head = fresh(config)
    head.feature_transform.fit((data or problem()).features)
    state = TrainState(head, [], make_optimizer(head, config.optimizer))
    state.average = [parameter.detach().clone() for parameter in state.parameters]
    return state, CapturedStep(state, data or problem(), config, ALONE)


def test_what_no_gradient_reaches_costs_no_moments_and_stays():
    state, step = made(recipe())
    named = {parameter: name for name, parameter in state.head.named_parameters()}
    dead = {name for name in named.values() if ".query." in name or ".key." in name}
    assert {named[one.parameter] for one in step.trained} == set(named.values()) - dead
    before = {name: parameter.clone() for name, parameter in state.head.named_parameters()}
    for _ in range(3):  # in a fresh network, whose blocks are the identity, gradients are partly zero
        step(draw_rows(problem(), 32, 0, 0), 1e-2)
    assert len(state.optimizer.state) == len(step.trained)
    for name, parameter in state.head.named_parameters():
        assert torch.equal(before[name], parameter) == (name in dead), name


def test_matrices_compute_in_bfloat16_and_are_kept_in_float32():
    state, step = made(recipe(precision="bfloat16"))
    assert {one.copy.dtype for one in step.trained if one.parameter.dim() > 1} == {torch.bfloat16}
    assert all(parameter.dtype == torch.float32 for parameter in state.parameters)
    step(draw_rows(problem(), 32, 0, 0), 1e-2)
    for one in step.trained:
        torch.testing.assert_close(one.copy.float(), one.weight, rtol=2**-8, atol=0)


def test_the_average_is_whole_whenever_it_is_looked_at():
    state, step = made(recipe())
    expected = [average.clone() for average in state.average]
    for number in range(3):
        torch.manual_seed(number)
        step(draw_rows(problem(), 32, number, 0), 1e-2)
        weight = 1 - min(0.9, (1 + number) / (10 + number))
        torch._foreach_lerp_(expected, [parameter.detach() for parameter in state.parameters], weight)
        state.step += 1
    for _ in range(2):  # looking twice must not average twice
        step.catch_up()
        torch.testing.assert_close(state.average, expected)
    assert all(float(moments["step"]) == 3 for moments in state.optimizer.state.values())


def test_resident_features_are_those_that_plain_steps_draw():
    data, config = altered(problem()), recipe()
    head = fresh(config)
    head.feature_transform.fit(data.features)
    kept = resident_features(head, data, "float32", torch.device("cpu"))
    for step in range(5):
        rows = draw_rows(data, 32, step, 7)
        expected = head.feature_transform(draw_features(data, rows, step, 7))
        torch.testing.assert_close(kept[resident_places(data, rows, step, 7)], expected)


def test_features_are_rounded_only_after_they_are_standardised():
    features = 300 + torch.randn(200, 3, 16, generator=torch.Generator().manual_seed(0))
    head = fresh(recipe())
    head.feature_transform.fit(features)
    data = TrainingData(features, torch.arange(200) % 3)
    kept = resident_features(head, data, "bfloat16", torch.device("cpu"))
    assert kept.dtype == torch.bfloat16
    torch.testing.assert_close(kept.float(), head.feature_transform(features), rtol=2**-8, atol=2**-8)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("clip", [0.0, 0.5, 1e6])
def test_adamw_is_torchs(decay, clip):
    generator = torch.Generator().manual_seed(0)
    ours = torch.nn.Parameter(torch.randn(5, 4, generator=generator))
    theirs = torch.nn.Parameter(ours.detach().clone())
    optimizer = torch.optim.AdamW([theirs], lr=1e-2, weight_decay=decay)
    moments = {name: torch.zeros_like(ours) for name in ("exp_avg", "exp_avg_sq")}
    trained = [Trained(ours, ours, ours.detach().clone(), moments, decay)]
    for number in range(1, 6):
        gradient = torch.randn(5, 4, generator=generator)
        theirs.grad = gradient.clone()
        norm = torch.nn.utils.clip_grad_norm_([theirs], clip or torch.inf)
        optimizer.step()
        scalars = torch.tensor([1e-2 / (1 - 0.9**number), (1 - 0.999**number) ** 0.5, 1e-2, 0.0])
        torch.testing.assert_close(adamw_(trained, (gradient,), scalars, (0.9, 0.999), 1e-8, clip), norm)
        torch.testing.assert_close(ours, theirs)


def test_without_a_gpu_steps_are_plain_unless_asked():
    config = recipe()
    state, _ = made(config)
    assert captured_step(state, problem(), config, ALONE, None) is None
    assert captured_step(state, problem(), config, ALONE, False) is None
    assert captured_step(state, problem(), config, ALONE, True) is not None


def test_work_is_recorded_after_its_warm_up_and_then_replayed(monkeypatch):
    calls = []
    monkeypatch.setattr(_Recorded, "_apart", lambda self: calls.append("plain"))
    graph = type("Graph", (), {"replay": lambda self: calls.append("replay")})
    monkeypatch.setattr(_Recorded, "_record", lambda self: calls.append("record") or graph())
    recorded = _Recorded(lambda: None, torch.device("cuda"))
    for _ in range(WARM_UP + 2):
        recorded()
    assert calls == ["plain"] * WARM_UP + ["record", "replay", "replay"]


def _worker(rank, world, port, queue):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    config = recipe(steps=12)
    with processes("cpu") as place:
        head = fresh(config)
        result = train(head, problem(), config, problem(seed=1), processes=place, captured=True)
    queue.put((losses(result), head.estimator.fusion.weight.detach().numpy()))


def test_two_captured_processes_learn_what_one_does_at_the_same_global_batch():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [context.Process(target=_worker, args=(rank, 2, port, queue)) for rank in range(2)]
    for worker in workers:
        worker.start()
    answers = [queue.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join(timeout=30)
    config = recipe(steps=12)
    alone = fresh(config)
    expected = losses(train(alone, problem(), config, problem(seed=1)))
    for theirs, weight in answers:
        np.testing.assert_allclose(theirs, expected, rtol=1e-4)
        np.testing.assert_allclose(weight, alone.estimator.fusion.weight.detach().numpy(), atol=1e-4)


@pytest.mark.parametrize("objective", [Objective(), Objective(time_power=4, mixup=0.7, noise=0.3)])
def test_a_captured_step_waits_for_nothing_on_the_host(objective, monkeypatch):
    """Reading a number off the device would break a recording."""
    _, step = made(recipe(objective=objective))
    reads = []
    for name in ("item", "__bool__", "__float__", "__int__", "tolist", "cpu"):
        monkeypatch.setattr(torch.Tensor, name, lambda self, *args, name=name: reads.append(name))
    step._differentiate()
    step._update()
    assert reads == []
