"""Every head of the registry, and the baselines that the transport head has to beat."""

from dataclasses import replace

import pytest
import torch

from genser.errors import ConfigError
from genser.model import HEADS, EstimatorConfig, HeadConfig, TargetEstimator, TransportHead, make_head
from genser.model.diffusion_head import DiffusionHead
from genser.model.latent_flow_head import LatentFlowHead
from genser.training import OptimizerConfig, TrainConfig, TrainingData, train
from genser.training.train import predict
from genser.transport import Objective

LABELS = ("a", "b", "c")
CONFIG = HeadConfig(LABELS, EstimatorConfig(dim=16, conditions=2, depth=1, heads=2))


def problem(seed, counts=(30, 30, 30)):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
    features = 0.5 * torch.randn(len(labels), 3, 16, generator=generator)
    features[torch.arange(len(labels)), :, labels] += 3
    return TrainingData(features, labels)


def trained(name, data, **changes):
    penalty = 1.0 if name == "ridge" else 0.0
    recipe = TrainConfig(
        head=name,
        ridge_prior=penalty,
        **{"batch_size": 32, "steps": 250, "optimizer": OptimizerConfig(lr=5e-3, ema=0.9)} | changes,
        objective=Objective(mixup=0.3, noise=0.1, time_power=4),
    )
    torch.manual_seed(0)
    head = make_head(replace(CONFIG, kind=name, ridge_prior=penalty))
    train(head, data, recipe)
    return head


NARROW = EstimatorConfig(128, 3, width=16, depth=1, heads=2, dropout=0.5, tokens="concatenated")


def hard_problem(seed):
    """Six classes that lie close together in each of 128 features, and eight directions that say nothing of them."""
    generator, fixed = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(9)
    nuisances, means = 0.25 * torch.randn(8, 128, generator=fixed), 0.3 * torch.randn(6, 128, generator=fixed)
    labels = torch.arange(240) % 6
    rows = means[labels] + torch.randn(240, 8, generator=generator) @ nuisances
    return TrainingData(rows[:, None] + torch.randn(240, 4, 128, generator=generator), labels)


@pytest.mark.parametrize("name", [name for name in HEADS if name != "majority"])
def test_every_head_learns_by_the_same_code_with_a_network_narrower_than_the_features(name):
    penalty = 1.0 if name == "ridge" else 0.0
    optimizer = OptimizerConfig(lr=1e-2, ema=0.9)
    recipe = TrainConfig(head=name, ridge_prior=penalty, batch_size=32, steps=100, optimizer=optimizer)
    torch.manual_seed(0)
    head = make_head(HeadConfig(tuple("abcdef"), NARROW, kind=name, ridge_prior=penalty))
    train(head, hard_problem(0), recipe)
    test = hard_problem(1)
    scores = predict(head, test.features)
    assert scores.shape == (240, 6)
    assert abs(scores.sum(-1) - 1).max() < 1e-4
    assert (scores.argmax(-1) == test.labels.numpy()).mean() > 0.9


def test_majority_gives_the_training_shares_to_everyone():
    scores = predict(trained("majority", problem(0, (10, 60, 20)), steps=400), problem(1).features)
    assert (scores.argmax(-1) == 1).all()
    assert scores[0].tolist() == pytest.approx([10 / 90, 60 / 90, 20 / 90], abs=0.06)


def test_the_ridge_is_the_closed_form_over_all_standardised_states():
    data = replace(problem(0, (40, 20, 10)), weights=torch.linspace(1, 2, 70))
    head = make_head(replace(CONFIG, kind="ridge", ridge_prior=3.0))
    result = train(head, data, TrainConfig(head="ridge", ridge_prior=3.0), problem(1))
    rows, shares = head.feature_transform(data.features).flatten(1).double(), torch.eye(3).double()[data.labels]
    weights = data.weights.double() / data.weights.double().mean()
    bias = (weights[:, None] * shares).mean(0)
    gram = rows.T @ (weights[:, None] * rows) + 3.0 * 70 * torch.eye(48).double()
    expected = rows @ torch.linalg.solve(gram, rows.T @ (weights[:, None] * (shares - bias))) + bias
    torch.testing.assert_close(head.coordinates(data.features).double(), expected, rtol=0, atol=1e-5)
    assert (result.steps, result.best) == (1, result.history[-1]["validation_ua"])
    assert result.best > 0.9
    head.config = replace(head.config, exponent=2.0)
    clipped = expected.clamp(min=1e-6) ** 2
    torch.testing.assert_close(head(data.features).double(), clipped / clipped.sum(1, keepdim=True), rtol=0, atol=1e-4)


@pytest.mark.parametrize("penalty", [0.0, -1.0, float("nan")])
def test_a_ridge_without_a_penalty_is_refused_before_any_encoding(penalty):
    with pytest.raises(ConfigError, match=r"ridge_prior"):
        replace(CONFIG, kind="ridge", ridge_prior=penalty)
    with pytest.raises(ConfigError, match=r"ridge_prior"):
        TrainConfig(head="ridge", ridge_prior=penalty)


def test_network_and_diffusion_have_the_size_of_the_estimator():
    size = sum(p.numel() for p in TargetEstimator(CONFIG.estimator).parameters())
    for name in ("network", "regression", "diffusion"):
        head = make_head(replace(CONFIG, kind=name))
        assert abs(sum(p.numel() for p in head.network.parameters()) - size) <= 1, name  # one layer weight
    assert sum(p.numel() for p in TransportHead(CONFIG).parameters()) == size


@pytest.mark.parametrize("classes", [2, 5])
def test_diffusion_passes_the_network_once_a_class_and_draw(classes):
    config = HeadConfig(tuple("abcde"[:classes]), CONFIG.estimator)
    head, times = DiffusionHead(config, draws=6), []
    head.network.register_forward_hook(lambda _, inputs, __: times.append(inputs[2]))
    head(torch.randn(4, 3, 16))
    assert len(times) == 6 * classes
    angle = torch.stack(times).unique() * torch.pi / 2
    torch.testing.assert_close(2 * (angle.cos() / angle.sin()).log(), torch.tensor([10 / 3, 0, -10 / 3]))


def test_diffusion_turns_the_scaled_mean_of_the_states_into_noise_on_a_quarter_circle():
    head, states = DiffusionHead(CONFIG), torch.randn(50, 3, 16)
    head.fit(states, torch.arange(50) % 3, weights := torch.rand(50))
    means = head.feature_transform(states).mean(1)
    assert (weights @ means.square().mean(1) / weights.sum()).sqrt() == pytest.approx(float(head.scale), rel=1e-5)
    X = head.feature_transform(states)
    x_t, code, t, noise = head.example(X[:, -1], X[:, :-1], torch.eye(3)[torch.arange(50) % 3], Objective())
    angle = t[:, None] * torch.pi / 2
    torch.testing.assert_close(x_t, angle.cos() * means / head.scale + angle.sin() * noise)
    torch.testing.assert_close(code[:, 0], head.codes[torch.arange(50) % 3])


def test_diffusion_with_the_network_of_normal_classes_gives_their_posterior():
    """x is normal around the mean of its class, so the best estimate of the noise and the posterior are known."""
    head, x = DiffusionHead(CONFIG), torch.randn(40, 16)
    means = torch.randn(3, 16)
    del head.network
    shares = torch.linalg.pinv(head.codes)  # code → one-hot
    head.network = lambda x_t, code, t: -(t[:, None] * torch.pi / 2).sin() * (code[:, 0] @ shares @ means)
    distances = (x[:, None] - means).square().sum(-1)
    found = head.coordinates(x[:, None].expand(-1, 3, -1))
    torch.testing.assert_close(found, (-distances / 2).softmax(-1), rtol=0, atol=0.02)


def test_latent_flow_reaches_the_latents_of_the_labels():
    head, shares = LatentFlowHead(CONFIG), torch.eye(3)
    latents = head.latent(shares)
    torch.testing.assert_close(latents.square().mean(-1), torch.ones(3))
    passes = []

    def ideal(x, states, t):
        passes.append(float(t[0]))
        return (x - latents) / t[:, None]

    del head.network
    head.network = ideal  # the velocity of straight paths to the latents
    expected = head.decoder(latents).softmax(-1)
    torch.testing.assert_close(head.coordinates(torch.randn(3, 3, 16)), expected)
    assert passes == [1.0, 0.5] * 8


def test_latent_flow_learns_straight_paths_and_its_velocity_does_not_move_the_latents():
    head, states, shares = LatentFlowHead(CONFIG), torch.randn(50, 3, 16), torch.eye(3)[torch.arange(50) % 3]
    X, target, t, start, noise = head.example(states[:, -1], states[:, :-1], shares, Objective())
    torch.testing.assert_close(X, states)
    seen = []
    head.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    head.loss(X, target, t, start, noise).backward()
    torch.testing.assert_close(seen[0], (1 - t[:, None]) * head.latent(shares) + t[:, None] * start)
    moved = head.encoder.weight.grad.clone()
    head.zero_grad()
    torch.nn.functional.cross_entropy(head.decoder(head.latent(shares) + 0.3 * noise), shares).backward()
    torch.testing.assert_close(moved, head.encoder.weight.grad)


def test_transport_passes_do_not_grow_with_classes():
    counts = []
    for classes in (2, 5):
        head, passes = TransportHead(HeadConfig(tuple("abcde"[:classes]), CONFIG.estimator)), []
        head.estimator.register_forward_hook(lambda *_, passes=passes: passes.append(1))
        head(torch.randn(4, 3, 16))
        counts.append(len(passes))
    assert counts == [5, 5]


def test_an_unknown_head_is_named_with_the_known_ones():
    with pytest.raises(ConfigError, match="transport"):
        make_head(replace(CONFIG, kind="svm"))
