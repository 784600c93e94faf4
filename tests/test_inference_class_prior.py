"""Classes that can occur, and their shares: Bayes' rule on the scores of a model."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from voices import LABELS, RATE, PitchBackend, babble

from genser.errors import ConfigError
from genser.inference.class_prior import ClassPrior
from genser.inference.prediction import NO_SPEECH, Prediction
from genser.inference.recognizer import Recognizer

rows = arrays.arrays(float, (4, 3), elements=st.floats(0.001, 1.0)).map(lambda x: x / x.sum(1, keepdims=True))


@given(rows, st.lists(st.floats(0.01, 10), min_size=2, max_size=2))
def test_scores_are_the_posterior_over_the_classes_that_can_occur(scores, shares):
    found = ClassPrior.of(LABELS, prior={"high": shares[1], "low": shares[0]}).posterior(scores)
    joint = scores[:, [0, 2]] * shares
    np.testing.assert_allclose(found, joint / joint.sum(1, keepdims=True), rtol=1e-9)


@given(rows)
def test_all_classes_with_equal_shares_change_nothing(scores):
    assert ClassPrior.of(LABELS).posterior(scores) is scores
    np.testing.assert_array_equal(ClassPrior.of(LABELS, LABELS[::-1]).posterior(scores), scores)


@given(rows)
def test_restricting_twice_is_restricting_once(scores):
    once = ClassPrior.of(LABELS, ["low", "high"]).posterior(scores)
    twice = ClassPrior.of(("low", "high"), prior={"low": 3, "high": 1}).posterior(once)
    np.testing.assert_allclose(twice, ClassPrior.of(LABELS, prior={"low": 3, "high": 1}).posterior(scores), rtol=1e-6)


def test_a_row_without_any_possible_class_gives_the_shares_and_nan_stays_nan():
    prior = ClassPrior.of(LABELS, prior={"low": 1, "middle": 3})
    np.testing.assert_allclose(prior.posterior(np.array([[0.0, 0.0, 1.0]])), [[0.25, 0.75]])
    assert np.isnan(prior.posterior(np.full((1, 3), np.nan))).all()


@pytest.mark.parametrize(
    ("classes", "prior", "message"),
    [
        (["low", "hihg"], None, "no class 'hihg'. Did you mean 'high'"),
        ([1, 2], None, "no class 1. Known are"),
        (None, {"low": 10**400, "middle": 1}, "above 0"),
        (None, {"low": "much", "middle": 1}, "above 0"),
        (["low"], None, "two or more"),
        ([], None, "got none"),
        (["low", "low"], None, "two or more different"),
        (None, {"low": 1.0, "middle": 0.0}, "above 0"),
        (None, {"low": 1.0, "middle": float("nan")}, "above 0"),
        (None, {"low": 0.5, "middle": True}, "above 0"),
        (["low", "high"], {"low": 1.0}, "high has no share"),
        (["low", "high"], {"low": 1.0, "middle": 1, "high": 1}, "middle is not one of them"),
    ],
)
def test_wrong_classes_and_shares_are_refused(classes, prior, message):
    with pytest.raises(ConfigError, match=message):
        ClassPrior.of(LABELS, classes, prior)


@pytest.mark.filterwarnings("error")
def test_shares_of_any_size_are_relative():
    for text in ("low=1e308,middle=1e308", "low=1e-320,middle=1e-320", "low=1.7e308,middle=1.7e308,high=1.7e308"):
        prior = ClassPrior.of(LABELS, prior=text)
        np.testing.assert_allclose(prior.shares, 1 / len(prior.shares))
        assert prior.posterior(np.array([[0.5, 0.25, 0.25]])).sum() == pytest.approx(1)


def test_texts_stand_for_classes_and_shares():
    assert ClassPrior.of(LABELS, " high, low,").labels == ("low", "high")
    prior = ClassPrior.of(LABELS, prior="low=0.2, high = 6e-1")
    assert prior.labels == ("low", "high")
    np.testing.assert_allclose(prior.shares, [0.25, 0.75])
    for text in ("low", "low=much", "low=1,low=2", "0.3"):
        with pytest.raises(ConfigError, match="has the part"):
            ClassPrior.of(LABELS, prior=text)


@given(rows)
def test_a_prediction_of_all_classes_is_restricted_like_its_scores(scores):
    prior = ClassPrior.of(LABELS, prior="low=1,high=3")
    named = dict(zip(LABELS, scores[0].tolist(), strict=True))
    found = prior.applied(Prediction("a.wav", "low", named, speech=0.9))
    expected = prior.posterior(scores)[0]
    assert found.label == prior.labels[expected.argmax()]
    np.testing.assert_allclose(list(found.scores.values()), expected)
    assert prior.applied(Prediction("a.wav", NO_SPEECH, named, speech=0.1)).label == NO_SPEECH
    assert prior.applied(Prediction("a.wav", None, error="broken")) == Prediction("a.wav", None, error="broken")


def test_a_restricted_recognizer_uses_its_classes_everywhere():
    plain = Recognizer(PitchBackend())
    pair = plain.restricted(["low", "middle"])
    sound = babble(2.0, 160.0)
    assert (plain.labels, pair.labels) == (LABELS, ("low", "middle"))
    np.testing.assert_allclose(pair.scores([sound])[0], renormalized(plain.scores([sound])[0]), rtol=1e-6)
    np.testing.assert_allclose(pair.trajectory(sound)[-1], renormalized(plain.scores([sound])[0]), rtol=1e-6)
    found, expected = (one.predict((sound, RATE)).scores for one in (pair, plain))
    assert list(found) == ["low", "middle"]
    np.testing.assert_allclose(list(found.values()), renormalized(np.array(list(expected.values()))), rtol=1e-6)
    segments = pair.segments((sound, RATE))
    assert segments
    assert all(list(segment.scores) == ["low", "middle"] for segment in segments)


def renormalized(scores: np.ndarray) -> np.ndarray:
    return scores[:2] / scores[:2].sum()


def test_a_larger_share_raises_the_score_of_a_class_in_clips_and_segments():
    sound = babble(2.0, 160.0)
    even = Recognizer(PitchBackend())
    more = even.restricted(prior={"low": 5, "middle": 1, "high": 1})
    assert more.predict((sound, RATE)).scores["low"] > even.predict((sound, RATE)).scores["low"]
    assert more.segments((sound, RATE))[0].scores["low"] > even.segments((sound, RATE))[0].scores["low"]
