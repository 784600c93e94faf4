"""Class codes, projections and probabilities (Eqs. 2 and 12)."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genser.errors import ConfigError
from genser.transport.codes import class_codes, probabilities, projections


@given(dim=st.integers(3, 300), share=st.floats(0, 1))
def test_codes_are_orthogonal_and_of_one_norm(dim, share):
    classes = max(1, int(share * ((dim - 1) // 2)))
    codes = class_codes(classes, dim).astype(np.float64)
    np.testing.assert_allclose(codes @ codes.T, dim / 2 * np.eye(classes), atol=1e-4 * dim)


def test_codes_are_equation_2():
    position = np.arange(64)
    for index, code in enumerate(class_codes(3, 64)):
        np.testing.assert_allclose(code, np.sin(2 * np.pi * position / 64 * (index + 1)), atol=1e-6)


@given(dim=st.integers(3, 200))
def test_one_class_more_than_fits_is_refused(dim):
    most = (dim - 1) // 2
    class_codes(most, dim)
    with pytest.raises(ConfigError, match=f"at most {most} class"):
        class_codes(most + 1, dim)


def test_no_class_is_refused():
    with pytest.raises(ConfigError, match="At least one class"):
        class_codes(0, 16)


def test_limit_is_where_orthogonality_ends():
    """At the frequency L/2 the sinusoid vanishes, and above it frequencies mirror: the limit is not arbitrary."""
    position = np.arange(64)
    assert np.abs(np.sin(2 * np.pi * position / 64 * 32)).max() < 1e-12
    mirrored = np.sin(2 * np.pi * position / 64 * 33) @ np.sin(2 * np.pi * position / 64 * 31)
    assert abs(mirrored) > 1


@given(weights=st.lists(st.floats(0.01, 1), min_size=2, max_size=9))
def test_projections_of_a_mixture_of_codes_are_its_weights(weights):
    weights = np.array(weights) / np.sum(weights)
    codes = class_codes(len(weights), 64).astype(np.float64)
    np.testing.assert_allclose(projections(weights @ codes, codes), weights, atol=1e-6)
    np.testing.assert_allclose(probabilities(projections(weights @ codes, codes)), weights, atol=1e-5)


@given(seed=st.integers(0, 1000), exponent=st.floats(0.2, 4))
def test_probabilities_sum_to_one_and_keep_the_order_of_cosines(seed, exponent):
    """Eq. (12): the class of the largest cosine has the largest probability."""
    codes = class_codes(7, 64)
    points = np.random.default_rng(seed).standard_normal((5, 64)).astype(np.float32)
    scores = probabilities(projections(points, codes), exponent)
    cosines = points @ codes.T / np.linalg.norm(codes, axis=1) / np.linalg.norm(points, axis=1)[:, None]
    np.testing.assert_allclose(scores.sum(-1), 1, atol=1e-5)
    best = scores.argmax(-1) == cosines.argmax(-1)
    assert best[cosines.max(-1) > 1e-4].all()


def test_an_exponent_raises_the_odds_to_its_power():
    """Exactly so for positive coordinates, with one exponent for all rows or one for each."""
    coordinates = np.array([[0.2, 0.8], [0.2, 0.8]])
    scores = probabilities(coordinates, np.array([[1.0], [3.0]]))
    np.testing.assert_allclose(scores[:, 1] / scores[:, 0], [4, 64])
    np.testing.assert_allclose(probabilities(coordinates, 3.0)[0], scores[1])


def test_a_negative_coordinate_is_a_probability_near_0():
    scores = probabilities(np.array([[-5.0, 0.5, 0.5]]))
    np.testing.assert_allclose(scores, [[1e-6, 0.5, 0.5]], atol=2e-6)
    assert scores[0, 0] > 0


def test_without_a_positive_coordinate_all_classes_are_equal():
    np.testing.assert_allclose(probabilities(np.array([[-1.0, -2.0]])), [[0.5, 0.5]])


@given(seed=st.integers(0, 100))
def test_torch_and_numpy_agree(seed):
    codes = class_codes(5, 32)
    points = np.random.default_rng(seed).standard_normal((4, 32)).astype(np.float32)
    by_torch = probabilities(projections(torch.from_numpy(points), torch.from_numpy(codes)), 1.5)
    np.testing.assert_allclose(by_torch.numpy(), probabilities(projections(points, codes), 1.5), atol=1e-5)
