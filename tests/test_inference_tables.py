"""Tables of pandas, Polars and Arrow, and indices of audformat, in and out."""

from pathlib import Path

import audformat
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import soundfile

import genser
from genser.errors import ConfigError

SPEECH, RATE = soundfile.read(Path(__file__).resolve().parent.parent / "examples/synthetic.flac", dtype="float32")
ROWS = {
    "path": ["a.wav", "missing.wav", "a.wav"],
    "from": [None, None, 1.5],
    "to": [None, None, 3.0],
    "emotion": [*"xyz"],
}


@pytest.fixture(scope="module")
def recognizer():
    return genser.load("tiny", threads=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("sounds")
    soundfile.write(path / "a.wav", SPEECH, RATE)
    return path


def as_arrow(table):
    return pa.table(table) if isinstance(table, pa.Table | pl.DataFrame) else pa.Table.from_pandas(table)


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
def test_a_table_comes_back_as_its_kind(recognizer, folder, make):
    table = make(ROWS)
    found = recognizer.predict_table(table, start="from", end="to", folder=folder)
    assert type(found) is type(table)
    whole, lost, part = as_arrow(found).to_pylist()
    expected = recognizer.predict(folder / "a.wav")
    assert [row["emotion"] for row in (whole, lost, part)] == ["x", "y", "z"]
    assert (whole["label"], whole["error"]) == (expected.label, None)
    assert {name: whole[name] for name in recognizer.labels} == pytest.approx(dict(expected.scores))
    assert lost["label"] is None
    assert lost["score"] is None
    assert "missing.wav does not exist" in lost["error"]
    assert part["duration"] == pytest.approx(1.5)
    assert part["score"] != whole["score"]


def test_a_table_of_pandas_keeps_its_index(recognizer, folder):
    table = pd.DataFrame({"path": ["a.wav"]}, index=pd.Index(["first"], name="id"))
    assert list(recognizer.predict_table(table, folder=folder).index) == ["first"]


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        ({"path": []}, {}, "dict is not a table"),
        (pa.table({"file": ["a.wav"]}), {}, "no column 'path'"),
        (pa.table({"path": ["a.wav"], "label": ["sad"]}), {}, r"prefix='predicted_'"),
        (pa.table({"path": ["a.wav"]}), {"start": "begin"}, "no column 'begin'"),
    ],
)
def test_a_table_that_cannot_be_used_is_a_sentence(recognizer, table, options, message):
    with pytest.raises(ConfigError, match=message):
        recognizer.predict_table(table, **options)


def test_a_prefix_avoids_columns_that_exist(recognizer, folder):
    table = pa.table({"path": [str(folder / "a.wav")], "label": ["sad"]})
    found = recognizer.predict_table(table, prefix="predicted_")
    assert found.column_names[:3] == ["path", "label", "predicted_label"]


def test_a_faulty_row_does_not_cost_the_others(recognizer, folder):
    paths = ["a.wav", "a.wav", None, "a.wav", "a.wav"]
    starts, ends = [2.0, 0.0, 0.0, "soon", None], [1.0, 1.0, 1.0, 1.0, None]
    table = pd.DataFrame({"path": paths, "s": starts, "e": ends})
    found = recognizer.predict_table(table, start="s", end="e", folder=folder)
    assert found["label"].notna().tolist() == [False, True, False, False, True]
    for number, reason in ((0, "from 2.0 s to 1.0 s"), (2, "The path is missing."), (3, "'soon' is no time")):
        assert reason in found["error"][number]


def test_an_index_of_audformat_comes_back(recognizer, folder):
    index = audformat.segmented_index(["a.wav", "a.wav", "no.wav"], ["0s", "1.5s", "0s"], [pd.NaT, "3s", "1s"])
    found = recognizer.predict_index(index, folder)
    pd.testing.assert_index_equal(found.index, index)
    assert audformat.is_segmented_index(found)
    assert list(found["duration"][:2]) == pytest.approx([len(SPEECH) / RATE, 1.5])
    assert "no.wav" in found["error"].iloc[2]
    files = audformat.filewise_index(["a.wav"])
    assert recognizer.predict_index(files, folder)["label"].iloc[0] == found["label"].iloc[0]
    database = audformat.Database("calls")
    database.schemes["emotion"] = audformat.Scheme(labels=list(recognizer.labels))
    database["predicted"] = audformat.Table(index)
    database["predicted"]["emotion"] = audformat.Column(scheme_id="emotion")
    database["predicted"]["emotion"].set(found["label"])
    assert database["predicted"]["emotion"].get().iloc[0] == found["label"].iloc[0]
    with pytest.raises(ConfigError, match="levels file"):
        recognizer.predict_index(pd.Index(["a.wav"], name="path"))
