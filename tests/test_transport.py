"""The path, its derivatives, the objective and the samplers (Eqs. 3–11)."""

import dataclasses
import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genser.errors import ConfigError
from genser.transport import BridgePath, Objective, Sampler, schedule, time_grid
from genser.transport.codes import class_codes
from genser.transport.objective import target_matching_loss

STEEPNESS = st.one_of(st.just(0.0), st.floats(1e-9, 1e-2), st.floats(1e-2, 50.0))
PRECISION = st.sampled_from([torch.float32, torch.float64])


def printed_mean_weight(t, k):
    """Eq. (6) exactly as printed, in float64."""
    return ((1 + math.exp(k / 2)) / (1 + math.exp(-k * (t - 0.5))) - 1) / (math.exp(k / 2) - 1)


def ends(seed, batch=5, dim=16, classes=4, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    x_1 = torch.randn(batch, dim, generator=generator, dtype=dtype)
    X_c = torch.randn(batch, 3, dim, generator=generator, dtype=dtype)
    codes = torch.from_numpy(class_codes(classes, dim)).to(dtype)
    return x_1, X_c, codes[torch.arange(batch) % classes]


@given(k=STEEPNESS, dtype=PRECISION)
def test_mean_weight_meets_its_ends_and_never_falls(k, dtype):
    w = schedule.mean_weight(torch.linspace(0, 1, 201, dtype=dtype), k)
    assert w[0].abs() < 1e-6
    assert (w[-1] - 1).abs() < 1e-6
    assert torch.isfinite(w).all()
    assert (w.diff() >= -5e-7).all()


@given(t=st.floats(0, 1), k=st.floats(0.05, 50))
def test_mean_weight_is_the_printed_quotient(t, k):
    w = schedule.mean_weight(torch.tensor(t, dtype=torch.float64), k)
    assert w.item() == pytest.approx(printed_mean_weight(t, k), abs=1e-10)


@given(t=st.floats(0, 1))
def test_the_line_is_the_member_at_k_zero_and_is_approached(t):
    at = torch.tensor(t, dtype=torch.float64)
    assert schedule.mean_weight(at, 0.0).item() == pytest.approx(t, abs=1e-15)
    assert schedule.mean_weight(at, 1e-4).item() == pytest.approx(t, abs=1e-9)
    assert schedule.mean_weight_slope(at, 0.0).item() == 1


@given(k=STEEPNESS, dtype=PRECISION)
def test_the_slope_of_the_mean_equals_autograd(k, dtype):
    t = torch.linspace(0.03, 0.97, 53, dtype=dtype, requires_grad=True)
    (by_autograd,) = torch.autograd.grad(schedule.mean_weight(t, k).sum(), t)
    tolerance = 1e-10 if dtype == torch.float64 else 2e-4
    torch.testing.assert_close(schedule.mean_weight_slope(t, k), by_autograd, rtol=tolerance, atol=tolerance)


@given(t=st.floats(0.01, 0.99), sigma=st.floats(0.01, 10))
def test_the_relative_slope_is_that_of_the_standard_deviation_for_any_sigma(t, sigma):
    at = torch.tensor(t, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(schedule.std(at, sigma).log(), at)
    torch.testing.assert_close(schedule.relative_std_slope(at.detach()), slope)


@given(t=st.floats(0, 1), sigma=st.floats(0, 10))
def test_the_standard_deviation_is_equation_7(t, sigma):
    std = schedule.std(torch.tensor(t, dtype=torch.float64), sigma)
    assert std.item() == pytest.approx(sigma * math.sqrt(t * (1 - t)), abs=1e-12)


@given(seed=st.integers(0, 100), k=st.floats(0, 50))
def test_path_begins_at_the_class_and_ends_at_the_speech(seed, k):
    x_1, _, x_0 = ends(seed)
    path = BridgePath(k=k)
    z = torch.randn_like(x_1)
    torch.testing.assert_close(path.perturb(x_0, x_1, torch.zeros(5, dtype=x_1.dtype), z), x_0)
    torch.testing.assert_close(path.perturb(x_0, x_1, torch.ones(5, dtype=x_1.dtype), z), x_1)


@given(seed=st.integers(0, 100), k=st.floats(0, 20), sigma=st.floats(0.05, 2))
def test_vector_field_is_the_velocity_of_the_perturbed_state(seed, k, sigma):
    """Eq. (5): d/dt (μ_t + σ_t·z) for a fixed z."""
    x_1, _, x_0 = ends(seed)
    path, z = BridgePath(k=k, sigma=sigma), torch.randn_like(x_1)
    t = torch.linspace(0.1, 0.9, 5, dtype=x_1.dtype)
    _, velocity = torch.autograd.functional.jvp(lambda at: path.perturb(x_0, x_1, at, z), t, torch.ones_like(t))
    u = path.vector_field(x_0, path.perturb(x_0, x_1, t, z), x_1, t)
    torch.testing.assert_close(u, velocity, rtol=1e-8, atol=1e-8)


@given(seed=st.integers(0, 100), k=st.floats(0, 20), times=st.tuples(st.floats(0.03, 0.97), st.floats(0.03, 0.97)))
def test_bridge_step_follows_the_path(seed, k, times):
    x_1, _, x_0 = ends(seed)
    path, z = BridgePath(k=k, sigma=0.8), torch.randn_like(x_1)
    t, s = (torch.full((5,), time, dtype=x_1.dtype) for time in times)
    arrived = path.bridge(x_0, path.perturb(x_0, x_1, t, z), x_1, t, s)
    torch.testing.assert_close(arrived, path.perturb(x_0, x_1, s, z))


@given(t=st.floats(0.03, 0.97), k=st.floats(0, 20), variance=st.floats(0.01, 3))
def test_posterior_mean_is_the_best_linear_estimate(t, k, variance):
    """Its error over draws of the prior and the path is no larger than with any other gain."""
    generator = torch.Generator().manual_seed(0)
    path, at = BridgePath(k=k, sigma=0.7), torch.full((4000,), t, dtype=torch.float64)
    prior, x_1, noise, z = (torch.randn(4000, 4, generator=generator, dtype=torch.float64) for _ in range(4))
    x_0 = prior + variance**0.5 * noise
    x_t = path.perturb(x_0, x_1, at, z)
    best = path.posterior_mean(prior, x_t, x_1, at, variance)
    error = (best - x_0).square().mean()
    for factor in (0.9, 1.1):
        assert (prior + factor * (best - prior) - x_0).square().mean() > error - 1e-3


def test_posterior_mean_trusts_the_prior_at_T_and_the_state_at_the_end():
    x_1, _, x_0 = ends(3)
    path, prior, z = BridgePath(k=10.0), torch.zeros_like(x_0), torch.randn_like(x_0)
    late, early = (torch.full((5,), t, dtype=x_0.dtype) for t in (1 - 1e-3, 1e-4))
    assert (path.posterior_mean(prior, path.perturb(x_0, x_1, late, z), x_1, late, 0.4) - prior).norm() < 0.1
    assert (path.posterior_mean(prior, path.perturb(x_0, x_1, early, z), x_1, early, 0.4) - x_0).norm() < 0.1


@pytest.mark.parametrize("steps", [0, 1, 2, 4, 10, 20])
@pytest.mark.parametrize("method", ["euler", "bridge"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_perfect_estimator_lands_on_the_class_for_every_number_of_steps(steps, method, dtype):
    x_1, X_c, x_0 = ends(0, dtype=dtype)
    for k in (0.0, 4.0, 50.0):
        arrived = Sampler(steps, method)(lambda *_: x_0, BridgePath(k=k), x_1, X_c)
        torch.testing.assert_close(arrived, x_0)


def test_the_state_of_a_perfect_estimator_arrives_as_steps_grow():
    x_1, X_c, x_0 = ends(1)
    path = BridgePath(k=4.0, sigma=0.5)
    far = [(Sampler(n, "euler", "state")(lambda *_: x_0, path, x_1, X_c) - x_0).norm() for n in (4, 64, 1000)]
    assert far[0] > far[1] > far[2]
    exact = Sampler(1, "bridge", "state")(lambda *_: x_0, path, x_1, X_c)
    expected = path.bridge(x_0, x_1, x_1, *(torch.full((5,), t, dtype=x_1.dtype) for t in (path.T, path.t_eps)))
    torch.testing.assert_close(exact, expected)


def test_samplers_converge_at_the_first_order():
    """Halving the step halves the error of the state, against 400 steps of second order made by hand."""
    x_1, X_c, _ = ends(2, batch=2)
    path = BridgePath(k=3.0, sigma=0.5, t_eps=0.2)

    def estimator(x_t, X_c, t):
        return 0.3 * x_t + 0.1 * X_c.mean(1) + t[:, None]

    reference = x_1
    for t, s in pairwise(torch.linspace(path.T, path.t_eps, 401, dtype=x_1.dtype)):
        half = reference - (t - s) / 2 * path.vector_field(estimator(reference, X_c, t[None]), reference, x_1, t[None])
        middle = (t + s)[None] / 2
        reference = reference - (t - s) * path.vector_field(estimator(half, X_c, middle), half, x_1, middle)
    for method in ("euler", "bridge"):
        errors = [(Sampler(n, method, "state")(estimator, path, x_1, X_c) - reference).norm() for n in (16, 32)]
        assert math.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.25), method


@pytest.mark.parametrize("method", ["euler", "bridge"])
def test_a_step_of_two_is_made_from_the_estimate_before_it(method):
    """Algorithm 2 written out for N = 2."""
    x_1, X_c, _ = ends(4)
    path = BridgePath(k=5.0, sigma=0.6)

    def estimator(x_t, X_c, t):
        return 0.5 * x_t + X_c.mean(1) * t[:, None]

    T, middle, t_eps = (torch.full((5,), t, dtype=x_1.dtype) for t in (path.T, 0.5, path.t_eps))
    states, estimates = [x_1], [estimator(x_1, X_c, T)]
    for t, s in ((T, middle), (middle, t_eps)):
        if method == "euler":
            u = path.vector_field(estimates[-1], states[-1], x_1, t)
            states.append(states[-1] - u * (t - s)[:, None])
        else:
            states.append(path.bridge(estimates[-1], states[-1], x_1, t, s))
        estimates.append(estimator(states[-1], X_c, s))
    found = Sampler(2, method).trace(estimator, path, x_1, X_c)
    torch.testing.assert_close(found, (torch.stack(estimates), torch.stack(states)))
    for readout, last in (("estimate", estimates[-1]), ("state", states[-1])):
        torch.testing.assert_close(Sampler(2, method, readout)(estimator, path, x_1, X_c), last)


@given(
    steps=st.integers(0, 20),
    method=st.sampled_from(["euler", "bridge"]),
    k=st.floats(0, 20),
    sigma=st.floats(0.05, 2),
    variance=st.floats(0.001, 2),
    seed=st.integers(0, 50),
)
def test_posterior_coefficients_equal_the_steps(steps, method, k, sigma, variance, seed):
    x_1, X_c, prior = ends(seed)
    path, sampler = BridgePath(k=k, sigma=sigma), Sampler(steps, method)

    def estimator(x_t, X_c, t):
        return path.posterior_mean(prior, x_t, x_1, t, variance)

    for found, coefficients in zip(
        sampler.trace(estimator, path, x_1, X_c), sampler.posterior_coefficients(path, variance), strict=True
    ):
        a, b = coefficients[:, :, None, None].unbind(1)
        expected = a * prior + b * x_1
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))


def test_the_coefficients_of_the_bundled_settings():
    """Four bridge steps move the estimate by less than 1 %: docs/method.md gives these two numbers."""
    estimates, _ = Sampler(4, "bridge").posterior_coefficients(BridgePath(k=10.0, sigma=0.5), 0.1)
    assert estimates[-1].tolist() == pytest.approx([0.99345, 0.00655], abs=1e-5)


@given(steps=st.integers(1, 50), t_eps=st.floats(1e-4, 0.4))
def test_grid_falls_evenly_from_T_to_t_eps(steps, t_eps):
    path = BridgePath(t_eps=t_eps)
    grid = time_grid(path, steps)
    assert len(grid) == steps + 1
    assert grid[0] == path.T
    assert grid[-1] == path.t_eps
    gaps = [a - b for a, b in pairwise(grid)]
    assert gaps == pytest.approx([(path.T - path.t_eps) / steps] * steps, abs=1e-12)


def test_zero_steps_read_the_direct_estimate():
    x_1, X_c, _ = ends(3)
    path = BridgePath()
    direct = Sampler(0)(lambda x_t, X_c, t: x_t * t[:, None], path, x_1, X_c)
    torch.testing.assert_close(direct, x_1 * path.T)


@given(seed=st.integers(0, 50), permutation=st.permutations(range(4)))
@settings(max_examples=20)
def test_permuting_class_indices_permutes_the_answer(seed, permutation):
    """Transport knows points, not indices: relabelling the codes relabels the nearest code and nothing else."""
    x_1, X_c, _ = ends(seed)
    codes = torch.from_numpy(class_codes(4, 16)).double()
    order = torch.tensor(permutation)

    def nearest(to):
        mixture = lambda x_t, X_c, t: (x_t @ to.T).softmax(-1) @ to  # noqa: E731
        return (Sampler(4)(mixture, BridgePath(), x_1, X_c) @ to.T).argmax(-1)

    torch.testing.assert_close(order[nearest(codes[order])], nearest(codes))


@given(power=st.floats(0.5, 6), seed=st.integers(0, 100))
def test_times_stay_on_the_path_and_crowd_to_T_as_the_power_grows(power, seed):
    path, like = BridgePath(t_eps=0.03), torch.zeros(1)
    t = Objective(time_power=power).draw_times(path, 4000, like, torch.Generator().manual_seed(seed))
    assert t.min() >= path.t_eps - 1e-6
    assert t.max() <= path.T
    assert t.mean().item() == pytest.approx(path.T - (path.T - path.t_eps) / (power + 1), abs=0.03)


def test_mixup_blends_all_three_alike_and_only_its_share():
    x_1, X_c, x_0 = ends(5, batch=4000, dim=8, classes=3)
    tag = torch.arange(4000.0, dtype=x_1.dtype)
    x_1[:], X_c[:], x_0[:] = tag[:, None], tag[:, None, None], tag[:, None]
    mixed = Objective(mixup=0.7).augment(x_1, X_c, x_0, torch.Generator().manual_seed(0))
    first = mixed[0][:, 0]
    assert all((part.flatten(1) == first[:, None]).all() for part in mixed)
    assert (first != tag).double().mean().item() == pytest.approx(0.7, abs=0.03)


def test_without_augmentation_nothing_changes():
    before = ends(6)
    for part, original in zip(Objective().augment(*before), before, strict=True):
        assert part is original


def test_noise_moves_features_but_never_the_target():
    x_1, X_c, x_0 = ends(7, batch=500)
    noisy_1, noisy_c, same_0 = Objective(noise=0.3).augment(x_1, X_c, x_0, torch.Generator().manual_seed(0))
    assert (noisy_1 - x_1).std().item() == pytest.approx(0.3, rel=0.05)
    assert (noisy_c - X_c).std().item() == pytest.approx(0.3, rel=0.05)
    assert same_0 is x_0
    added = torch.cat([(noisy_1 - x_1)[:, None], noisy_c - X_c], dim=1).transpose(0, 1).flatten(1)
    assert (torch.corrcoef(added) - torch.eye(4)).abs().max() < 0.1  # each vector has its own noise


def test_training_example_is_algorithm_1():
    x_1, X_c, x_0 = ends(8)
    path, objective = BridgePath(k=6.0, sigma=0.5), Objective(time_power=4.0)
    example = objective.example(path, x_1, X_c, x_0, torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    t = objective.draw_times(path, 5, x_1, generator)
    z = torch.randn(x_1.shape, generator=generator, dtype=x_1.dtype)
    torch.testing.assert_close(example.x_t, path.perturb(x_0, x_1, t, z))
    torch.testing.assert_close(example.t, t)


def test_loss_is_zero_only_for_the_target():
    x_1, X_c, x_0 = ends(9)
    example = Objective().example(BridgePath(), x_1, X_c, x_0)
    assert target_matching_loss(lambda *_: x_0, example) == 0
    assert target_matching_loss(lambda *_: x_0 + 2, example).item() == pytest.approx(4)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: BridgePath(k=-1), "path.k"),
        (lambda: BridgePath(k=200.1), "path.k"),
        (lambda: BridgePath(sigma=-0.1), "sigma"),
        (lambda: BridgePath(t_eps=0.5), "t_eps"),
        (lambda: Objective(time_power=0), "time_power"),
        (lambda: Objective(mixup=1.5), "mixup"),
        (lambda: Objective(noise=-1), "noise"),
        (lambda: Sampler(steps=-1), "steps"),
        (lambda: Sampler(method="heun"), "heun"),
        (lambda: Sampler(steps=1001), "steps"),
        (lambda: BridgePath(sigma=101), "sigma"),
        (lambda: BridgePath(t_eps=0.0), "t_eps"),
        (lambda: Sampler(readout="mean"), "readout"),
        (lambda: Sampler(steps=0, readout="state"), "0 steps"),
    ],
)
def test_impossible_settings_are_refused(make, word):
    with pytest.raises(ConfigError, match=word):
        make()


def test_settings_cannot_be_changed_behind_the_back():
    with pytest.raises(dataclasses.FrozenInstanceError):
        BridgePath().k = 3
