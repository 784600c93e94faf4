"""Algorithm 1: the same seed gives the same model, and an interrupted run loses nothing."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from genser.errors import ConfigError, ModelError
from genser.model import TransportHead
from genser.model.estimator import NetworkConfig
from genser.training import OptimizerConfig, TrainConfig, TrainingData, load_recipe, train
from genser.training.batches import balance_weights, draw_rows
from genser.training.train import learning_rate, predict
from genser.transport import Objective

LABELS = ("calm", "cross", "merry")


def problem(rows=90, seed=0):
    """Three classes that each lift one dimension of every state."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) % 3
    features = torch.randn(rows, 3, 16, generator=generator)
    features[torch.arange(rows), :, labels] += 2.5
    return TrainingData(features, labels)


def recipe(**changes):
    settings = {
        "network": NetworkConfig(depth=1, heads=2),
        "objective": Objective(time_power=4, mixup=0.5, noise=0.1),
        "optimizer": OptimizerConfig(lr=3e-3, ema=0.9),
        "batch_size": 32,
        "steps": 60,
        "evaluate_every": 10,
        "checkpoint_every": 10,
    }
    return TrainConfig(**settings | changes)


def fresh(config):
    torch.manual_seed(11)
    return TransportHead(config.head_config(LABELS, states=3, dim=16))


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_training_learns_what_it_was_not_shown():
    head, test = fresh(recipe()), problem(seed=1)
    result = train(head, problem(), recipe(), test)
    accuracy = (predict(head, test.features).argmax(-1) == test.labels.numpy()).mean()
    assert accuracy > 0.9
    assert result.best >= accuracy - 1e-6
    assert [row["step"] for row in result.history] == [10, 20, 30, 40, 50, 60]


def test_the_same_seed_gives_the_same_model_and_another_seed_another():
    heads = []
    for seed in (3, 3, 4):
        config = recipe(seed=seed, steps=20, network=NetworkConfig(depth=1, heads=2, dropout=0.2))
        heads.append(fresh(config))
        torch.manual_seed(seed * 17 + len(heads))  # whatever the caller drew before must not matter
        train(heads[-1], problem(), config)
    assert same(heads[0], heads[1])
    assert not same(heads[0], heads[2])


def test_training_leaves_the_callers_random_numbers_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    config = recipe(steps=3)
    head = TransportHead(config.head_config(LABELS, states=3, dim=16))
    torch.manual_seed(5)
    train(head, problem(), config)
    assert torch.equal(torch.rand(3), expected)


class Killed(Exception):
    pass


def killed_after(step):
    def on_step(done, metrics):
        if done == step:
            raise Killed

    return on_step


@pytest.mark.parametrize(("keep", "stop"), [("best", 9), ("last", 25), ("best", 31)])
def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(tmp_path, keep, stop):
    network = NetworkConfig(depth=1, heads=2, dropout=0.1, ensemble=2)
    config = recipe(keep=keep, network=network, steps=40)
    whole, broken, resumed = fresh(config), fresh(config), fresh(config)
    expected = train(whole, problem(), config, problem(seed=1))
    with pytest.raises(Killed):
        train(broken, problem(), config, problem(seed=1), folder=tmp_path, on_step=killed_after(stop))
    result = train(resumed, problem(), config, problem(seed=1), folder=tmp_path)
    assert same(whole, resumed)
    assert result.best == expected.best
    written = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    strip = [{k: v for k, v in row.items() if k != "seconds"} for row in written]
    assert strip == [{k: v for k, v in row.items() if k != "seconds"} for row in expected.history]


def test_a_finished_run_is_not_trained_again(tmp_path):
    config = recipe(steps=20)
    train(fresh(config), problem(), config, problem(seed=1), folder=tmp_path)
    steps = []
    again = fresh(config)
    result = train(again, problem(), config, problem(seed=1), folder=tmp_path, on_step=lambda s, m: steps.append(s))
    assert result.steps == 0
    whole = fresh(config)
    train(whole, problem(), config, problem(seed=1))
    assert not steps
    assert same(again, whole)


def test_a_head_without_parameters_is_refused():
    config = recipe(steps=20)
    head = fresh(config)
    for parameter in [*head.parameters()]:
        parameter.requires_grad_(False)
    with pytest.raises(ModelError, match=r"no parameters to train. Give it at least one"):
        train(head, problem(), config)


def test_a_checkpoint_of_another_recipe_or_other_data_is_refused(tmp_path):
    train(fresh(recipe(steps=10)), problem(), recipe(steps=10), folder=tmp_path)
    with pytest.raises(ModelError, match="another recipe"):
        train(fresh(recipe(steps=20)), problem(), recipe(steps=20), folder=tmp_path)
    with pytest.raises(ModelError, match="other data"):
        train(fresh(recipe(steps=10)), problem(seed=2), recipe(steps=10), folder=tmp_path)
    weighted = replace(problem(), weights=torch.linspace(0.1, 1.0, 90))
    with pytest.raises(ModelError, match="other data"):
        train(fresh(recipe(steps=10)), weighted, recipe(steps=10), folder=tmp_path)


def test_weights_that_are_lost_do_not_become_a_model(tmp_path):
    config = recipe(steps=20, optimizer=OptimizerConfig(lr=1e30, warmup=0.0))
    with pytest.raises(ConfigError, match=r"loss at step 10 is not finite.*Lower optimizer\.lr, which is 1e\+30"):
        train(fresh(config), problem(), config, folder=tmp_path)


def test_a_torn_checkpoint_is_named(tmp_path):
    train(fresh(recipe(steps=10)), problem(), recipe(steps=10), folder=tmp_path)
    last = tmp_path / "last.safetensors"
    last.write_bytes(last.read_bytes()[:200])
    with pytest.raises(ModelError, match=r"last\.safetensors is not a readable checkpoint"):
        train(fresh(recipe(steps=10)), problem(), recipe(steps=10), folder=tmp_path)


def test_checkpoints_are_never_pickles(tmp_path):
    train(fresh(recipe(steps=10)), problem(), recipe(steps=10), folder=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"last.safetensors", "metrics.jsonl"}
    assert not any(b"pickle" in path.read_bytes() or path.read_bytes()[:2] == b"PK" for path in tmp_path.iterdir())


def test_epochs_show_every_row_once_and_differ():
    data = problem(rows=30)
    epochs = [torch.cat([draw_rows(data, 10, epoch * 3 + step, 0) for step in range(3)]) for epoch in range(2)]
    assert all(sorted(epoch.tolist()) == list(range(30)) for epoch in epochs)
    assert epochs[0].tolist() != epochs[1].tolist()


def test_a_batch_may_span_epochs_and_exceed_the_data():
    rows = draw_rows(problem(rows=30), 70, 0, 0)
    assert len(rows) == 70
    assert min(np.bincount(rows.numpy())) == 2


def test_weights_draw_what_they_weigh():
    data = problem(rows=30)
    weights = balance_weights([("common",)] * 27 + [("rare",)] * 3)
    drawn = draw_rows(TrainingData(data.features, data.labels, weights), 6000, 0, 0)
    assert (drawn >= 27).double().mean().item() == pytest.approx(0.5, abs=0.03)


def test_balance_is_nested():
    """Classes alike in total; inside a class its corpora alike, whatever other classes they have."""
    keys = [("joy", "big")] * 8 + [("joy", "small")] * 2 + [("disgust", "small")] * 5
    weights = balance_weights(keys)
    assert weights.sum().item() == pytest.approx(1)
    assert [weights[s].sum().item() for s in (slice(0, 8), slice(8, 10), slice(10, 15))] == [0.25, 0.25, 0.5]


def test_learning_rate_warms_up_and_falls_along_a_cosine():
    config = OptimizerConfig(lr=1.0, warmup=0.1, final=0.2)
    rates = [learning_rate(step, 100, config) for step in range(100)]
    assert rates[0] < 0.2
    assert max(rates) == pytest.approx(1.0)
    assert rates.index(max(rates)) == 10
    assert rates[-1] == pytest.approx(0.2, abs=0.01)


def test_recipes_can_be_overridden_key_by_key():
    config = load_recipe("paper", {"optimizer.lr": "1e-4", "path.k": "4", "steps": "10", "network.width": "none"})
    assert (config.optimizer.lr, config.path.k, config.steps, config.network.width) == (1e-4, 4.0, 10, None)
    assert config.encoder.source == "TencentGameMate/chinese-hubert-large"


@pytest.mark.parametrize("name", ["paper", "small"])
def test_packaged_recipes_are_valid(name):
    assert load_recipe(name).steps > 0


def test_the_paper_recipe_is_what_the_paper_prints():
    config = load_recipe("paper")
    head = config.head_config(LABELS, states=25, dim=1024)
    assert (config.batch_size, config.steps, config.optimizer.lr) == (128, 400_000, 5e-4)
    assert (head.estimator.depth, head.estimator.heads, head.estimator.conditions) == (4, 16, 24)
    assert config.objective == Objective()


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("optimizer.learning_rate", "1", "learning_rate"),
        ("optimiser.lr", "1", "Did you mean 'optimizer'"),
        ("steps", "many", "must be of type int"),
        ("steps", "1.5", "must be of type int"),
        ("steps.more", "1", "single value"),
        ("balance", "speaker", "corpus-class"),
        ("path.t_eps", "0.7", "t_eps"),
        ("keep", "first", "keep"),
    ],
)
def test_a_wrong_override_is_refused_with_the_cure(key, value, word):
    with pytest.raises(ConfigError, match=word):
        load_recipe("paper", {key: value})


def test_a_recipe_that_does_not_exist_lists_those_that_do():
    with pytest.raises(ConfigError, match="paper"):
        load_recipe("papre")


def test_a_recipe_file_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "list.yaml").write_text("- 1\n- 2\n")
    (tmp_path / "broken.yaml").write_text("a: [1\n")
    for name, word in (("list.yaml", "table"), ("broken.yaml", "not valid YAML")):
        with pytest.raises(ConfigError, match=word):
            load_recipe(str(tmp_path / name))
