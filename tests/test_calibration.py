"""Calibration of scores by one exponent."""

import numpy as np
import pytest
from test_training import fresh, problem, recipe

from genser.taxonomy import probabilities
from genser.training import train
from genser.training.calibration import FEWEST, calibrate, fit_power


@pytest.mark.parametrize("distortion", [0.5, 1.0, 2.0])
def test_the_exponent_undoes_a_distortion_of_honest_scores(distortion):
    generator = np.random.default_rng(0)
    honest = generator.dirichlet([0.4] * 5, 20_000)
    labels = np.array([generator.choice(5, p=row) for row in honest[:6000]])
    distorted = honest[:6000] ** (1 / distortion)
    power = fit_power(distorted, labels)
    assert power == pytest.approx(distortion, rel=0.15)
    scores = probabilities(distorted, power)
    assert scores.max(1).mean() == pytest.approx((scores.argmax(1) == labels).mean(), abs=0.03)


def test_classes_count_alike():
    """A rare class that is always missed lowers the confidence as much as a common one would."""
    common = np.tile([[0.9, 0.1]], (90, 1))
    rare = np.tile([[0.6, 0.4]], (10, 1))
    labels = np.repeat([0, 1], [90, 10])
    alone = fit_power(np.concatenate([common, rare]), labels)
    assert probabilities(np.concatenate([common, rare]), alone)[:90].max(1).mean() < 0.9


def test_corpora_count_alike_whatever_their_size():
    """A large corpus that is half understood moves the exponent no more than a small one that is."""
    generator = np.random.default_rng(1)
    labels = generator.integers(2, size=1100)
    corpora = np.repeat(["large", "small"], [1000, 100])
    right = np.where(corpora == "small", True, generator.random(1100) < 0.5)
    coordinates = np.where((np.arange(2) == np.where(right, labels, 1 - labels)[:, None]), 0.7, 0.3)
    confidence = probabilities(coordinates, fit_power(coordinates, labels, corpora)).max(1).mean()
    assert confidence == pytest.approx(0.75, abs=0.03)
    assert probabilities(coordinates, fit_power(coordinates, labels)).max(1).mean() < 0.65


def test_a_head_becomes_as_confident_as_it_is_right():
    head, held_out = fresh(recipe()), problem(rows=300, seed=1)
    train(head, problem(), recipe())
    before = head(held_out.features).detach()
    calibrate(head, held_out)
    after = head(held_out.features).detach()
    assert (after.argmax(1) == before.argmax(1)).all()
    right = (after.argmax(1) == held_out.labels).float().mean()
    assert abs(after.amax(1).mean() - right) < abs(before.amax(1).mean() - right)
    assert after.amax(1).mean() == pytest.approx(float(right), abs=0.05)


def test_few_clips_tell_no_exponent():
    head = fresh(recipe())
    calibrate(head, problem(rows=FEWEST - 1))
    assert head.config.power == 1.0
