"""What the build of the bundled models works out of scores, and says of it."""

import sys
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


def test_rounding_is_told_as_a_paired_difference(utterances):
    from measure import difference

    exact = np.eye(2)[np.arange(16) % 2] * 0.8 + 0.1
    ours = exact.copy()
    ours[0] = ours[0, ::-1]
    found = difference(ours, exact, utterances, LABELS)
    assert found["estimate"] == pytest.approx(-1 / 16)
    assert found["low"] <= found["estimate"] <= found["high"] <= 0
    assert (found["agreement"], found["units"]) == (15 / 16, 4)


@pytest.mark.parametrize(("precision", "words"), [("int8", "computed in eight bits"), ("float32", "tried and cost")])
def test_the_card_says_what_eight_bits_cost(precision, words):
    from card import rounding_sentence

    cost = {"estimate": -0.0012, "low": -0.0051, "high": 0.002, "agreement": 0.979}
    said = rounding_sentence({"precision": precision, "eight_bits": cost})
    assert words in said
    assert "UA -0.1 (-0.5 to +0.2), 97.9 % of the labels alike" in said


def test_the_card_says_when_eight_bits_were_refused():
    from card import rounding_sentence

    assert "too few labels" in rounding_sentence({"precision": "float32", "eight_bits": None})


def test_a_corpus_left_out_is_calibrated_without_it(utterances):
    """Its own errors must not tell how sure the recipe may be of it."""
    import build

    corpora = np.repeat(["ravdess", "emodb", "nemo"], [4, 4, 8])
    labels = np.arange(16) % 2
    inside = build.HeldOutPredictions(np.arange(16), np.eye(2)[labels] * 0.4 + 0.3, np.zeros(16), labels, corpora)
    workshop = SimpleNamespace(frozen=SimpleNamespace(utterances=tuple(utterances), classes=LABELS))

    def summary(wrong):
        answers = np.where(corpora == wrong, 1 - labels, labels)
        across = build.HeldOutPredictions(np.arange(16), np.eye(2)[answers] * 0.4 + 0.3, np.ones(16), labels, corpora)
        return build.summaries(workshop, build.Calibration.fitted(inside, across), inside, across, across)

    assert summary("emodb")["emodb"]["ece_blind"] > 0.9 > summary("emodb")["emodb"]["ece"]
    assert summary("none")["emodb"]["ece_blind"] < 0.1
    assert all(row["familiar"] == 0 for row in summary("none").values())


def test_no_held_out_clip_moves_the_calibration():
    import build

    rows, labels, corpora = np.arange(16), np.arange(16) % 2, np.array(["toy"] * 16)
    sure = np.eye(2)[labels] * 0.4 + 0.3
    inside = build.HeldOutPredictions(rows[:8], sure[:8], np.zeros(8), labels[:8], corpora[:8])

    def fitted(others):
        across = build.HeldOutPredictions(rows, np.concatenate([sure[:8], others]), np.ones(16), labels, corpora)
        return build.Calibration.fitted(inside, build.among(across, rows[:8]))

    assert fitted(sure[8:]) == fitted(sure[8:, ::-1])


def test_a_telephone_line_has_no_upper_band_and_keeps_the_level():
    from disturb import telephone_line

    clip = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    line = telephone_line(clip)
    power = np.abs(np.fft.rfft(line)) ** 2
    assert line.shape == clip.shape
    assert power[4_200:].sum() < 1e-3 * power.sum()
    kept = np.abs(np.fft.rfft(clip))[:3_500] ** 2
    assert power[:3_500].sum() == pytest.approx(kept.sum(), rel=0.05)


def test_a_corpus_left_out_is_named_with_what_was_learned_from():
    from card import across_table

    row = {"ua": 0.5, "ua_interval": [0.4, 0.6], "ece": 0.1, "utterances": 9}
    row |= {"ece_blind": 0.2, "familiar": 0.05}
    assert "| nemo (Polish) | ravdess and emodb | 9 | 50.0 [40.0, 60.0] | 10.0 | 20.0 | 5.0 |" in across_table(
        {"nemo": row}
    )
