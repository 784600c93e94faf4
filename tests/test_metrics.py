import json
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genser.errors import ConfigError
from genser.metrics.bootstrap import FEW_SPEAKERS, Resampling, paired_bootstrap, paired_differences, score_intervals
from genser.metrics.classification import METRICS, NO_ANSWER, confusion_matrix, decide, f1_scores, precisions, recalls
from genser.metrics.evaluate import Predictions, evaluate
from genser.metrics.reliability import (
    SCHEMES,
    brier_score,
    calibrate,
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
)
from genser.report.document import plain

CLASSES = ("angry", "happy", "neutral", "sad")


def corpus(speakers=12, per_class=5, classes=4, skill=1.5, seed=0, seeds=None):
    """Labels, speakers and probabilities of a balanced corpus whose speakers differ in difficulty."""
    random = np.random.default_rng(seed)
    labels = np.tile(np.repeat(np.arange(classes), per_class), speakers)
    voices = np.repeat([f"s{i}" for i in range(speakers)], classes * per_class)
    ease = np.repeat(random.normal(skill, 0.8, speakers), classes * per_class)
    logits = random.normal(size=(*((seeds,) if seeds else ()), len(labels), classes))
    logits[..., np.arange(len(labels)), labels] += ease
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(axis=-1, keepdims=True), labels, voices


@pytest.fixture(scope="module")
def cases():
    """Labels and decisions of 12 random test sets of 1 to 60 utterances; some lack classes."""
    random = np.random.default_rng(0)
    sizes = [1, 2, 3, *random.integers(4, 60, 9).tolist()]
    return [(random.integers(0, 1 + n % 5, n), random.integers(0, 5, n)) for n in sizes]


def test_scores_equal_sklearn(cases):
    from sklearn import metrics

    for labels, decisions in cases:
        confusion = confusion_matrix(labels, decisions, 5)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = {
                "wa": metrics.accuracy_score(labels, decisions),
                "ua": metrics.balanced_accuracy_score(labels, decisions),
                "macro_f1": metrics.f1_score(labels, decisions, average="macro", zero_division=0),
                "weighted_f1": metrics.f1_score(labels, decisions, average="weighted", zero_division=0),
            }
            columns = metrics.precision_recall_fscore_support(
                labels, decisions, labels=range(5), zero_division=np.nan, average=None
            )
        assert {name: float(score(confusion)) for name, score in METRICS.items()} == pytest.approx(expected)
        assert (confusion[:, :-1] == metrics.confusion_matrix(labels, decisions, labels=range(5))).all()
        for ours, theirs in zip((precisions, recalls, f1_scores), columns, strict=False):
            np.testing.assert_allclose(ours(confusion), theirs)


def test_a_stack_of_matrices_is_scored_like_each_matrix(cases):
    stack = np.stack([confusion_matrix(labels, decisions, 5) for labels, decisions in cases])
    for score in METRICS.values():
        np.testing.assert_allclose(score(stack), [score(one) for one in stack])


def test_a_missing_answer_is_wrong_but_no_false_positive():
    labels = np.array([0, 0, 1, 1])
    confusion = confusion_matrix(labels, np.array([0, NO_ANSWER, 1, 1]), 2)
    assert confusion.tolist() == [[1, 0, 1], [0, 2, 0]]
    assert recalls(confusion).tolist() == [0.5, 1.0]
    assert precisions(confusion).tolist() == [1.0, 1.0]
    assert f1_scores(confusion).tolist() == pytest.approx([2 / 3, 1.0])
    assert {name: float(score(confusion)) for name, score in METRICS.items()} == pytest.approx(
        {"wa": 0.75, "ua": 0.75, "macro_f1": 5 / 6, "weighted_f1": 5 / 6}
    )


@pytest.mark.parametrize(
    ("labels", "decisions", "message"),
    [
        ([0, 3], [0, 0], r"Labels must lie in \[0, 3\), got \[0, 3\]"),
        ([0, 1], [0, 3], r"Decisions must lie in \[-1, 3\), got \[0, 3\]"),
        ([0, 1], [0, -2], "Decisions must lie in"),
        ([0, -1], [0, 1], "Labels must lie in"),
        ([0, 1], [0], "do not fit"),
        ([], [], "n > 0"),
        ([0.5, 1.0], [0, 1], "float64"),
    ],
)
def test_confusion_refuses_what_it_cannot_count(labels, decisions, message):
    with pytest.raises(ConfigError, match=message):
        confusion_matrix(np.array(labels), np.array(decisions), 3)


def test_decide_takes_the_most_probable_class_and_marks_failures():
    probabilities = np.array([[0.9, 0.1], [0.45, 0.55], [np.nan, np.nan]])
    assert decide(probabilities).tolist() == [0, 1, NO_ANSWER]
    assert decide(np.stack([probabilities, probabilities])).shape == (2, 3)
    assert decide(np.array([[np.nan, 0.9, 0.1], [0.9, 0.1, np.nan]])).tolist() == [NO_ANSWER, NO_ANSWER]


def test_brier_and_likelihood_equal_sklearn():
    from sklearn import metrics

    probabilities, labels, _ = corpus()
    assert negative_log_likelihood(probabilities, labels) == pytest.approx(metrics.log_loss(labels, probabilities))
    truth = np.eye(4)[labels]
    assert brier_score(probabilities, labels) == pytest.approx(4 * metrics.mean_squared_error(truth, probabilities))


def test_likelihood_of_a_clipped_projection_is_finite():
    assert negative_log_likelihood(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(-np.log(1e-12))


@pytest.mark.parametrize("scheme", ["mass", "width", "adaptive"])
def test_calibration_error_sees_confidence_that_is_off_by_a_constant(scheme):
    random = np.random.default_rng(0)
    chance = random.uniform(0.3, 0.85, 40_000)
    correct = random.uniform(size=chance.size) < chance
    assert expected_calibration_error(chance, correct, scheme=scheme) < 0.02
    assert expected_calibration_error(chance + 0.1, correct, scheme=scheme) == pytest.approx(0.1, abs=0.01)


@given(st.permutations(range(30)), st.sampled_from(["mass", "width", "adaptive"]))
@settings(max_examples=40, deadline=None)
def test_calibration_ignores_the_order_of_rows(order, scheme):
    random = np.random.default_rng(3)
    confidence, correct = random.integers(3, 8, 30) / 10, random.integers(0, 2, 30)
    shuffled = expected_calibration_error(confidence[order], correct[order], bins=7, scheme=scheme)
    assert shuffled == pytest.approx(expected_calibration_error(confidence, correct, bins=7, scheme=scheme))


def test_bins_hold_every_utterance_and_equal_counts():
    confidence = np.random.default_rng(0).uniform(size=103)
    curve = reliability(confidence, confidence > 0.5, bins=10)
    assert sum(one.count for one in curve) == 103
    assert {one.count for one in curve} == {10, 11}
    for one in curve:
        inside = (one.low <= confidence) & (confidence <= one.high)
        assert inside.sum() == one.count
        assert one.confidence == pytest.approx(confidence[inside].mean())
    assert sum(one.count for one in reliability(confidence, confidence > 0.5, bins=10, scheme="width")) == 103


def test_adaptive_bins_rise_and_one_more_bin_would_not():
    random = np.random.default_rng(1)
    confidence = random.uniform(0.2, 1, 500)
    correct = random.uniform(size=500) < confidence
    curve = reliability(confidence, correct, scheme="adaptive")
    finer = reliability(confidence, correct, bins=len(curve) + 1)
    assert (np.diff([one.accuracy for one in curve]) >= 0).all()
    assert (np.diff([one.accuracy for one in finer]) < 0).any()


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_adaptive_bins_are_as_many_as_never_lose_accuracy(correct):
    """Bins are added one by one while no bin is less accurate than the one before it; a tie is no loss."""
    correct = np.array(correct)
    confidence, bins = np.linspace(0.5, 1, len(correct)), 1
    while bins < len(correct):
        finer = reliability(confidence, correct, bins=bins + 1)
        if (np.diff([one.accuracy for one in finer]) < 0).any():
            break
        bins += 1
    assert reliability(confidence, correct, scheme="adaptive") == reliability(confidence, correct, bins=bins)


def test_a_faultless_model_gets_one_adaptive_bin_per_clip():
    assert len(reliability(np.linspace(0.5, 1, 20_000), np.ones(20_000), scheme="adaptive")) == 20_000


def test_bins_of_equal_width_are_closed_above_and_weighted_by_count():
    confidence, correct = np.array([0.0, 0.25, 0.5, 0.5, 1.0]), np.array([0, 1, 1, 0, 1])
    curve = reliability(confidence, correct, bins=2, scheme="width")
    assert [(one.low, one.high, one.count) for one in curve] == [(0.0, 0.5, 4), (0.5, 1.0, 1)]
    assert [(one.confidence, one.accuracy) for one in curve] == [(0.3125, 0.5), (1.0, 1.0)]
    error = expected_calibration_error(confidence, correct, bins=2, scheme="width")
    assert error == pytest.approx(4 / 5 * abs(0.5 - 0.3125))


def test_calibration_gathers_its_measures():
    probabilities, labels, _ = corpus()
    found = calibrate(probabilities, labels)
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    errors = {scheme: expected_calibration_error(confidence, correct, scheme=scheme) for scheme in SCHEMES}
    assert (found.ece_mass, found.ece_width, found.ece_adaptive) == tuple(
        errors[s] for s in ("mass", "width", "adaptive")
    )
    assert len(set(errors.values())) == 3
    assert found.brier == brier_score(probabilities, labels)
    assert found.nll == negative_log_likelihood(probabilities, labels)
    assert found.bins == reliability(confidence, correct)
    assert len(found.bins) == 15


@pytest.mark.parametrize("wrong", [{"bins": 0}, {"scheme": "guess"}])
def test_calibration_refuses_unknown_bins(wrong):
    with pytest.raises(ConfigError, match="Calibration needs"):
        reliability(np.array([0.5]), np.array([1]), **wrong)


def answers(correct):
    """Labels of two classes, equally often, and decisions that are correct where `correct` is."""
    labels = np.arange(len(correct)) % 2
    return np.where(correct, labels, 1 - labels), labels


def accuracy_interval(correct, groups=None, **resampling):
    decisions, labels = answers(correct)
    options = {"classes": 2, "groups": groups, "metrics": ("wa",), "resampling": Resampling(**resampling)}
    return score_intervals(decisions, labels, **options)["wa"]


def test_interval_of_an_accuracy_equals_the_normal_one():
    correct = np.random.default_rng(0).uniform(size=800) < 0.7
    interval = accuracy_interval(correct)
    half = 1.96 * np.sqrt(correct.mean() * (1 - correct.mean()) / 800)
    assert interval.estimate == pytest.approx(correct.mean())
    assert (interval.low, interval.high) == pytest.approx((correct.mean() - half, correct.mean() + half), abs=0.008)
    assert (interval.unit, interval.units, interval.level) == ("utterance", 800, 0.95)


def test_a_lower_level_gives_a_narrower_interval():
    correct = np.random.default_rng(0).uniform(size=800) < 0.7
    wide, narrow = accuracy_interval(correct), accuracy_interval(correct, level=0.5)
    assert wide.low < narrow.low < narrow.estimate < narrow.high < wide.high


def test_speakers_widen_the_interval_when_they_differ():
    speakers = np.repeat(np.arange(10), 40)
    correct = np.random.default_rng(0).uniform(size=400) < np.repeat([0.1, 0.9] * 5, 40)
    alone, together = accuracy_interval(correct), accuracy_interval(correct, speakers)
    assert together.high - together.low > 2 * (alone.high - alone.low)
    assert (together.unit, together.units) == ("speaker", 10)


def test_utterances_are_drawn_within_their_class():
    """Ten of 100 utterances have class 1, and all of them are wrong: no resample changes that share."""
    labels = np.repeat([1, 0], [10, 90])
    interval = score_intervals(np.zeros(100, int), labels, classes=2, metrics=("wa",))["wa"]
    assert (interval.low, interval.estimate, interval.high) == pytest.approx((0.9, 0.9, 0.9))


def test_coverage_of_the_speaker_bootstrap():
    random, hits = np.random.default_rng(0), 0
    for trial in range(200):
        ease = np.repeat(random.uniform(0.3, 0.9, 30), 8)
        interval = accuracy_interval(
            random.uniform(size=240) < ease, np.repeat(np.arange(30), 8), resamples=300, seed=trial
        )
        hits += interval.low <= 0.6 <= interval.high
    assert 0.88 <= hits / 200 <= 0.99


def test_draws_do_not_depend_on_the_size_of_the_parts_in_memory(monkeypatch):
    probabilities, labels, voices = corpus()
    expected = score_intervals(probabilities, labels, classes=4, groups=voices)
    monkeypatch.setattr("genser.metrics.bootstrap._CHUNK_CELLS", 12 * 300)
    assert score_intervals(probabilities, labels, classes=4, groups=voices) == expected


@pytest.mark.parametrize("speakers", [1, 2, FEW_SPEAKERS - 1])
def test_of_few_speakers_clips_are_resampled_whatever_is_computed(speakers):
    probabilities, labels, voices = corpus(speakers=speakers)
    other = corpus(speakers=speakers, seed=1)[0]
    assert score_intervals(probabilities, labels, classes=4, groups=voices) == score_intervals(
        probabilities, labels, classes=4
    )
    found = paired_bootstrap(probabilities, other, labels, voices, classes=4)
    assert found == paired_bootstrap(probabilities, other, labels, classes=4)
    assert (found.interval.unit, found.interval.units) == ("utterance", len(labels))


def test_from_five_speakers_on_speakers_are_resampled():
    probabilities, labels, voices = corpus(speakers=FEW_SPEAKERS)
    found = score_intervals(probabilities, labels, classes=4, groups=voices)["ua"]
    assert (found.unit, found.units) == ("speaker", FEW_SPEAKERS)


def test_score_intervals_hold_the_scores_and_repeat():
    probabilities, labels, voices = corpus()
    expected = evaluate(Predictions(probabilities, labels, CLASSES))
    first = score_intervals(probabilities, labels, classes=4, groups=voices)
    assert first == score_intervals(probabilities, labels, classes=4, groups=voices)
    for name, interval in first.items():
        assert interval.estimate == pytest.approx(getattr(expected, name))
        assert interval.low < interval.estimate < interval.high
    assert first != score_intervals(probabilities, labels, classes=4, groups=voices, resampling=Resampling(seed=1))


def test_score_intervals_equal_a_plain_loop():
    probabilities, labels, voices = corpus(speakers=6, seeds=2)
    interval = score_intervals(
        probabilities, labels, classes=4, groups=voices, metrics=("macro_f1",), resampling=Resampling(4000)
    )["macro_f1"]
    random, drawn = np.random.default_rng(5), []
    rows = [np.flatnonzero(voices == voice) for voice in np.unique(voices)]
    for _ in range(1500):
        chosen = np.concatenate([rows[i] for i in random.integers(0, 6, 6)])
        seeds = [confusion_matrix(labels[chosen], decide(one)[chosen], 4) for one in probabilities]
        drawn.append(np.mean([METRICS["macro_f1"](one) for one in seeds]))
    tail = 0.5 * math.erfc(math.sqrt(6 / 5) * 2.5706 / math.sqrt(2))  # 2.5706: Student's t with 5 degrees, 97.5 %
    assert (interval.low, interval.high) == pytest.approx(np.quantile(drawn, [tail, 1 - tail]), abs=0.02)


def test_seeds_are_averaged_and_may_be_drawn():
    probabilities, labels, voices = corpus(seeds=4)
    probabilities[0] = np.roll(probabilities[0], 1, axis=-1)  # one training run that went wrong
    fixed = score_intervals(probabilities, labels, classes=4, groups=voices)
    drawn = score_intervals(probabilities, labels, classes=4, groups=voices, resampling=Resampling(resample_seeds=True))
    singles = [evaluate(Predictions(one, labels, CLASSES)) for one in probabilities]
    for name in METRICS:
        mean = np.mean([getattr(single, name) for single in singles])
        assert fixed[name].estimate == drawn[name].estimate == pytest.approx(mean)
        assert drawn[name].high - drawn[name].low > 2 * (fixed[name].high - fixed[name].low)


def test_drawing_equal_seeds_changes_nothing():
    probabilities, labels, voices = corpus()
    fixed, drawn = (
        score_intervals(
            np.stack([probabilities] * 3),
            labels,
            classes=4,
            groups=voices,
            resampling=Resampling(200, resample_seeds=draw),
        )
        for draw in (False, True)
    )
    for name in METRICS:
        assert (drawn[name].low, drawn[name].high) == pytest.approx((fixed[name].low, fixed[name].high))


def test_paired_difference_is_antisymmetric_and_tighter_than_unpaired():
    probabilities, labels, voices = corpus(seed=1)
    worse = probabilities.copy()
    worse[::20] = np.roll(worse[::20], 1, axis=-1)
    forth = paired_bootstrap(probabilities, worse, labels, voices, classes=4)
    back = paired_bootstrap(worse, probabilities, labels, voices, classes=4)
    single = score_intervals(probabilities, labels, classes=4, groups=voices)["ua"]
    assert forth.interval.estimate == pytest.approx(-back.interval.estimate)
    assert (forth.interval.low, forth.interval.high) == pytest.approx((-back.interval.high, -back.interval.low))
    assert forth.win_probability == pytest.approx(1 - back.win_probability)
    assert forth.win_probability > 0.95
    assert forth.interval.high - forth.interval.low < single.high - single.low


@pytest.mark.parametrize("metric", METRICS)
def test_the_difference_to_a_system_without_answers_is_the_score_itself(metric):
    probabilities, labels, voices = corpus()
    silent = np.full_like(probabilities, np.nan)
    found = paired_bootstrap(probabilities, silent, labels, voices, classes=4, metric=metric)
    assert found.interval == score_intervals(probabilities, labels, classes=4, groups=voices)[metric]
    assert (found.metric, found.win_probability) == (metric, 1.0)


def test_a_system_ties_with_itself_whatever_the_number_of_equal_seeds():
    probabilities, labels, voices = corpus()
    tie = paired_bootstrap(probabilities, np.stack([probabilities] * 2), labels, voices, classes=4)
    assert (tie.interval.low, tie.interval.high) == pytest.approx((0, 0), abs=1e-12)
    pairs = paired_differences({"x": probabilities, "y": probabilities}, labels, classes=4)
    assert pairs["x", "y"].win_probability == 0.5
    assert set(pairs) == {("x", "y"), ("y", "x")}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, y, s: score_intervals(p, y, classes=4, groups=s[:-1]), "groups do not fit"),
        (lambda p, y, s: score_intervals(p, y, classes=4, groups=s, metrics=("auc",)), "no metric 'auc'"),
        (lambda p, y, s: score_intervals(p[:-1], y, classes=4, groups=s), "do not fit"),
        (lambda p, y, s: paired_bootstrap(p, p[:-1], y, s, classes=4), "do not fit"),
    ],
)
def test_bootstrap_refuses_what_does_not_fit(call, message):
    with pytest.raises(ConfigError, match=message):
        call(*corpus())


@pytest.mark.parametrize(("wrong", "message"), [({"resamples": 0}, "at least 1"), ({"level": 95}, "between 0 and 1")])
def test_resampling_refuses_what_cannot_be_drawn(wrong, message):
    with pytest.raises(ConfigError, match=message):
        Resampling(**wrong)


def test_evaluation_counts_failures_as_wrong():
    probabilities = np.array([[0.8, 0.2], [0.55, 0.45], [0.1, 0.9], [np.nan, np.nan], [0.7, 0.3]])
    found = evaluate(Predictions(probabilities, np.array([0, 0, 1, 1, 1]), ("no", "yes")))
    assert (found.utterances, found.failed) == (5, 1)
    assert found.wa == pytest.approx(3 / 5)
    assert found.ua == pytest.approx((1 + 1 / 3) / 2)
    assert found.confusion == ((2, 0, 0), (1, 1, 1))
    assert [one.support for one in found.per_class] == [2, 3]
    assert [one.precision for one in found.per_class] == pytest.approx([2 / 3, 1])
    assert [one.recall for one in found.per_class] == pytest.approx([1, 1 / 3])
    assert [one.f1 for one in found.per_class] == pytest.approx([0.8, 0.5])
    assert sum(one.count for one in found.calibration.bins) == 4


def test_floor_is_the_score_of_the_constant_answer():
    labels = np.array([0, 2, 2, 2, 3])
    always = evaluate(Predictions(np.tile(np.eye(4)[2], (5, 1)), labels, CLASSES))
    assert (always.wa, always.ua) == pytest.approx((always.floor_wa, always.floor_ua))
    assert always.floor_ua == pytest.approx(1 / 3)


def test_evaluation_is_plain_json_without_nan():
    labels = np.array([0, 2, 2, 2, 3])
    evaluation = evaluate(Predictions(np.tile(np.eye(4)[2], (5, 1)), labels, CLASSES), resampling=Resampling(50))
    document = json.loads(json.dumps(plain(evaluation), allow_nan=False))
    assert document["per_class"][1] == {"name": "happy", "support": 0, "precision": None, "recall": None, "f1": None}
    assert document["intervals"] == {}
    assert [sum(row) for row in document["confusion"]] == [1, 0, 3, 1]


def test_evaluation_with_nothing_answered_scores_zero_without_calibration():
    predictions = Predictions(np.full((3, 2), np.nan), np.array([0, 1, 1]), ("no", "yes"))
    evaluation = evaluate(predictions, resampling=Resampling(20))
    assert (evaluation.wa, evaluation.macro_f1, evaluation.failed, evaluation.calibration) == (0, 0, 3, None)


def test_an_evaluation_resamples_the_speakers_that_it_knows():
    probabilities, labels, voices = corpus()
    intervals = evaluate(Predictions(probabilities, labels, CLASSES, voices), resampling=Resampling(50)).intervals
    assert intervals == score_intervals(probabilities, labels, classes=4, groups=voices, resampling=Resampling(50))
    assert {(one.unit, one.units) for one in intervals.values()} == {("speaker", 12)}


@pytest.mark.parametrize("speakers", [2, 3, 5, 8])
def test_coverage_with_few_speakers_is_near_the_nominal_one_or_denied(speakers):
    random, hits = np.random.default_rng(0), 0
    for trial in range(300):
        ease = np.repeat(random.uniform(0.3, 0.9, speakers), 40)
        right = random.uniform(size=len(ease)) < ease
        predictions = Predictions.named(
            np.eye(2)[(~right).astype(int)], ["a"] * len(right), ("a", "b"), np.repeat(np.arange(speakers), 40)
        )
        found = evaluate(predictions, resampling=Resampling(2000, seed=trial))
        hits += found.intervals["wa"].low <= 0.6 <= found.intervals["wa"].high
    if speakers < FEW_SPEAKERS:
        assert hits / 300 < 0.85
        assert found.interval_remarks[0].startswith(f"The clips are of {speakers} speakers only, so")
    else:
        assert 0.9 <= hits / 300 <= 0.99
        assert found.interval_remarks == ()


def test_few_clips_have_no_interval_and_a_sentence():
    probabilities, labels, voices = corpus(speakers=6, per_class=1)
    few = evaluate(Predictions(probabilities, labels, CLASSES, voices), resampling=Resampling(20))
    assert few.intervals == {}
    assert few.interval_remarks == ("There are no intervals, since 24 clips are too few. Test 30 or more.",)
    one = evaluate(Predictions(probabilities[:1], labels[:1], CLASSES), resampling=Resampling(20))
    assert one.interval_remarks[1] == "There are no intervals, since 1 clip is too few. Test 30 or more."


def test_a_rare_class_costs_the_means_over_the_classes_their_intervals():
    probabilities, labels, voices = corpus(speakers=12, per_class=2)
    labels[labels == 3] = np.repeat([3, 2], [9, 15])
    found = evaluate(Predictions(probabilities, labels, CLASSES, voices), resampling=Resampling(20))
    assert set(found.intervals) == {"wa", "weighted_f1"}
    assert "9 clips are too few for the class 'sad'" in found.interval_remarks[0]
    absent = evaluate(Predictions(probabilities, np.minimum(labels, 2), CLASSES, voices), resampling=Resampling(20))
    assert set(absent.intervals) == set(METRICS), "a class that does not occur is no rare one"


def test_answers_that_are_all_right_or_all_wrong_have_no_interval():
    labels = np.repeat([0, 1], 20)
    for rows, word in (
        (np.eye(2)[labels], "right"),
        (np.eye(2)[1 - labels], "wrong"),
        (np.full((40, 2), np.nan), "wrong"),
    ):
        found = evaluate(Predictions(rows, labels, ("a", "b"), np.arange(40)), resampling=Resampling(20))
        assert found.intervals == {}
        assert f"all answers are {word}" in found.interval_remarks[0]


def test_one_speaker_falls_back_to_utterances():
    probabilities, labels, _ = corpus()
    one = Predictions(probabilities, labels, CLASSES, np.full(len(labels), "s"))
    found = evaluate(one, resampling=Resampling(20))
    assert found.intervals["ua"].unit == "utterance"
    assert "a single speaker" in found.interval_remarks[0]


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        ([[0.5, 0.5, 0.0]], "have shape"),
        ([[0.5, np.nan]], "NaN in some columns"),
        ([[1.2, -0.2]], "not probabilities"),
        ([[0.5, 0.4]], "sum to 1"),
    ],
)
def test_predictions_refuse_what_are_no_probabilities(probabilities, message):
    with pytest.raises(ConfigError, match=message):
        Predictions(np.array(probabilities), np.array([0]), ("no", "yes"))


def test_predictions_by_name():
    named = Predictions.named(np.eye(2)[[1, 0]], ["yes", "no"], ("no", "yes"), ["a", "b"])
    assert evaluate(named).wa == 1
    with pytest.raises(ConfigError, match="Labels 'maybe' are not among the classes no, yes"):
        Predictions.named(np.eye(2), ["yes", "maybe"], ("no", "yes"))
    with pytest.raises(ConfigError, match="Speakers"):
        Predictions.named(np.eye(2), ["yes", "no"], ("no", "yes"), ["a"])
