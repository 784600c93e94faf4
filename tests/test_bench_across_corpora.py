"""Leave-one-corpus-out: adapted predictions, scores of every held-out corpus, nested calibration, and the report."""

import json
from dataclasses import replace

import numpy as np
import pytest

from genser.bench.across_corpora import CONDITIONS, Condition, summarize_across_corpora
from genser.bench.comparison import Bench
from genser.bench.plan import load_plan
from genser.bench.pool_runs import System, pool
from genser.bench.protocols import check_fold, divide
from genser.bench.runs import BenchResult, Protocol, load_run
from genser.bench.task import adapted_features
from genser.config import plain_array
from genser.data.splits import Fold, folds
from genser.data.utterance import Utterance
from genser.errors import ManifestError
from genser.inference.profile import Profile, shrunk_shift
from genser.metrics.bootstrap import Resampling, corpus_difference, corpus_mean
from genser.metrics.reliability import expected_calibration_error
from genser.report.bench import bench_document
from genser.report.document import Picture, to_html, to_markdown
from genser.training.calibration import fit_exponent
from genser.training.data import Dataset
from genser.transport.codes import probabilities

CLASSES = ("calm", "cross", "merry")
QUICK = Resampling(50)
RECIPE = """
encoder: {kind: fbank}
network: {depth: 1, heads: 2}
optimizer: {lr: 2.0e-2, ema: 0.5}
batch_size: 32
steps: 20
balance: class-corpus
centre: true
"""
PLAN = """
seeds: 2
heads:
  closed form: {head: ridge, settings: {ridge_prior: 1.0}}
  linear: {}
  transport: {settings: {steps: 5}}
"""
RIDGE, LINEAR, TRANSPORT = (System(name, "fake") for name in ("closed form", "linear", "transport"))


def dataset(speakerless=None):
    """Three corpora, far apart: the second one has two of the three classes, and the third one large speaker shifts."""
    random = np.random.default_rng(0)
    items, rows = [], []
    for corpus, (name, classes, spread) in enumerate([("a", 3, 0.0), ("b", 2, 0.0), ("c", 3, 4.0)]):
        away = 6 * random.standard_normal((2, 12))
        for speaker in range(6):
            own = away + spread * random.standard_normal((2, 12))
            for clip in range(12):
                features = own + random.standard_normal((2, 12))
                features[:, clip % classes] += 2.5
                who = None if name == speakerless else f"s{speaker}"
                items.append(Utterance(f"/{name}/{speaker}-{clip}.wav", CLASSES[clip % classes], who, corpus=name))
                rows.append(features + corpus)
    return Dataset(tuple(items), np.stack(rows).astype(np.float32), CLASSES, (), 0)


def run(folder, data, protocol="loco"):
    """Every run of a small bench, made in this process."""
    folder.mkdir(exist_ok=True)
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "plan.yaml").write_text(f"recipe: {folder}/recipe.yaml\n{PLAN}")
    (divided,) = divide_without_files(data, protocol)
    plan = load_plan(str(folder / "plan.yaml"))
    bench = Bench(data, divided.folds, divided.protocol, plan, "fake", "f" * 8, folder / "out")
    for task in [task for fold in bench.folds for head in plan.heads for task in bench.trainings(fold, head)]:
        task(data)
    return tuple(load_run(path) for path in sorted((folder / "out/runs").iterdir()))


def divide_without_files(data, protocol):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("genser.bench.protocols.check_leaks", lambda *_, **__: None)  # the clips have no files
        return divide(data.utterances, protocol, k=3)


@pytest.fixture(scope="module")
def data():
    return dataset()


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    return run(tmp_path_factory.mktemp("loco"), data)


@pytest.fixture(scope="module")
def other_runs(data, tmp_path_factory):
    """Runs of another protocol."""
    return run(tmp_path_factory.mktemp("kfold"), data, "kfold-speaker")


@pytest.fixture(scope="module")
def found(runs):
    return summarize_across_corpora(pool(runs), QUICK)


def test_the_shifts_are_those_of_a_profile():
    random = np.random.default_rng(0)
    features, mean = random.standard_normal((9, 2, 4)).astype(np.float32), random.integers(9, size=(2, 4)).astype(float)
    speakers = [("c", "x"), None, ("c", "y"), ("c", "x"), ("c", "x"), None, ("c", "y"), ("c", "x"), ("c", "x")]
    found = adapted_features(features, speakers, mean)
    metadata = {"mean": plain_array(mean)}
    collection = Profile.learned(metadata, features, 1.0).shift
    np.testing.assert_array_equal(found["collection"], features + collection)
    for name in ("x", "y"):
        rows = np.array([speaker == ("c", name) for speaker in speakers])
        shift = shrunk_shift(features[rows], mean, collection)
        np.testing.assert_array_equal(found["speaker"][rows], features[rows] + shift)
    unknown = np.array([speaker is None for speaker in speakers])
    np.testing.assert_array_equal(found["speaker"][unknown], found["collection"][unknown])


def test_a_run_keeps_its_adapted_predictions(runs, tmp_path):
    for one in runs:
        again = load_run(one.save(tmp_path))
        assert list(again.adapted) == ["collection", "speaker"]
        for name, scores in one.adapted.items():
            np.testing.assert_array_equal(again.adapted[name], scores)
            assert not np.allclose(scores, one.probabilities)


def test_other_protocols_have_no_adapted_predictions(other_runs):
    assert not any(one.adapted for one in other_runs)
    assert summarize_across_corpora(pool(other_runs), QUICK) is None
    assert Protocol("p", "c", family="loco, labels seven").holds_out_corpora


def test_the_shift_of_a_collection_and_of_its_speakers_restores_accuracy(found):
    mean = {one.adaptation: scores.ua.estimate for one, scores in found.means[RIDGE].items() if not one.own_classes}
    assert mean["collection"] > mean["none"] + 0.1
    c = found.corpora[2].scores[RIDGE]
    assert c[Condition("speaker", False)].ua.estimate > c[Condition("collection", False)].ua.estimate + 0.1


def test_only_the_classes_of_a_corpus_can_be_answered(found, runs):
    b = next(one for one in found.corpora if one.name == "b")
    assert (b.classes, b.utterances, b.speakers, b.most_frequent) == (("calm", "cross"), 72, 6, 0.5)
    for scores in b.scores.values():
        for adaptation in ("none", "collection", "speaker"):
            every, own = (scores[Condition(adaptation, flag)] for flag in (False, True))
            assert own.ua.estimate >= every.ua.estimate
    one = next(r for r in runs if r.spec.fold == "loco b" and r.spec.head == "closed form" and r.spec.seed == 0)
    answers = one.adapted["collection"][:, :2].argmax(1)
    expected = np.mean([(answers[one.labels == label] == label).mean() for label in (0, 1)])
    condition = Condition("collection", True)
    assert b.scores[RIDGE][condition].ua.estimate == pytest.approx(expected), "all seeds of a closed form are alike"
    assert b.scores[RIDGE][condition].most_frequent == pytest.approx(np.bincount(answers).max() / 72)


def test_the_calibration_of_a_corpus_is_fitted_to_the_other_corpora(found, runs):
    """The error is that of the exponent of the other corpora; the predictions of the corpus do not change it."""
    (pooled,) = [one for one in pool(runs) if one.system == TRANSPORT]
    for corpus in found.corpora:
        own = pooled.folds == f"loco {corpus.name}"
        for adaptation, scores in {"none": pooled.probabilities, **pooled.adapted}.items():
            errors = []
            for seed in scores:
                exponent = fit_exponent(seed[~own], pooled.labels[~own], pooled.folds[~own])
                calibrated = probabilities(seed[own].astype(float), exponent)
                correct = calibrated.argmax(1) == pooled.labels[own]
                errors.append(expected_calibration_error(calibrated.max(1), correct))
            assert corpus.scores[TRANSPORT][Condition(adaptation, False)].ece == pytest.approx(np.mean(errors))


def test_means_and_differences_are_over_corpora(found):
    assert set(found.means) == {RIDGE, LINEAR, TRANSPORT}
    assert set(found.differences) == {(LINEAR, RIDGE), (TRANSPORT, RIDGE)}
    for condition in CONDITIONS:
        values = {
            system: np.array([one.scores[system][condition].ua.estimate for one in found.corpora])
            for system in (RIDGE, LINEAR)
        }
        mean = found.means[RIDGE][condition].ua
        assert (mean.estimate, mean.unit, mean.units) == (pytest.approx(values[RIDGE].mean()), "corpus", 3)
        assert values[RIDGE].min() <= mean.low <= mean.high <= values[RIDGE].max()
        difference = found.differences[LINEAR, RIDGE][condition].interval
        assert difference.estimate == pytest.approx((values[LINEAR] - values[RIDGE]).mean())


def test_the_bootstrap_over_corpora():
    scores, resampling = np.array([0.3, 0.5, 0.9, 0.4, 0.6, 0.7, 0.8]), Resampling(4000)
    interval = corpus_mean(scores, resampling)
    assert interval.estimate == pytest.approx(0.6)
    error = scores.std(ddof=1) / 7**0.5
    assert interval.high - interval.low == pytest.approx(2 * 2.45 * error, rel=0.12), "Student's t with 6 degrees"
    above = corpus_difference(scores + 0.02, scores, "ua", resampling)
    assert (above.interval.low, above.interval.high) == pytest.approx((0.02, 0.02))
    assert above.win_probability == 1
    same = corpus_difference(scores, scores, "ua", resampling)
    assert (same.interval.estimate, same.win_probability) == (0, 0.5)
    forth = corpus_difference(scores, scores[::-1], "ua", resampling)
    back = corpus_difference(scores[::-1], scores, "ua", resampling)
    assert forth.interval.low == pytest.approx(-back.interval.high)
    assert forth.win_probability == pytest.approx(1 - back.win_probability)


def test_speakers_of_a_corpus_may_be_unknown(runs):
    some = [replace(one, speakers=None) if one.spec.fold == "loco a" else one for one in runs]
    found = summarize_across_corpora(pool(some), QUICK)
    units = {one.name: (one.speakers, one.scores[RIDGE][CONDITIONS[0]].ua.unit) for one in found.corpora}
    assert units == {"a": (0, "utterance"), "b": (6, "speaker"), "c": (6, "speaker")}


def test_a_head_without_answers_on_a_corpus_is_reported(runs):
    """As one whose training diverged."""
    lost = [
        replace(
            one,
            probabilities=np.full_like(one.probabilities, np.nan),
            adapted={name: np.full_like(values, np.nan) for name, values in one.adapted.items()},
        )
        if one.spec.fold == "loco a" and one.spec.head == "linear"
        else one
        for one in runs
    ]
    corpus = summarize_across_corpora(pool(lost), QUICK).corpora[0].scores[LINEAR][CONDITIONS[0]]
    assert (corpus.ua.estimate, corpus.most_frequent) == (0, 0)
    assert np.isnan(corpus.ece)
    assert "–" in to_markdown(bench_document(BenchResult(tuple(lost)), resampling=QUICK))


def test_unknown_speakers_are_no_leak_between_corpora(data):
    items = [replace(item, speaker=None) if item.corpus == "a" else item for item in data.utterances]
    for fold in folds(items, "loco"):
        check_fold(items, fold)
    corpus = np.array([item.corpus for item in items])
    within = Fold("within", np.flatnonzero(corpus != "b")[::2], np.flatnonzero(corpus != "b")[1::2], True)
    with pytest.raises(ManifestError, match="speaker"):
        check_fold(items, within)


def test_the_report_has_every_corpus_the_means_and_what_the_words_mean(runs, found):
    document = bench_document(BenchResult(runs), resampling=QUICK)
    data = json.loads(json.dumps(document.data))["protocols"][0]["across_corpora"]
    assert [one["name"] for one in data["corpora"]] == ["a", "b", "c"]
    assert len(data["scores"]) == 3 * 3 * 6
    assert len(data["means"]) == 3 * 6
    assert len(data["differences"]) == 2 * 6
    wanted = {"corpus": "c", "system": LINEAR.title, "adaptation": "speaker", "own_classes": True}
    (row,) = [one for one in data["scores"] if wanted.items() <= one.items()]
    expected = found.corpora[2].scores[LINEAR][Condition("speaker", True)]
    assert row["ua"]["estimate"] == expected.ua.estimate
    assert (row["ece"], row["most_frequent"]) == (expected.ece, expected.most_frequent)
    text = to_markdown(document)
    table = text.split("UA in % on held-out corpora")[1].split("\n\n")[1].splitlines()
    assert table[0].count("|") == 9
    names = [tuple(cell.strip() for cell in line.split("|")[1:3]) for line in table[2:]]
    systems = ("closed form", "linear", "transport")
    assert names == [(corpus, system) for corpus in ("mean", "worst", "a", "b", "c") for system in systems]
    page = to_html(replace(document, blocks=tuple(one for one in document.blocks if not isinstance(one, Picture))), {})
    for words in (
        "fitted to the held-out predictions of the other corpora alone",
        "linear − closed form",
        "top, plain | top, adapted | top, by speaker | ECE, plain",
        "Intervals over 3 corpora are too narrow",
    ):
        assert words in text, words
        assert all(part in page for part in words.split(" | ")), words


def test_a_report_of_another_protocol_has_no_such_section(other_runs):
    document = bench_document(BenchResult(other_runs), resampling=QUICK)
    assert document.data["protocols"][0]["across_corpora"] is None
    assert "held-out corpora" not in to_markdown(document)
