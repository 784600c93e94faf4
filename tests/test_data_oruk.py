"""Shards of oruk-bench in both directions, and its own score against our metrics, with the package itself."""

import io
import re

import numpy as np
import pyarrow.parquet
import pytest
import soundfile
from oruk_bench import core

from genser.audio import load_audio
from genser.bench.published import published
from genser.cli.prepare import prepare
from genser.data import oruk
from genser.data.manifest import read_manifest
from genser.data.utterance import Utterance
from genser.errors import ConfigError, ManifestError
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


def test_the_command_line_goes_both_ways(tmp_path, capsys):
    for number in range(3):
        soundfile.write(tmp_path / f"{number}.wav", 0.2 * np.random.default_rng(number).standard_normal(8000), 16_000)
    (tmp_path / "mine.csv").write_text("path,label,language\n0.wav,joy,de\n1.wav,boredom,de\n2.wav,neutral,de\n")
    assert prepare("csv", tmp_path / "mine.csv", output=tmp_path / "table.csv", shards=tmp_path / "shards") == 0
    assert "2 clips of 3 have a class of oruk-bench" in capsys.readouterr().err
    options = {"clips": tmp_path / "clips", "output": tmp_path / "oruk.csv"}
    assert prepare("oruk", tmp_path / "shards", **options) == 0
    back = read_manifest(tmp_path / "oruk.csv")
    assert [(item.label, item.split, item.extra) for item in back] == [
        ("happiness", "test", {"language": "de"}),
        ("neutral", "test", {"language": "de"}),
    ]
    np.testing.assert_allclose(load_audio(back[1].path), load_audio(tmp_path / "2.wav"), atol=1e-4)
    with pytest.raises(ConfigError, match="--clips"):
        prepare("oruk", tmp_path / "shards")
    with pytest.raises(ConfigError, match="--clips"):
        prepare("csv", tmp_path / "mine.csv", **options)


def flac():
    file = io.BytesIO()
    soundfile.write(file, 0.2 * np.random.default_rng(2).standard_normal(8000), 16_000, format="FLAC")
    return file.getvalue()


GOOD = {"audio_flac": flac(), "label": 6, "language": None, "source_id": "home"}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"label": 7}, "row 1 has the label 7, which is no index from 0 to 6"),
        ({"label": -1}, "row 1 has the label -1"),
        ({"label": None}, "row 1 has the label None"),
        ({"audio_flac": GOOD["audio_flac"][:60]}, "row 1 has audio that cannot be decoded"),
        ({"audio_flac": b"fLaC" + bytes(500)}, "row 1 has audio that cannot be decoded"),
        ({"audio_flac": b"RIFF1234WAVE"}, "row 1 has no FLAC file"),
        ({"audio_flac": None}, "row 1 has no FLAC file"),
    ],
)
def test_a_row_that_is_not_of_the_benchmark_is_named(tmp_path, changed, words):
    shard = tmp_path / "shard-00000.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([GOOD, GOOD | changed]), shard)
    with pytest.raises(ManifestError, match=rf"{re.escape(str(shard))}: {words}.*Copy it again, or remove"):
        list(oruk.read_shards(tmp_path, tmp_path / "clips"))


def test_columns_of_other_types_are_refused(tmp_path):
    for name, value in {"label": "anger", "language": 3, "source_id": 1.5, "audio_flac": {"bytes": b"x"}}.items():
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([GOOD | {name: value}]), tmp_path / "s.parquet")
        with pytest.raises(ManifestError, match=rf"s\.parquet: row 0 has .*{'FLAC' if 'flac' in name else name}"):
            list(oruk.read_shards(tmp_path, tmp_path / "clips"))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no table at all", "cut", "bits"])
def test_a_damaged_shard_is_named(tmp_path, content):
    shard = tmp_path / "shard-00000.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([GOOD] * 3), shard)
    whole = shard.read_bytes()
    damaged = {"cut": whole[:-9], "bits": whole[:4] + bytes(b ^ 0x5A for b in whole[4:1500]) + whole[1500:]}
    shard.write_bytes(damaged.get(content, content))
    with pytest.raises(ManifestError, match=rf"{re.escape(str(shard))}.*(Copy it again|Remove it)"):
        list(oruk.read_shards(tmp_path, tmp_path / "clips"))


def test_what_is_no_shard_is_refused(tmp_path):
    with pytest.raises(ManifestError, match="no shards"):
        list(oruk.read_shards(tmp_path, tmp_path / "clips"))
    pyarrow.parquet.write_table(pyarrow.table({"label": [1]}), tmp_path / "other.parquet")
    with pytest.raises(ManifestError, match=r"other\.parquet has no column 'audio_flac'.*Remove it"):
        list(oruk.read_shards(tmp_path, tmp_path / "clips"))
    table = pyarrow.Table.from_pylist([GOOD])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    pyarrow.parquet.write_table(table.slice(0, 0), tmp_path / "other.parquet")
    with pytest.raises(ManifestError, match=r"other\.parquet has no rows\. Copy it again, or remove it"):
        list(oruk.read_shards(tmp_path, tmp_path / "clips"))
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(ManifestError, match=r"has the shard other\.parquet already"):
        oruk.write_shards([Utterance("a.wav", "anger")], tmp_path)
    with pytest.raises(ManifestError, match="No utterance has one of the classes"):
        oruk.write_shards([Utterance("a.wav", "boredom")], tmp_path / "none")


def test_published_scores_of_the_benchmark():
    rows = {row.model: (row.wa, row.macro_f1) for row in published(table="oruk")}
    assert rows["emotion2vec+ seed"] == (68.7, 68.0)
    assert rows["SenseVoice-S"] == (55.7, 46.9)
    assert len(rows) == 10
