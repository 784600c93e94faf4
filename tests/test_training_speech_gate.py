"""Fitting and training the speech gate."""

from functools import partial
from itertools import cycle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from genser.audio.synthetic_noise import FAMILIES
from genser.encoders import Pooling
from genser.errors import ConfigError
from genser.training.speech_gate import fit_gate, train_gate

STATES, DIM = 3, 4


def kinds(clips=40, sounds=25, distance=1.0, seed=0, state=1):
    """Rows of both kinds that differ in one state, with dimensions of very different scales and offsets."""
    draw = torch.Generator().manual_seed(seed)
    scale, offset = 10 ** torch.linspace(-2, 2, STATES * DIM).view(STATES, DIM), torch.linspace(-3, 3, DIM)
    way = torch.zeros(STATES, DIM)
    way[state] = distance
    speech = torch.randn(clips, STATES, DIM, generator=draw) + way
    other = torch.randn(sounds, STATES, DIM, generator=draw) - way
    return (speech + offset) * scale, (other + offset) * scale


def standardised(speech, other, chosen):
    """Both kinds over mean and deviation in which they count alike, in float64."""
    rows = torch.cat([speech[:, chosen], other[:, chosen]]).flatten(1).double()
    target = torch.cat([torch.ones(len(speech)), torch.zeros(len(other))]).double()
    share = torch.where(target > 0, 0.5 / target.sum(), 0.5 / (1 - target).sum())
    mean = share @ rows
    return (rows - mean) / (share @ (rows - mean).square()).sqrt(), target, share


def norm(gate, speech, other):
    """Length of the weights on standardised features."""
    deviation = torch.cat([speech, other]).std(0)
    return float((gate.weight * deviation).norm())


def test_separable_kinds_are_separated_also_on_rows_never_seen():
    gate = fit_gate(*kinds(distance=3.0))
    speech, other = kinds(distance=3.0, seed=1)
    assert gate(speech).min() > 0.7
    assert gate(other).max() < 0.3


@pytest.mark.parametrize("chosen", [None, (1,), (2, 0)])
def test_the_folded_gate_is_the_minimum_over_standardised_features(chosen):
    speech, other = kinds()
    penalty, places = 0.05, list(range(STATES)) if chosen is None else list(chosen)
    gate = fit_gate(speech, other, states=chosen, penalty=penalty)
    rows, target, share = standardised(speech, other, places)
    logits = torch.logit(gate(torch.cat([speech, other]).float()).double())
    # The logits are affine in the standardised rows; at the minimum the gradient vanishes.
    solution = torch.linalg.lstsq(torch.cat([rows, torch.ones(len(rows), 1)], 1).double(), logits[:, None]).solution
    weight, bias = solution[:-1, 0].requires_grad_(), solution[-1, 0].requires_grad_()
    torch.testing.assert_close(rows @ weight + bias, logits, atol=1e-4, rtol=1e-4)
    loss = functional.binary_cross_entropy_with_logits(rows @ weight + bias, target, share, reduction="sum")
    gradients = torch.autograd.grad(loss + penalty / 2 * weight.square().sum(), [weight, bias])
    assert max(gradient.abs().max() for gradient in gradients) < 1e-4


def test_states_that_are_not_chosen_have_no_weight():
    speech, other = kinds()
    gate = fit_gate(speech, other, states=(1,))
    assert not gate.weight[[0, 2]].any()
    assert gate.weight[1].all()
    moved = speech.clone()
    moved[:, [0, 2]] += 100
    torch.testing.assert_close(gate(moved), gate(speech), rtol=0, atol=0)


def test_the_order_of_states_does_not_matter():
    one, two = (fit_gate(*kinds(), states=states) for states in ((0, 2), (2, 0)))
    torch.testing.assert_close(one.weight, two.weight, rtol=1e-3, atol=1e-5)


@settings(max_examples=5)
@given(copies=st.integers(2, 6))
def test_kinds_count_alike_however_many_rows_they_have(copies):
    speech, other = kinds()
    gate, heavier = fit_gate(speech, other), fit_gate(speech.repeat(copies, 1, 1), other)
    torch.testing.assert_close(heavier(speech), gate(speech), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(heavier(other), gate(other), atol=1e-4, rtol=1e-4)


def test_swapping_the_kinds_turns_the_answer_round():
    speech, other = kinds()
    torch.testing.assert_close(fit_gate(other, speech)(speech), 1 - fit_gate(speech, other)(speech), atol=1e-4, rtol=0)


@pytest.mark.parametrize("distance", [0.3, 3.0])
def test_a_higher_penalty_shrinks_the_weights(distance):
    speech, other = kinds(distance=distance)
    norms = [norm(fit_gate(speech, other, penalty=penalty), speech, other) for penalty in (1e-3, 1e-2, 0.1, 1, 100)]
    assert norms == sorted(norms, reverse=True)
    assert norms[-1] < 0.02 < norms[0] / 10


def test_with_everything_penalised_away_the_answer_is_even():
    speech, other = kinds(clips=90, sounds=10)
    torch.testing.assert_close(fit_gate(speech, other, penalty=1e6)(speech), torch.full((90,), 0.5), atol=1e-3, rtol=0)


def test_the_scale_and_offset_of_a_feature_do_not_matter():
    speech, other = kinds()
    scale, offset = torch.rand(STATES, DIM) + 0.5, torch.randn(STATES, DIM)
    changed = fit_gate(speech * scale + offset, other * scale + offset)(speech * scale + offset)
    torch.testing.assert_close(changed, fit_gate(speech, other)(speech), atol=1e-4, rtol=1e-3)


def test_a_feature_that_never_changes_gets_no_weight():
    speech, other = kinds()
    speech[:, 1, 0] = other[:, 1, 0] = 5.0
    gate = fit_gate(speech, other)
    assert gate.weight[1, 0] == 0
    assert gate.weight.isfinite().all()


def test_the_fit_is_the_same_each_time_and_draws_nothing():
    before = torch.get_rng_state()
    one, two = fit_gate(*kinds()), fit_gate(*kinds())
    assert torch.equal(one.weight, two.weight)
    assert torch.equal(one.bias, two.bias)
    assert torch.equal(before, torch.get_rng_state())


def test_the_threshold_is_kept_and_does_not_change_probabilities():
    speech, other = kinds(distance=0.3)
    strict, lenient = (fit_gate(speech, other, threshold=threshold) for threshold in (0.9, 0.1))
    assert (strict.threshold, lenient.threshold) == (0.9, 0.1)
    torch.testing.assert_close(strict(speech), lenient(speech), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"states": (3,)}, "among 0 to 2"),
        ({"states": (-1,)}, "among 0 to 2"),
        ({"states": (1, 1)}, "different states"),
        ({"states": ()}, "one or more"),
        ({"penalty": 0.0}, "penalty must be positive"),
        ({"penalty": float("nan")}, "penalty must be positive"),
        ({"threshold": 1.0}, "threshold"),
        ({"speech": torch.zeros(0, STATES, DIM)}, "speech is"),
        ({"other": torch.zeros(5, DIM)}, "other is"),
        ({"other": torch.zeros(5, STATES, DIM + 1)}, "different encoders"),
        ({"other": torch.full((5, STATES, DIM), torch.nan)}, "not finite"),
    ],
)
def test_what_cannot_be_fitted_is_refused(change, message):
    speech, other = kinds()
    arguments = {"speech": speech, "other": other} | change
    with pytest.raises(ConfigError, match=message):
        fit_gate(**arguments)


def test_recordings_without_speech_are_refused_if_the_gate_learned_from_some(monkeypatch):
    """Recordings that synthetic noise does not cover are refused if some of their kind are given."""
    random = np.random.default_rng(0)
    speech, synthetic, real = (
        (random.standard_normal((60, 1, 8)) + place).astype(np.float32)
        for place in (np.eye(8)[0] * 6, -np.eye(8)[0] * 6, np.eye(8)[0] * 6 + np.eye(8)[1] * 9)
    )
    families = cycle(np.array_split(synthetic, len(FAMILIES)))
    monkeypatch.setattr("genser.training.speech_gate.encode", lambda encoder, sounds: next(families))
    monkeypatch.setattr("genser.training.speech_gate.SOUNDS_EACH", 1)  # which the line above ignores
    fit = partial(train_gate, None, Pooling(), torch.from_numpy(speech))
    without, learned = fit(), fit([*real[:30], np.full((1, 8), np.nan, np.float32)])
    unseen = torch.from_numpy(real[30:])
    assert without(unseen).min() > 0.5
    assert learned(unseen).max() < 0.5
    assert learned(torch.from_numpy(speech)).min() > 0.5
