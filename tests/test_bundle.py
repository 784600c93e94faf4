"""Measurements and cards of the bundled models."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from genser.data.utterance import Utterance

BUNDLE = Path(__file__).resolve().parent.parent / "bundle"
LABELS = ("anger", "fear")


@pytest.fixture(scope="module", autouse=True)
def scripts():
    sys.path.insert(0, str(BUNDLE))
    yield
    sys.path.remove(str(BUNDLE))


@pytest.fixture(scope="module")
def utterances():
    return [
        Utterance(f"{n}.wav", label=LABELS[n % 2], speaker=str(n // 4), corpus="toy", gender="female")
        for n in range(16)
    ]


def test_rounding_is_reported_as_a_paired_difference(utterances):
    from measure import difference

    exact = np.eye(2)[np.arange(16) % 2] * 0.8 + 0.1
    ours = exact.copy()
    ours[0] = ours[0, ::-1]
    found = difference(ours, exact, utterances, LABELS)
    assert found["estimate"] == pytest.approx(-1 / 16)
    assert found["low"] <= found["estimate"] <= found["high"] <= 0
    assert (found["agreement"], found["units"]) == (15 / 16, 16)


@pytest.mark.parametrize(("precision", "words"), [("int8", "computed in eight bits"), ("float32", "tried and cost")])
def test_the_card_reports_what_eight_bits_cost(precision, words):
    from card import rounding_sentence

    cost = {"estimate": -0.0012, "low": -0.0051, "high": 0.002, "agreement": 0.979}
    said = rounding_sentence({"precision": precision, "eight_bits": cost})
    assert words in said
    assert "UA -0.1 (-0.5 to +0.2), 97.9 % of the labels agree" in said


def test_the_card_reports_that_eight_bits_were_refused():
    from card import rounding_sentence

    assert "too few labels" in rounding_sentence({"precision": "float32", "eight_bits": None})


def test_a_held_out_corpus_does_not_move_its_own_blind_calibration(utterances):
    import build

    from genser.training.calibration import HeldOutPredictions

    corpora = np.repeat(build.CORPORA, 4)
    count = len(corpora)
    labels, items = (
        np.arange(count) % 2,
        [replace(utterances[0], split="train", label=LABELS[n % 2]) for n in range(count)],
    )
    inside = HeldOutPredictions(np.arange(count), np.eye(2)[labels] * 0.4 + 0.3, np.zeros(count), labels, corpora)

    def summary(wrong):
        answers = np.where(corpora == wrong, 1 - labels, labels)
        outside = HeldOutPredictions(np.arange(count), np.eye(2)[answers] * 0.4 + 0.3, np.ones(count), labels, corpora)
        calibration = build.Calibration.fitted(inside, outside)
        dataset = SimpleNamespace(utterances=items, classes=LABELS)
        return build.summaries(
            SimpleNamespace(inside=inside, outside=outside, calibration=calibration, dataset=dataset)
        )

    assert summary("emodb")["emodb"]["ece_blind"] > 0.9 > summary("emodb")["emodb"]["ece"]
    assert summary("none")["emodb"]["ece_blind"] < 0.1
    assert all(row["familiar"] == 0 for row in summary("none").values())


def test_every_size_is_the_packaged_recipe_with_its_settings(tmp_path):
    import build

    from genser.training.recipe import load_recipe

    for size in ("base", "tiny"):
        config, expected = build.recipe_for(size, tmp_path), load_recipe("bundled", build.SETTINGS[size])
        assert replace(config, license="", encoder=expected.encoder) == expected


def test_a_telephone_line_has_no_upper_band_and_keeps_the_level():
    from disturb import telephone_line

    clip = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    line = telephone_line(clip)
    power = np.abs(np.fft.rfft(line)) ** 2
    assert line.shape == clip.shape
    assert power[4_200:].sum() < 1e-3 * power.sum()
    kept = np.abs(np.fft.rfft(clip))[:3_500] ** 2
    assert power[:3_500].sum() == pytest.approx(kept.sum(), rel=0.05)


def test_the_card_says_how_the_encoder_was_trained(tmp_path):
    import build
    from card import encoder_sentence

    assert "rank 16" in encoder_sentence(build.recipe_for("base", tmp_path))
    assert "50 % of their strength" in encoder_sentence(build.recipe_for("base", tmp_path))
    assert "frozen" in encoder_sentence(build.recipe_for("tiny", tmp_path))


def test_paragraphs_of_a_card_are_wrapped_and_tables_are_not():
    from card import wrapped

    words, row = " ".join(["word"] * 60), "| " + "cell " * 60 + "|"
    lines = wrapped(f"# {words}\n\n{words}\n{words}\n\n{row}\n{row}").split("\n")
    assert lines[0] == f"# {words}"
    assert lines[-2:] == [row, row]
    assert all(len(line) <= 120 for line in lines[1:-2])
    assert " ".join(lines[2:-3]) == f"{words} {words}"


def test_a_held_out_corpus_is_listed_with_its_own_classes():
    from card import across_table

    row = {"ua": 0.5, "ua_interval": [0.4, 0.6], "ece": 0.1, "utterances": 9}
    row |= {"ua_own": 0.6, "top": 0.3, "ece_blind": 0.2, "familiar": 0.05}
    assert "| nemo (Polish) | 9 | 50.0 [40.0, 60.0] | 60.0 | 30.0 | 10.0 | 20.0 | 5.0 |" in across_table({"nemo": row})


def test_the_gender_is_listed_for_corpora_that_label_it():
    from card import gender_table

    row = {"ua": 0.99, "ua_interval": None, "ece": 0.012, "utterances": 78}
    across = {"ua": 0.955, "ua_interval": [0.9, 0.98], "ece": 0.02, "utterances": 454}
    text = gender_table({"emodb": row}, {"emodb": across})
    assert "| emodb (German) | 78 | 99.0 | 1.2 | 454 | 95.5 [90.0, 98.0] | 2.0 |" in text


def test_the_gender_is_scored_on_each_corpus_by_heads_without_it(utterances):
    import build

    from genser.training.calibration import HeldOutPredictions
    from genser.training.data import Dataset

    genders = ("female", None, "male")
    items = tuple(replace(utterances[0], corpus="emodb", gender=genders[n % 3], split="train") for n in range(12))
    labels = np.arange(8) % 2
    outside = HeldOutPredictions(np.arange(8), np.eye(2)[labels], np.zeros(8), labels, np.full(8, "emodb"))
    head = SimpleNamespace(config=SimpleNamespace(exponent=1.0, labels=("female", "male")))
    dataset = Dataset(items, np.zeros((12, 1, 4), np.float32), LABELS, (), 0)
    found = build.gender_summaries(SimpleNamespace(gender=SimpleNamespace(head=head, outside=outside), dataset=dataset))
    assert found.keys() == {"emodb"}
    assert (found["emodb"]["utterances"], found["emodb"]["ua"]) == (8, 1.0)


def test_disturbances_are_measured_on_clips_of_every_corpus(utterances, monkeypatch):
    """Up to 300 of each, evenly: all of a small corpus, and the first and the last of a large one."""
    import measure

    assert measure._evenly(utterances, "toy") == list(range(16))
    many = [utterances[0]] * 1000
    chosen = measure._evenly(many, "toy")
    assert (len(chosen), chosen[0], chosen[-1]) == (300, 0, 999)

    class Recognizer:
        labels = LABELS

        def predict_many(self, sources):
            for samples, _ in sources:
                share = float(np.clip(np.abs(samples).max(), 0.1, 0.9))
                scores = {"anger": 1 - share, "fear": share}
                yield SimpleNamespace(label=max(scores, key=scores.get), scores=scores, familiar=0.9)

    monkeypatch.setattr(measure, "CORPORA", ("toy",))
    monkeypatch.setattr(measure, "CONDITIONS", {"clean": lambda clip: clip, "quiet": lambda clip: clip * 0})
    clips = [np.full(10, 0.9 * (n % 2), np.float32) for n in range(16)]
    found = measure.disturbed(Recognizer(), utterances, clips)
    assert {name: row["ua"] for name, row in found.items()} == {"clean": 1.0, "quiet": 0.5}
