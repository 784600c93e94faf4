"""Shards of oruk-bench in both directions, and its own score against our metrics, with the package itself."""

import numpy as np
import pytest
import soundfile
from oruk_bench import core

from genser.audio import load_audio
from genser.bench.published import published
from genser.data import oruk
from genser.data.utterance import Utterance
from genser.errors import ManifestError
from genser.metrics.evaluate import Predictions, evaluate


def test_our_scores_are_those_of_the_benchmark():
    random = np.random.default_rng(0)
    labels = random.choice(7, 400, p=[0.3, 0.2, 0.1, 0.05, 0.05, 0.1, 0.2])
    probabilities = random.dirichlet(np.ones(7), 400)
    probabilities[np.arange(400), labels] += 0.3
    probabilities[:, 4] = 0  # a class that is never decided
    probabilities /= probabilities.sum(1, keepdims=True)
    theirs = core.score(labels, probabilities.argmax(1), ["xx"] * 400, ["s"] * 400, core.LABELS)
    ours = evaluate(Predictions(probabilities, labels, oruk.LABELS))
    assert list(oruk.LABELS) == core.LABELS
    assert theirs["accuracy"] == pytest.approx(ours.wa, abs=1e-9)
    assert theirs["macro_f1"] == pytest.approx(ours.macro_f1, abs=1e-9)
    assert theirs["weighted_f1"] == pytest.approx(ours.weighted_f1, abs=1e-9)
    for one in ours.per_class:
        assert theirs["per_class"][one.name]["recall"] == pytest.approx(one.recall, abs=1e-9)
        assert theirs["per_class"][one.name]["f1"] == pytest.approx(one.f1, abs=1e-9)


def test_shards_there_and_back(tmp_path):
    random, items = np.random.default_rng(1), []
    for number, label in enumerate(("Joy", "sadness", "boredom", "neutral")):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, 0.2 * random.standard_normal(8000), 16_000)
        items.append(Utterance(str(path), label, corpus="home", extra={"language": "de"} if number else {}))
    written = oruk.write_shards(items, tmp_path / "shards", rows=2)
    assert [item.label for item in written] == ["Joy", "sadness", "neutral"]
    tables, index, labels, languages, sources = core.load_eval(tmp_path / "shards")
    assert [core.LABELS[label] for label in labels] == ["happiness", "sadness", "neutral"]
    assert (list(languages), set(sources)) == (["unknown", "de", "de"], {"home"})
    for position, item in enumerate(written):
        np.testing.assert_allclose(core.clip_audio(tables, index, position), load_audio(item.path), atol=1e-4)
    back = list(oruk.read_shards(tmp_path / "shards", tmp_path / "clips"))
    assert [item.label for item in back] == ["happiness", "sadness", "neutral"]
    np.testing.assert_allclose(load_audio(back[2].path), load_audio(written[2].path), atol=1e-4)
    again = oruk.write_shards(back, tmp_path / "again", rows=2)
    assert [item.extra for item in again] == [{}, {"language": "de"}, {"language": "de"}]


def test_what_is_no_shard_is_refused(tmp_path):
    with pytest.raises(ManifestError, match="no shards"):
        list(oruk.read_shards(tmp_path, tmp_path / "clips"))
    with pytest.raises(ManifestError, match="No utterance has one of the classes"):
        oruk.write_shards([Utterance("a.wav", "boredom")], tmp_path / "none")


def test_published_scores_of_the_benchmark():
    rows = {row.model: (row.wa, row.macro_f1) for row in published(table="oruk")}
    assert rows["emotion2vec+ seed"] == (68.7, 68.0)
    assert rows["SenseVoice-S"] == (55.7, 46.9)
    assert len(rows) == 10
