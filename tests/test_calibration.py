"""Calibration of scores by one exponent."""

import numpy as np
import pytest

from genser.taxonomy import probabilities
from genser.training.calibration import fit_power


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
