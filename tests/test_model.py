"""The estimator x_θ (section 2.5), standardisation and the head."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genser.errors import ConfigError
from genser.model import (
    Ensemble,
    EstimatorConfig,
    FeatureTransformConfig,
    HeadConfig,
    PrincipalComponents,
    Standardizer,
    TargetEstimator,
    TransportHead,
)
from genser.model.estimator import AdaptiveBlock, SelfAttention, rms_norm
from genser.model.head import STATES
from genser.model.in_domain import InDomainScore
from genser.model.ridge import RidgePrior
from genser.model.speech_gate import SpeechGate
from genser.transport import Objective, Sampler
from genser.transport.codes import class_codes

TINY = EstimatorConfig(dim=32, conditions=3, depth=2, heads=4)


def batch(config, rows=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x_t = torch.randn(rows, config.dim, generator=generator)
    X_c = torch.randn(rows, config.conditions, config.dim, generator=generator)
    return x_t, X_c, torch.rand(rows, generator=generator)


def awake(module):
    """Give zero-initialised modulations a value, so that every branch takes part."""
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return module


def test_paper_configuration_has_71_4_million_parameters():
    with torch.device("meta"):
        count = sum(p.numel() for p in TargetEstimator(EstimatorConfig()).parameters())
    assert round(count / 1e6, 1) == 71.4


def test_attention_over_one_token_is_out_of_value():
    """The shortcut equals full attention: the same module on a sequence of that token repeated."""
    attention = awake(SelfAttention(16, 4))
    x = torch.randn(3, 1, 16)
    torch.testing.assert_close(attention(x), attention(x.expand(-1, 5, -1))[:, :1])


def test_queries_and_keys_of_a_single_token_cost_and_learn_nothing():
    estimator = awake(TargetEstimator(TINY))
    estimator(*batch(TINY)).square().sum().backward()
    for name, parameter in estimator.named_parameters():
        idle = ".query." in name or ".key." in name
        assert (parameter.grad is None) == idle, name


@pytest.mark.parametrize("tokens", ["fused", "concatenated"])
@pytest.mark.parametrize("width", [None, 24])
def test_estimates_have_the_shape_of_the_state_and_depend_on_every_input(tokens, width):
    config = EstimatorConfig(dim=32, conditions=3, width=width, depth=2, heads=4, tokens=tokens)
    estimator = awake(TargetEstimator(config))
    x_t, X_c, t = batch(config)
    estimate = estimator(x_t, X_c, t)
    assert estimate.shape == x_t.shape
    for changed in ((x_t + 1, X_c, t), (x_t, X_c + 1, t), (x_t, X_c, t / 2)):
        assert not torch.allclose(estimator(*changed), estimate, atol=1e-4)


def test_an_encoder_without_conditions_is_served():
    config = EstimatorConfig(dim=32, conditions=0, depth=1, heads=4)
    assert TargetEstimator(config)(*batch(config)).shape == (5, 32)


@given(seed=st.integers(0, 100))
@settings(max_examples=15)
def test_items_of_a_batch_do_not_see_each_other(seed):
    estimator = awake(TargetEstimator(TINY)).eval()
    x_t, X_c, t = batch(TINY, seed=seed)
    alone = torch.cat([estimator(x_t[i : i + 1], X_c[i : i + 1], t[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(estimator(x_t, X_c, t), alone, atol=1e-5, rtol=1e-4)


def test_a_fresh_block_does_not_depend_on_time_and_a_trained_one_does():
    x, early, late = torch.randn(2, 3, 16), torch.randn(2, 16), torch.randn(2, 16)
    block = AdaptiveBlock(16, 4)
    torch.testing.assert_close(block(x, early), block(x, late))
    assert (block(x, early) - x).abs().max() > 0.01
    awake(block)
    assert (block(x, early) - block(x, late)).abs().max() > 0.01


def test_a_block_scales_and_gates_each_branch_by_its_own_part_of_the_modulation():
    block, x, time = awake(AdaptiveBlock(16, 4)), torch.randn(2, 3, 16), torch.randn(2, 16)
    torch.testing.assert_close(block(x, torch.full((2, 16), -50.0)), block(x, torch.zeros(2, 16)))  # SiLU comes first
    torch.nn.init.zeros_(block.modulation.weight)
    block.modulation.bias.data = torch.tensor([0.25, 0.5, -0.25, 2.0]).repeat_interleave(16)
    expected = x + 0.5 * block.attention(1.25 * rms_norm(x))
    expected = expected + 2.0 * block.feed_forward(0.75 * rms_norm(expected))
    torch.testing.assert_close(block(x, time), expected)


def test_layer_weights_choose_among_the_conditions():
    estimator = awake(TargetEstimator(TINY)).eval()
    x_t, X_c, t = batch(TINY)
    estimator.condition_logits.data = torch.tensor([0.0, 50.0, 0.0])
    changed = X_c + torch.tensor([1.0, 0.0, 1.0])[:, None]
    torch.testing.assert_close(estimator(x_t, changed, t), estimator(x_t, X_c, t))
    changed = X_c + torch.tensor([0.0, 1.0, 0.0])[:, None]
    assert not torch.allclose(estimator(x_t, changed, t), estimator(x_t, X_c, t), atol=1e-4)


@given(scale=st.floats(0.1, 1e3))
def test_rms_norm_forgets_scale(scale):
    x = torch.linspace(-1, 2, 16)[None]
    torch.testing.assert_close(rms_norm(scale * x), rms_norm(x), atol=1e-3, rtol=1e-3)
    assert rms_norm(x).square().mean().item() == pytest.approx(1, abs=1e-4)


def test_standardizer_centres_training_rows_and_leaves_constants_at_zero():
    rows = torch.randn(200, 3, 8) * torch.tensor([1.0, 10.0, 1e3])[:, None] + 5
    rows[:, 0, 0] = 7.25 + 1e-5 * torch.randn(200)  # constant but for rounding
    out = Standardizer(3, 8).fit(rows)(rows)
    assert out[:, 0, 0].abs().max() == 0
    assert out.mean(0).abs().max() < 1e-4
    assert (out.std(0, correction=0).flatten()[1:] - 1).abs().max() < 1e-4


def test_standardizer_weights_count_rows_as_often_as_they_weigh():
    rows = torch.randn(6, 2, 4)
    repeated = torch.cat([rows, rows[:2], rows[:2]])
    weights = torch.tensor([3.0, 3.0, 1.0, 1.0, 1.0, 1.0])
    for a, b in zip(
        Standardizer(2, 4).fit(rows, weights).buffers(), Standardizer(2, 4).fit(repeated).buffers(), strict=True
    ):
        torch.testing.assert_close(a, b)


def spread(rows=300):
    """Rows along three strong directions of 4 x 16 features, with little noise elsewhere."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(64, 3, generator=generator))[0]
    strengths = torch.randn(rows, 3, generator=generator) * torch.tensor([9.0, 3.0, 1.5])
    return (strengths @ directions.T + 0.01 * torch.randn(rows, 64, generator=generator)).view(rows, 4, 16) + 2


@pytest.mark.parametrize("weights", [None, torch.linspace(0.1, 5, 300)])
def test_components_are_uncorrelated_centred_and_of_unit_mean_square(weights):
    rows = spread()
    for flattening in (0.0, 0.5, 1.0):
        transform = FeatureTransformConfig(4, 16, components=3, flattening=flattening)
        out = PrincipalComponents(transform).fit(rows, weights)(rows)[:, 0]
        covariance = out.T @ out / len(out)
        assert out.mean(0).abs().max() < 1e-4
        assert (covariance - covariance.diag().diag()).abs().max() < 1e-3
        assert covariance.diag().mean().item() == pytest.approx(1, abs=1e-4)
        assert (covariance.diag().max() - covariance.diag().min() < 1e-3) == (flattening == 1.0)


def test_components_keep_what_varies():
    """Three components of three-dimensional rows lose almost nothing: distances stay, up to one factor."""
    rows = spread()
    front = PrincipalComponents(FeatureTransformConfig(4, 16, components=3)).fit(rows)
    before = torch.pdist(front.standardizer(rows).flatten(1))
    after = torch.pdist(front(rows)[:, 0])
    assert torch.corrcoef(torch.stack([before, after]))[0, 1] > 0.999


def test_components_are_fitted_to_rows_of_the_whole_table(monkeypatch):
    """Also where the table has more rows than are used: its two halves vary along different directions."""
    monkeypatch.setattr("genser.model.features.LARGEST_GRAM", 100)
    generator = torch.Generator().manual_seed(0)
    rows = 0.01 * torch.randn(200, 64, generator=generator)
    directions = torch.linalg.qr(torch.randn(64, 2, generator=generator))[0].T
    for half, direction in zip(rows.split(100), directions, strict=True):
        half += torch.randn(100, 1, generator=generator) * direction
    rows = rows.view(200, 4, 16)
    front = PrincipalComponents(FeatureTransformConfig(4, 16, components=2)).fit(rows)
    before, after = torch.pdist(front.standardizer(rows).flatten(1)), torch.pdist(front(rows)[:, 0])
    assert torch.corrcoef(torch.stack([before, after]))[0, 1] > 0.99


def test_the_first_row_has_positive_components():
    rows = spread()
    for order in (rows, rows.flip(0), -rows):
        front = PrincipalComponents(FeatureTransformConfig(4, 16, components=3)).fit(order)
        assert (front(order[:1]) > 0).all()


def test_a_head_on_components_transports_them():
    front = FeatureTransformConfig(4, 16, components=12, flattening=0.3)
    config = HeadConfig(("a", "b"), EstimatorConfig(dim=12, conditions=1, depth=1, heads=2), feature_transform=front)
    head = TransportHead(config)
    head.feature_transform.fit(torch.randn(50, 4, 16))
    x_1, X_c = head.ends(torch.randn(5, 4, 16))
    assert torch.equal(x_1, X_c[:, 0])
    assert head(torch.randn(5, 4, 16)).shape == (5, 2)


def test_too_few_rows_for_the_components_are_named():
    with pytest.raises(ConfigError, match="10 training rows"):
        PrincipalComponents(FeatureTransformConfig(4, 16, components=12)).fit(torch.randn(10, 4, 16))


def test_the_ridge_prior_solves_both_forms_of_the_problem():
    """Few rows or many: the gradient of the penalised squares vanishes."""
    for rows in (20, 200):
        generator = torch.Generator().manual_seed(rows)
        X_c, weights = torch.randn(rows, 2, 16, generator=generator), torch.rand(rows, generator=generator) + 0.1
        shares = torch.eye(3, dtype=torch.float64)[torch.arange(rows) % 3]
        prior = RidgePrior(2, 16, 3)
        prior.fit(X_c, shares, weights, penalty=0.5)
        share = (weights / weights.mean()).double()[:, None]
        bias = (share * shares).mean(0)
        residual = share * (X_c.flatten(1).double() @ prior.weight.double() + bias - shares)
        gradient = X_c.flatten(1).double().T @ residual + 0.5 * rows * prior.weight.double()
        assert gradient.abs().max() < 1e-3
        torch.testing.assert_close(prior.bias.double(), bias, atol=1e-6, rtol=0)


@pytest.mark.parametrize("rows", [20, 200])
def test_the_variance_of_the_ridge_prior_is_its_error_per_dimension_of_the_codes(rows):
    generator = torch.Generator().manual_seed(rows)
    X_c, weights = torch.randn(rows, 2, 16, generator=generator), torch.rand(rows, generator=generator) ** 4
    shares = torch.eye(3)[torch.arange(rows) % 3]
    prior, codes = RidgePrior(2, 16, 3), torch.from_numpy(class_codes(3, 16))
    prior.fit(X_c, shares.double(), weights, penalty=0.5)
    errors = ((prior(X_c) - shares) @ codes).square().mean(1)
    torch.testing.assert_close(prior.variance, (weights * errors).sum() / weights.sum(), rtol=1e-4, atol=0)


def test_an_untrained_head_with_a_ridge_prior_gives_its_estimate():
    config = HeadConfig(
        ("a", "b"),
        EstimatorConfig(32, 4, width=24, depth=1, heads=4),
        ridge_prior=1.0,
        feature_transform=FeatureTransformConfig(4, 32, repeat=True),
    )
    head, features, labels = TransportHead(config), torch.randn(40, 4, 32), torch.arange(40) % 2
    head.fit(features, labels)
    expected = head.ridge_prior(head.ends(features)[1])
    torch.testing.assert_close(head.coordinates(features, Sampler(0)), expected, atol=0.1, rtol=0.1)
    for method in ("euler", "bridge"):
        stepped = head.coordinates(features, Sampler(10, method))
        assert (stepped.argmax(-1) == expected.argmax(-1)).float().mean() > 0.9, method
    assert (expected.argmax(-1) == labels).float().mean() > 0.9


@pytest.mark.parametrize("state", STATES)
def test_with_a_network_that_gives_0_an_estimate_is_the_posterior_mean_of_the_ridge_prior(state):
    config = HeadConfig(
        ("a", "b"),
        EstimatorConfig(32, 4, width=24, depth=1, heads=4),
        state=state,
        ridge_prior=1.0,
        feature_transform=FeatureTransformConfig(4, 32, repeat=True),
    )
    head, features = TransportHead(config), torch.randn(40, 4, 32)
    head.fit(features, torch.arange(40) % 2)
    (x_1, X_c), x_t, t = head.ends(features), torch.randn(40, 32), torch.linspace(0.1, 0.9, 40)
    prior = head.ridge_prior(X_c) @ head.codes
    expected = config.path.posterior_mean(prior, x_t, x_1, t, head.variance)
    assert not torch.allclose(expected, prior, atol=0.01)
    torch.testing.assert_close(head.estimate(x_t, X_c, t), expected)


def test_a_repeated_state_is_both_condition_and_start():
    front = FeatureTransformConfig(4, 16, repeat=True)
    head = TransportHead(
        HeadConfig(("a", "b"), EstimatorConfig(16, 4, width=8, depth=1, heads=2), feature_transform=front)
    )
    x_1, X_c = head.ends(torch.randn(5, 4, 16))
    assert X_c.shape == (5, 4, 16)
    assert torch.equal(X_c[:, -1], x_1)
    noisy = Objective(noise=0.5).augment(x_1, X_c[:, :-1], torch.eye(2)[torch.arange(5) % 2])
    example = head.example(*noisy, Objective())
    assert torch.equal(example.X_c[:, -1], noisy[0])


def test_head_learns_a_separable_problem_and_gives_probabilities():
    torch.manual_seed(0)
    labels = torch.arange(120) % 3
    features = torch.randn(120, 4, 32) * 0.3
    features[torch.arange(120), :, labels] += 2
    head = TransportHead(HeadConfig(("a", "b", "c"), TINY))
    head.feature_transform.fit(features)
    optimizer = torch.optim.AdamW(head.estimator.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        example = head.example(*head.ends(features), torch.eye(3)[labels], Objective(time_power=4))
        head.loss(*example).backward()
        optimizer.step()
    for sampler in (Sampler(0), Sampler(1), Sampler(4), Sampler(4, "bridge", "state")):
        with torch.inference_mode():
            scores = head(features, sampler).numpy()
        np.testing.assert_allclose(scores.sum(-1), 1, atol=1e-5)
        assert (scores.argmax(-1) == labels.numpy()).mean() > 0.95, sampler


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: EstimatorConfig(dim=0), "dim"),
        (lambda: EstimatorConfig(dim=30, heads=4), "heads"),
        (lambda: EstimatorConfig(dropout=1.0), "dropout"),
        (lambda: EstimatorConfig(tokens="layers"), "layers"),
        (lambda: EstimatorConfig(ensemble=0), "ensemble"),
        (lambda: HeadConfig(("a", "b"), state="posterior"), "feature_transform.repeat"),
        (lambda: HeadConfig(("a", "b"), state="given"), "given"),
        (lambda: HeadConfig(("a", "a"), TINY), "each once"),
        (lambda: HeadConfig((), TINY), "needs labels"),
        (lambda: HeadConfig(("a",), TINY, exponent=0), "exponent"),
        (lambda: HeadConfig(("a",), TINY, ridge_prior=1.0), "repeat"),
        (lambda: HeadConfig(("a",), TINY, feature_transform=FeatureTransformConfig(4, 30)), "feature transform gives"),
        (lambda: FeatureTransformConfig(2, 8, components=17), "17 components"),
        (lambda: FeatureTransformConfig(2, 8, components=4, flattening=1.5), "flattening"),
        (lambda: TransportHead(HeadConfig(tuple("abcdefghijklmnop"), TINY)), "16 classes"),
    ],
)
def test_impossible_settings_are_refused(make, word):
    with pytest.raises(ConfigError, match=word):
        make()


def test_every_row_trains_one_member_of_an_ensemble_and_the_mean_is_used():
    ensemble = Ensemble(lambda: torch.nn.Linear(4, 2), 3)
    rows = torch.randn(8, 4)
    own = [ensemble.members[place](row) for place, row in zip([0, 0, 0, 1, 1, 1, 2, 2], rows, strict=True)]
    torch.testing.assert_close(ensemble.train()(rows), torch.stack(own))
    everyone = torch.stack([member(rows) for member in ensemble.members])
    torch.testing.assert_close(ensemble.eval()(rows), everyone.mean(0))
    assert ensemble.train()(rows[:2]).shape == (2, 2)


def test_the_members_of_an_ensemble_are_trained_independently():
    ensemble = Ensemble(lambda: torch.nn.Linear(4, 2), 2).train()
    rows = torch.randn(6, 4)
    ensemble(rows)[:3].sum().backward()
    assert ensemble.members[0].weight.grad.abs().sum() > 0
    assert ensemble.members[1].weight.grad.abs().sum() == 0


def test_with_a_posterior_state_the_steps_agree_with_the_direct_estimate():
    front = FeatureTransformConfig(3, 32, repeat=True)
    head = awake(TransportHead(HeadConfig(("a", "b", "c"), TINY, state="posterior", feature_transform=front))).eval()
    features = torch.randn(40, 3, 32)
    direct, moved = (head(features, Sampler(steps, "bridge")) for steps in (0, 8))
    assert not torch.equal(direct, moved)
    assert (direct.argmax(1) == moved.argmax(1)).float().mean() > 0.9


def test_what_the_state_is_worth_is_learned():
    front = FeatureTransformConfig(3, 32, repeat=True)
    head = awake(TransportHead(HeadConfig(("a", "b"), TINY, state="posterior", feature_transform=front)))
    x_1, X_c = head.ends(torch.randn(6, 3, 32))
    example = head.example(x_1, X_c[:, :-1], torch.eye(2)[[0, 1, 0, 1, 0, 1]], Objective())
    head.loss(*example).backward()
    assert head.log_variance.grad.abs() > 0


def test_the_in_domain_score_ignores_the_leading_components_and_falls_with_the_residual():
    """Along a removed component the distance stays; a residual e times as large raises it by 1."""
    rows = spread()
    score = InDomainScore(4, 16, 3).fit(rows)
    score.slope.fill_(2.0)
    clip, along = rows[:1], score.directions[0].view(1, 4, 16)
    torch.testing.assert_close(score.distance(clip + 5 * along), score.distance(clip), atol=0.05, rtol=0)
    away = torch.randn(64, generator=torch.Generator().manual_seed(0))
    away = away - score.directions.T @ (score.directions @ away)
    near, far = (score.mean + math.exp(size) * away for size in (0.0, 0.5))
    near, far = score.distance(near.view(1, 4, 16)), score.distance(far.view(1, 4, 16))
    torch.testing.assert_close(far - near, torch.ones(1), atol=1e-3, rtol=0)
    residuals = score.distance(rows).exp()
    assert residuals.mean().item() == pytest.approx(1, abs=0.05)
    score.boundary.copy_(score.distance(clip)[0])
    torch.testing.assert_close(score(clip), torch.tensor([0.5]))
    score.boundary.add_(1.0)
    torch.testing.assert_close(score(clip), torch.tensor([2.0]).sigmoid())


def test_weights_of_the_in_domain_score_count_rows_as_often_as_they_weigh():
    rows, weights = spread(12), torch.tensor([4.0, 2.0, *[1.0] * 10])
    repeated = torch.cat([rows, rows[:1], rows[:1], rows[:2]])
    clips = spread(40)
    weighted, plain = InDomainScore(4, 16, 2).fit(rows, weights), InDomainScore(4, 16, 2).fit(repeated)
    torch.testing.assert_close(weighted.distance(clips), plain.distance(clips), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(plain.distance(clips), InDomainScore(4, 16, 2).fit(rows).distance(clips), atol=0.05)


def test_the_speech_gate_is_a_logistic_regression():
    gate, features = awake(SpeechGate(3, 16)), torch.randn(5, 3, 16)
    expected = (features.flatten(1) @ gate.weight.flatten() + gate.bias).sigmoid()
    torch.testing.assert_close(gate(features), expected)


def test_an_untrained_posterior_head_starts_from_a_variance_of_one_tenth():
    front = FeatureTransformConfig(3, 32, repeat=True)
    head = TransportHead(HeadConfig(("a", "b"), TINY, state="posterior", feature_transform=front))
    assert head.variance.item() == pytest.approx(0.1)


def test_with_a_posterior_state_the_network_gets_the_speech_and_the_latest_time_only():
    front = FeatureTransformConfig(3, 32, repeat=True)
    head = awake(TransportHead(HeadConfig(("a", "b"), TINY, state="posterior", feature_transform=front))).eval()
    x_t, X_c, t = batch(TINY)
    path = head.config.path
    prior = head.estimator(X_c[:, -1], X_c, torch.full((5,), path.T))
    expected = path.posterior_mean(prior, x_t, X_c[:, -1], t, head.variance)
    torch.testing.assert_close(head.estimate(x_t, X_c, t), expected)
