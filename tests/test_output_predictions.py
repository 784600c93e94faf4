"""Predictions in every format, read back."""

import csv
import io
import json
import os
from pathlib import Path

import pytest

from genser.errors import ConfigError, MissingExtraError
from genser.inference.prediction import NO_SPEECH, Prediction
from genser.output import formats
from genser.output.formats import ENDINGS, FORMATS, find_format, names_of
from genser.output.predictions import prediction_lines, prediction_rows

LABELS = ("anger", "happiness", "sadness")
SCORES = {"anger": 0.7, "happiness": 0.2, "sadness": 0.1}
NUMBERS = {"speech": 0.9, "familiar": 0.25, "duration": 1.5, "heard": 1.25}
FACTS = {**NUMBERS, "channel": 2, "remark": "The file is cut off."}
GOOD = Prediction("a b.wav", "anger", SCORES, **FACTS)
SILENT = Prediction("s.wav", NO_SPEECH, SCORES, duration=2.0, speech=0.125, familiar=0.5)
BAD = Prediction('c,"d".wav', None, error="c is empty (0 bytes).")
ROW = {"path": "a b.wav", "label": "anger", "score": 0.7, **SCORES, **FACTS}


def written(format, *predictions, labels=LABELS):
    file = io.BytesIO()
    FORMATS[format].predictions(iter(predictions), file, labels)
    return file.getvalue()


def table(format, *predictions):
    delimiter = {"csv": ",", "tsv": "\t"}[format]
    text = written(format, *predictions).decode("utf-8", "surrogateescape")
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))


@pytest.mark.parametrize("format", ["csv", "tsv"])
def test_tables_have_one_column_per_class_besides_score_speech_familiar_and_duration(format):
    good, silent, bad = table(format, GOOD, SILENT, BAD)
    assert good == {name: str(value) for name, value in ROW.items()} | {"error": ""}
    assert list(good) == [*ROW, "error"]
    assert (silent["label"], silent["score"], silent["speech"]) == (NO_SPEECH, "0.875", "0.125")
    assert {name for name, value in bad.items() if value} == {"path", "error"}


def test_parquet_has_the_columns_of_csv():
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = parquet.read_table(io.BytesIO(written("parquet", *[GOOD, BAD] * 3000))).to_pylist()
    assert len(rows) == 6000
    assert rows[0] == {**ROW, "error": None}
    assert rows[1] == dict.fromkeys(ROW) | {"path": BAD.path, "error": BAD.error}


@pytest.mark.parametrize("format", ["json", "jsonl"])
def test_json_holds_predictions_as_dictionaries(format):
    text = written(format, GOOD, SILENT, BAD)
    rows = json.loads(text) if format == "json" else [json.loads(line) for line in text.splitlines()]
    assert rows == [one.to_dict() for one in (GOOD, SILENT, BAD)]
    assert json.loads(written("json")) == []


def test_a_row_is_written_before_the_next_prediction_is_made():
    for format in ("text", "json", "jsonl", "csv", "tsv"):
        file, seen = io.BytesIO(), []

        def predictions(file=file, seen=seen):
            for _ in range(3):
                seen.append(file.getvalue().count(b"a b.wav"))
                yield GOOD

        FORMATS[format].predictions(predictions(), file, LABELS)
        assert seen == [0, 1, 2]


def test_text_shows_the_score_of_the_label():
    good, silent, bad = written("text", GOOD, SILENT, BAD).decode().splitlines()
    assert good == "anger      0.70  a b.wav channel 2  (happiness 0.20, sadness 0.10)  The file is cut off."
    assert silent == "no speech  0.88  s.wav"
    assert bad.split(maxsplit=1) == ["failed", BAD.error]


def test_a_class_with_the_name_of_a_column_is_marked():
    assert "score (score)" in prediction_rows([], ["score", "joy"]).header()


@pytest.mark.parametrize("format", names_of("predictions"))
def test_a_name_that_is_not_utf_8_is_written(format):
    pytest.importorskip("pyarrow")
    name = os.fsdecode(b"caf\xe9.wav")
    content = written(format, Prediction(name, "anger", SCORES))
    if format in ("json", "jsonl"):
        rows = json.loads(content)
        assert (rows[0] if format == "json" else rows)["path"] == name
    elif format != "parquet":
        assert rb"caf\udce9.wav" in content


@pytest.mark.parametrize("name", ["a\rb.wav", 'a"b.wav', "a,b\n.wav"])
@pytest.mark.parametrize("format", ["csv", "tsv"])
def test_any_name_is_read_back_from_a_table(format, name):
    assert [row["path"] for row in table(format, Prediction(name, "anger", SCORES), GOOD)] == [name, GOOD.path]


def test_a_name_can_neither_control_the_terminal_nor_look_like_another_line():
    (line,) = prediction_lines([Prediction("a\x1b[2J\nanger  0.99  b.wav", "anger", SCORES)], LABELS)
    assert "\n" not in line
    assert "\x1b" not in line


def test_the_ending_or_the_name_chooses_the_format(tmp_path):
    for ending, name in ENDINGS.items():
        kind = "predictions" if FORMATS[name].predictions else "timelines"
        pytest.importorskip((FORMATS[name].requires or ("genser",))[0])
        assert find_format(kind, tmp_path / f"A{ending.upper()}", None, "text").name == name
    assert find_format("predictions", tmp_path / "a.csv", "json", "text").name == "json"
    assert find_format("predictions", None, None, "text").name == "text"


@pytest.mark.parametrize(
    ("output", "name", "message"),
    [
        ("a.doc", None, "is not that of a format"),
        (None, "xml", "Unknown format 'xml'"),
        (None, "cvs", "Did you mean 'csv'"),
        (None, "parquet", "Name a file with -o"),
        ("a.srt", None, "srt cannot hold predictions"),
    ],
)
def test_a_format_that_does_not_fit_is_refused(tmp_path, output, name, message):
    with pytest.raises(ConfigError, match=message):
        find_format("predictions", output and tmp_path / output, name, "text")


def test_a_missing_package_names_the_extra_before_work_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "find_spec", lambda _: None)
    for name in ("parquet", "png"):
        kind = "predictions" if name == "parquet" else "timelines"
        with pytest.raises(MissingExtraError, match=FORMATS[name].requires[1]):
            find_format(kind, tmp_path / f"a.{name}", None, "text")


def test_the_documentation_lists_every_format():
    text = (Path(__file__).parents[1] / "docs/folder.md").read_text("utf-8")
    for name, one in FORMATS.items():
        holds = ("yes" if has else "" for has in (one.predictions, one.timelines, one.summaries, one.holds_many))
        assert f"| {name} | {' '.join(one.endings)} | {' | '.join(holds)} |" in text
