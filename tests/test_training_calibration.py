"""Calibration of scores on held-out predictions."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_training import fresh, problem, recipe

from genser.encoders import EncoderConfig
from genser.model.folder import load_model, save_model
from genser.model.head import HeadConfig
from genser.model.in_domain import SMALLEST, InDomainScore
from genser.training import train
from genser.training.batches import balance_weights
from genser.training.calibration import (
    FEWEST,
    Calibration,
    HeldOutPredictions,
    calibrate,
    drop_in_domain_score,
    fit_exponent,
    fit_in_domain_score,
)
from genser.training.gender import calibrate_gender
from genser.transport.codes import probabilities


@pytest.mark.parametrize("distortion", [0.5, 1.0, 2.0])
def test_the_exponent_undoes_a_distortion_of_honest_scores(distortion):
    generator = np.random.default_rng(0)
    honest = generator.dirichlet([0.4] * 5, 20_000)
    labels = np.array([generator.choice(5, p=row) for row in honest[:6000]])
    distorted = honest[:6000] ** (1 / distortion)
    exponent = fit_exponent(distorted, labels)
    assert exponent == pytest.approx(distortion, rel=0.15)
    scores = probabilities(distorted, exponent)
    assert scores.max(1).mean() == pytest.approx((scores.argmax(1) == labels).mean(), abs=0.03)


def test_classes_count_alike():
    """A rare class that is always wrong lowers the confidence as much as a common one would."""
    common = np.tile([[0.9, 0.1]], (90, 1))
    rare = np.tile([[0.6, 0.4]], (10, 1))
    labels = np.repeat([0, 1], [90, 10])
    alone = fit_exponent(np.concatenate([common, rare]), labels)
    assert probabilities(np.concatenate([common, rare]), alone)[:90].max(1).mean() < 0.9


def test_corpora_count_alike_whatever_their_size():
    """A large corpus with 50 % accuracy moves the exponent no more than a small one with 100 %."""
    generator = np.random.default_rng(1)
    labels = generator.integers(2, size=1100)
    corpora = np.repeat(["large", "small"], [1000, 100])
    right = np.where(corpora == "small", True, generator.random(1100) < 0.5)
    coordinates = np.where((np.arange(2) == np.where(right, labels, 1 - labels)[:, None]), 0.7, 0.3)
    confidence = probabilities(coordinates, fit_exponent(coordinates, labels, corpora)).max(1).mean()
    assert confidence == pytest.approx(0.75, abs=0.03)
    assert probabilities(coordinates, fit_exponent(coordinates, labels)).max(1).mean() < 0.65


def predicted(head, data):
    return HeldOutPredictions.of(head, np.arange(len(data)), data, np.full(len(data), "toy"))


def test_a_head_becomes_as_confident_as_it_is_right():
    head, held_out = fresh(recipe()), problem(rows=300, seed=1)
    train(head, problem(), recipe())
    before = head.eval()(held_out.features).detach()
    calibrate(head, predicted(head, held_out))
    after = head(held_out.features).detach()
    assert (after.argmax(1) == before.argmax(1)).all()
    right = (after.argmax(1) == held_out.labels).float().mean()
    assert abs(after.amax(1).mean() - right) < abs(before.amax(1).mean() - right)
    assert after.amax(1).mean() == pytest.approx(float(right), abs=0.05)


def test_too_few_clips_leave_the_head_as_it_is():
    head = fresh(recipe()).eval()
    calibrate(head, predicted(head, problem(rows=FEWEST - 1)))
    assert head.config.exponent == 1.0


def recordings(count, offset, seed):
    """Clips that vary along two directions, with a fixed offset like that of another microphone."""
    generator = torch.Generator().manual_seed(seed)
    speech = torch.randn(count, 2, generator=generator) @ torch.tensor([[6.0, 0, 0, 0, 0, 0], [0, 0, 0, 4.0, 0, 0]])
    return (speech + 0.1 * torch.randn(count, 6, generator=generator) + offset).unflatten(1, (2, 3))


def test_clips_that_differ_as_training_clips_do_are_in_domain():
    eye = InDomainScore(2, 3, 2).fit(recordings(400, 0.0, 0))
    assert eye.distance(recordings(400, 0.0, 1)).exp().mean() == pytest.approx(1, abs=0.1)
    assert eye.distance(4 * recordings(400, 0.0, 1) / 4 + torch.tensor([[9.0, 0, 0], [7.0, 0, 0]])).max() < 2.5
    assert eye.distance(recordings(400, 0.5, 2)).min() > 2.5


@pytest.mark.parametrize("rows", [10, 100, 600])
def test_the_distances_are_those_of_a_full_decomposition(rows):
    """Also of fewer clips than features, and of noise, whose components are hard to tell apart."""
    features, others = torch.randn(rows, 2, 128), torch.randn(50, 2, 128)
    weights, state = torch.rand(rows) + 0.1, torch.get_rng_state()
    score = InDomainScore(2, 128, 8).fit(features, weights)
    assert torch.equal(state, torch.get_rng_state())
    share = weights.double()[:, None] / weights.double().sum()
    away = features.flatten(1).double() - (mean := (share * features.flatten(1)).sum(0))
    values, vectors = torch.linalg.eigh((share * away).T @ away)
    residual = ((others.flatten(1) - mean) @ vectors[:, :-8]).square().sum(1) / values[:-8].sum().clamp(min=SMALLEST)
    torch.testing.assert_close(score.distance(others), residual.log().float(), rtol=0, atol=1e-3)


def test_a_common_corpus_does_not_push_a_rare_one_out_of_domain():
    features = torch.cat([recordings(900, 0.0, 0), recordings(10, 0.2, 1)])
    features[:, 0, 1] += 0.2 * torch.randn(910, generator=torch.Generator().manual_seed(3))
    weights = balance_weights([("common",)] * 900 + [("rare",)] * 10)
    rare = recordings(30, 0.2, 2)
    alike, each = (InDomainScore(2, 3, 3).fit(features, chosen).distance(rare).mean() for chosen in (weights, None))
    assert alike < 0.5 < each


def kind(right, distance, rows=400, seed=0):
    """Predictions of which a share is right, at some distance."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(2, size=rows)
    answers = np.where(generator.random(rows) < right, labels, 1 - labels)
    coordinates = np.where(np.arange(2) == answers[:, None], 0.7, 0.3)
    return HeldOutPredictions(
        np.arange(rows), coordinates, distance + 0.1 * generator.standard_normal(rows), labels, np.full(rows, "toy")
    )


def test_out_of_domain_clips_get_a_lower_confidence():
    calibration = Calibration.fitted(kind(0.9, 0.0), kind(0.6, 1.0))
    assert calibration.exponent > calibration.out_of_domain_exponent
    assert calibration.boundary == pytest.approx(0.5, abs=0.05)
    for predictions, right in ((kind(0.9, 0.0, seed=1), 0.9), (kind(0.6, 1.0, seed=1), 0.6)):
        assert calibration.scores(predictions).max(1).mean() == pytest.approx(right, abs=0.05)
        assert (calibration.scores(predictions).argmax(1) == predictions.coordinates.argmax(1)).all()


def test_if_out_of_domain_clips_are_nearer_the_score_is_even():
    calibration = Calibration.fitted(kind(0.9, 1.0), kind(0.6, 0.0))
    assert calibration.slope == 0
    assert calibration.in_domain(np.array([-9.0, 9.0])) == pytest.approx(0.5)


def test_a_head_scores_as_its_calibration_does_and_is_kept_with_it(tmp_path):
    head, held_out = fresh(recipe()).eval(), problem(rows=200, seed=1)
    fit_in_domain_score(head, held_out.features[:100], ["toy"] * 100)
    distances = head.in_domain.distance(held_out.features)
    calibration = Calibration(4.0, 1.5, float(distances.median()), 3.0)
    calibration.apply(head)
    predictions = predicted(head, held_out)
    assert predictions.coordinates == pytest.approx(head.coordinates(held_out.features).detach().numpy())
    assert predictions.distances == pytest.approx(distances.numpy())
    assert head(held_out.features).detach().numpy() == pytest.approx(calibration.scores(predictions), abs=1e-5)
    save_model(tmp_path / "model", head, EncoderConfig("whisper", "nowhere.safetensors"), "fingerprint")
    again = load_model(tmp_path / "model").head
    assert torch.equal(again(held_out.features), head(held_out.features))


def test_a_head_is_calibrated_by_one_exponent_or_by_two():
    one, two = fresh(recipe()).eval(), fresh(recipe()).eval()
    assert calibrate(one, kind(0.9, 0.0)) is None
    assert one.config.exponent == fit_exponent(kind(0.9, 0.0).coordinates, kind(0.9, 0.0).labels)
    fit_in_domain_score(two, problem().features, ["toy"] * 90)
    assert calibrate(two, kind(0.9, 0.0), kind(0.6, 1.0)) == Calibration.fitted(kind(0.9, 0.0), kind(0.6, 1.0))
    assert two.config.exponent > two.config.out_of_domain_exponent


def test_a_dropped_in_domain_score_leaves_no_trace(tmp_path):
    head, plain = fresh(recipe()), fresh(recipe())
    fit_in_domain_score(head, problem().features, ["toy"] * 90)
    drop_in_domain_score(head)
    assert head.config == plain.config
    assert head.state_dict().keys() == plain.state_dict().keys()


def test_one_hard_corpus_does_not_lower_the_confidence_in_the_gender_elsewhere():
    """Seven corpora in which 98 of 100 clips are right, and one in which 70 are, at one confidence."""
    labels = np.tile([0, 1], 50)
    parts = []
    for number, wrong in enumerate([2] * 7 + [30]):
        answers = np.where(np.arange(100) < wrong, 1 - labels, labels)
        coordinates = np.where(np.eye(2)[answers] > 0, 0.8, 0.2)
        rows = np.arange(100), coordinates, np.zeros(100), labels, np.full(100, str(number))
        parts.append(HeldOutPredictions(*rows))
    head = SimpleNamespace(config=HeadConfig(("female", "male"), kind="flat"))
    calibrate_gender(head, [HeldOutPredictions.joined(parts)])
    confidence = probabilities(parts[0].coordinates, head.config.exponent).max()
    assert confidence == pytest.approx(0.98, abs=0.005)
    few = SimpleNamespace(config=HeadConfig(("female", "male"), kind="flat"))
    calibrate_gender(few, [])
    assert few.config == HeadConfig(("female", "male"), kind="flat")
