"""The chain over time against sums over every path."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genser.segments.smoothing import DURATIONS, SPREAD, filtered, fitted_duration, likelihoods, smoothed, viterbi


@st.composite
def chains(draw, most=5):
    classes, pieces = draw(st.integers(2, 3)), draw(st.integers(1, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    posteriors = rng.dirichlet(np.full(classes, 0.7), pieces)
    times = np.cumsum(rng.exponential(2.0, pieces))
    return posteriors, times, rng.dirichlet(np.full(classes, 3.0)), rng.uniform(0.5, 10), rng.uniform(0.2, 1, pieces)


def path_weights(posteriors, times, prior, duration, evidence):
    """Joint probability of every path, computed without any recursion."""
    seen = likelihoods(posteriors, prior, evidence)
    weights = {}
    for path in product(range(len(prior)), repeat=len(posteriors)):
        weight = prior[path[0]] * seen[0, path[0]]
        for i in range(1, len(path)):
            stay = np.exp(-(times[i] - times[i - 1]) / duration)
            weight *= (stay * (path[i] == path[i - 1]) + (1 - stay) * prior[path[i]]) * seen[i, path[i]]
        weights[path] = weight
    return weights


def marginals(weights, at, classes):
    sums = np.array([sum(w for path, w in weights.items() if path[at] == b) for b in range(classes)])
    return sums / sums.sum()


@given(chains())
def test_smoothed_is_the_marginal_over_all_paths(chain):
    weights = path_weights(*chain)
    expected = [marginals(weights, i, len(chain[2])) for i in range(len(chain[0]))]
    np.testing.assert_allclose(smoothed(*chain), expected, atol=1e-6)


@given(chains())
def test_filtered_is_smoothed_of_what_came_so_far(chain):
    posteriors, times, prior, duration, evidence = chain
    for i, row in enumerate(filtered(*chain), 1):
        cut = smoothed(posteriors[:i], times[:i], prior, duration, evidence[:i])
        np.testing.assert_allclose(row, cut[-1], atol=1e-9)


@given(chains())
def test_viterbi_finds_the_most_probable_path(chain):
    weights = path_weights(*chain)
    assert weights[tuple(viterbi(*chain))] == pytest.approx(max(weights.values()), rel=1e-6)


@given(chains())
def test_far_apart_pieces_keep_their_own_scores(chain):
    posteriors, times, prior, _, evidence = chain
    apart = smoothed(posteriors, times, prior, 1e-3, np.ones_like(evidence))
    close = np.diff(times, prepend=-9).min() < 0.05
    if not close:
        np.testing.assert_allclose(apart, posteriors, atol=1e-5)


@given(chains(), st.integers(2, 5))
def test_hearing_one_sound_again_adds_nothing(chain, times_heard):
    """The same window, cut into n sights that share its evidence, at one moment says what it says once."""
    posteriors, _, prior, duration, _ = chain
    one = smoothed(posteriors[:1], np.zeros(1), prior, duration, np.ones(1))
    rows = np.repeat(posteriors[:1], times_heard, axis=0)
    many = smoothed(rows, np.zeros(times_heard), prior, duration, np.full(times_heard, 1 / times_heard))
    np.testing.assert_allclose(many[-1], one[0], atol=1e-6)


def test_an_uncertain_piece_follows_its_neighbours():
    posteriors = np.array([[0.9, 0.1], [0.45, 0.55], [0.9, 0.1]])
    arguments = (posteriors, np.array([0.0, 1.0, 2.0]), np.full(2, 0.5), 5.0, np.ones(3))
    assert smoothed(*arguments)[1].argmax() == 0
    assert filtered(*arguments)[1].argmax() == 0
    assert viterbi(*arguments).tolist() == [0, 0, 0]


def test_no_pieces_no_path():
    empty = (np.empty((0, 3)), np.empty(0), np.full(3, 1 / 3), 2.0, np.empty(0))
    assert smoothed(*empty).shape == (0, 3)
    assert viterbi(*empty).tolist() == []


@given(chains(most=4), st.floats(0.3, 10))
def test_the_fitted_duration_is_the_most_probable_of_those_tried(chain, typical):
    posteriors, times, prior, _, evidence = chain
    paths = [path_weights(posteriors, times, prior, tau, evidence) for tau in DURATIONS]
    scores = [np.log(sum(weights.values())) for weights in paths] - np.log(DURATIONS / typical) ** 2 / (2 * SPREAD**2)
    found = fitted_duration(posteriors, times, prior, typical, evidence)
    assert scores[list(DURATIONS).index(found)] == pytest.approx(scores.max(), abs=1e-8)


@pytest.mark.parametrize("duration", [0.2, 3.0, 30.0])
def test_a_long_recording_tells_how_long_emotions_last(duration):
    rng = np.random.default_rng(0)
    times, classes = np.arange(1500.0), 4
    label, labels = 0, []
    for _ in times:
        label = label if rng.random() < np.exp(-1 / duration) else int(rng.integers(classes))
        labels.append(label)
    heard = np.where(rng.random(1500) < 0.7, labels, rng.integers(classes, size=1500))
    posteriors = np.where(np.arange(classes) == heard[:, None], 0.775, 0.075)
    found = fitted_duration(posteriors, times, np.full(classes, 0.25), 1.4, np.ones(1500))
    assert np.exp(-1 / found) == pytest.approx(np.exp(-1 / duration), abs=0.05)


def test_nothing_heard_leaves_the_typical_duration():
    found = fitted_duration(np.full((1, 3), 1 / 3), np.zeros(1), np.full(3, 1 / 3), 1.4, np.ones(1))
    assert found == pytest.approx(1.4, rel=0.12)
