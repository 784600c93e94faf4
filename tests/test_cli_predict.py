import csv
import io
import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from genser.cli._inputs import find_inputs
from genser.errors import ConfigError, MissingExtraError
from genser.inference.prediction import Prediction
from genser.output.predictions import columns_of, format_of, line_of, write_predictions

LABELS = ("anger", "happiness", "sadness")
GOOD = Prediction("a b.wav", "anger", {"anger": 0.7, "happiness": 0.2, "sadness": 0.1}, duration=1.5)
BAD = Prediction('c,"d".wav', None, error="c is empty (0 bytes).")


def genser(*words, stdin=b"", **options):
    command = [sys.executable, "-m", "genser", *map(str, words)]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=120, **options)


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "clips"
    (folder / "deep" / "er").mkdir(parents=True)
    random = np.random.default_rng(0)
    for name in ("b.wav", "a.flac", "deep/c.ogg", "deep/er/d.WAV"):
        path = folder / name
        soundfile.write(path, 0.1 * random.standard_normal(8_000), 16_000, format=path.suffix[1:].upper())
    (folder / "notes.txt").write_text("no sound")
    (folder / "._b.wav").write_bytes(b"a shadow that macOS leaves")
    return folder


def test_folders_files_and_patterns_come_in_a_repeatable_order(clips, monkeypatch):
    monkeypatch.chdir(clips)
    everything = ["./a.flac", "./b.wav", "./deep/c.ogg", "./deep/er/d.WAV"]
    assert [path.replace(os.sep, "/") for path in find_inputs(["."])] == everything
    assert find_inputs(["*.wav", "a.flac", "-", "gone.wav"]) == ["b.wav", "a.flac", "-", "gone.wav"]
    assert find_inputs(["notes.txt"]) == ["notes.txt"]
    assert len(find_inputs(["**/*.ogg", "deep*"])) == 3


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(clips, monkeypatch):
    monkeypatch.chdir(clips)
    (clips / "b[1].wav").write_bytes((clips / "b.wav").read_bytes())
    assert find_inputs(["b[1].wav"]) == ["b[1].wav"]


def test_a_pipe_in_a_folder_is_not_waited_for_and_a_lost_link_fails(clips):
    os.mkfifo(clips / "pipe.wav")
    (clips / "lost.wav").symlink_to("nowhere.wav")
    names = [os.path.basename(path) for path in find_inputs([str(clips)])]  # noqa: PTH119
    assert names == ["a.flac", "b.wav", "lost.wav", "c.ogg", "d.WAV"]


def test_nothing_and_an_empty_folder_are_wrong_usage(tmp_path):
    with pytest.raises(ConfigError, match="No input is named"):
        find_inputs([])
    with pytest.raises(ConfigError, match="holds no sound"):
        find_inputs([str(tmp_path)])


def test_the_ending_or_the_option_names_the_format(tmp_path):
    assert [format_of(tmp_path / name) for name in ("a.CSV", "a.tsv", "a.ndjson", "a.pq")] == [
        "csv",
        "tsv",
        "jsonl",
        "parquet",
    ]
    assert format_of(tmp_path / "a.csv", "json") == "json"
    assert format_of(None) == "text"
    for output, named in ((tmp_path / "a.doc", None), (None, "xml"), (None, "parquet")):
        with pytest.raises(ConfigError):
            format_of(output, named)


def written(format, predictions, tmp_path, labels=LABELS):
    path = tmp_path / f"out.{format}"
    write_predictions(iter(predictions), path, format, labels)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    return path


@pytest.mark.parametrize("format", ["json", "jsonl"])
def test_json_holds_the_whole_rows(tmp_path, format):
    text = written(format, [GOOD, BAD], tmp_path).read_text()
    rows = json.loads(text) if format == "json" else [json.loads(line) for line in text.splitlines()]
    assert rows == [GOOD.to_dict(), BAD.to_dict()]


@pytest.mark.parametrize(("format", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_tables_have_one_column_a_class(tmp_path, format, delimiter):
    with written(format, [GOOD, BAD], tmp_path).open(newline="") as file:
        good, bad = csv.DictReader(file, delimiter=delimiter)
    assert good == {
        "path": "a b.wav",
        "label": "anger",
        "anger": "0.700000",
        "happiness": "0.200000",
        "sadness": "0.100000",
        "error": "",
    }
    assert (bad["path"], bad["label"], bad["anger"], bad["error"]) == (BAD.path, "", "", BAD.error)


def test_parquet_has_the_same_columns(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(written("parquet", [GOOD, BAD] * 3000, tmp_path)).to_pylist()
    assert len(table) == 6000
    assert table[0]["happiness"] == pytest.approx(0.2)
    assert table[1] == {"path": BAD.path, "label": None, "error": BAD.error} | dict.fromkeys(LABELS)


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match="parquet"):
        written("parquet", [GOOD], tmp_path)


def test_a_class_named_as_a_column_is_marked():
    assert columns_of(["error", "joy"]) == ["path", "label", "error (score)", "joy", "error"]


@pytest.mark.parametrize("format", ["json", "jsonl", "csv", "tsv", "text", "parquet"])
def test_a_name_that_is_no_unicode_is_written(tmp_path, format):
    name = os.fsdecode(b"caf\xe9.wav")
    content = written(format, [Prediction(name, "anger", GOOD.scores)], tmp_path).read_bytes()
    if format in ("json", "jsonl"):
        rows = json.loads(content)
        assert (rows[0] if format == "json" else rows)["path"] == name
    elif format != "parquet":
        assert b"caf\xe9.wav" in content


def test_a_name_cannot_steer_the_terminal_or_forge_a_line():
    line = line_of(Prediction("a\x1b[2J\nanger  0.99  b.wav", "anger", GOOD.scores), LABELS)
    assert "\n" not in line
    assert "\x1b" not in line


def test_a_failed_write_leaves_the_older_file(tmp_path):
    (tmp_path / "out.csv").write_text("before")

    def failing():
        yield GOOD
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_predictions(failing(), tmp_path / "out.csv", "csv", LABELS)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("out.csv", "before")]


@pytest.mark.parametrize("name", ["no/such/out.csv", "."])
def test_an_output_that_cannot_be_written_is_wrong_usage(tmp_path, name):
    with pytest.raises(ConfigError, match=r"cannot be written|is a folder"):
        write_predictions(iter([GOOD]), tmp_path / name, "csv", LABELS)


def test_a_folder_becomes_rows_in_order(clips, toys):
    answer = genser("predict", clips, "--model", toys.int8, "--format", "csv")
    assert (answer.returncode, answer.stderr) == (0, b"")
    rows = list(csv.DictReader(io.StringIO(answer.stdout.decode())))
    assert [os.path.basename(row["path"]) for row in rows] == ["a.flac", "b.wav", "c.ogg", "d.WAV"]  # noqa: PTH119
    for row in rows:
        assert sum(float(row[label]) for label in LABELS) == pytest.approx(1, abs=1e-5)


def test_standard_input_is_a_sound(clips, toys):
    answer = genser("predict", "-", "--model", toys.int8, "--format", "jsonl", stdin=(clips / "b.wav").read_bytes())
    row = json.loads(answer.stdout)
    assert (answer.returncode, row["path"], row["error"], row["duration"]) == (0, "-", None, 0.5)


def test_people_get_a_line_each(clips, toys):
    answer = genser("predict", clips / "b.wav", "gone.wav", "--model", toys.int8)
    first, second = answer.stdout.decode().splitlines()
    assert answer.returncode == 1
    assert "b.wav" in first
    assert second.startswith("failed")
    assert "gone.wav does not exist" in second


def test_one_bad_clip_among_a_thousand(tmp_path, toys):
    folder = tmp_path / "many"
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(1000):
        soundfile.write(folder / f"{index:04}.wav", 0.1 * random.standard_normal(800 + index), 16_000)
    (folder / "0500.wav").write_bytes(b"RIFF\x00\x00\x00\x00WAVEfmt no sound")
    answer = genser("predict", folder, "--model", toys.float32, "-o", tmp_path / "out.jsonl")
    assert (answer.returncode, answer.stdout) == (1, b"")
    assert b"1 of 1000 inputs failed" in answer.stderr
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["path"][-8:-4] for row in rows] == [f"{index:04}" for index in range(1000)]
    assert [index for index, row in enumerate(rows) if row["error"]] == [500]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("predict",), b"No input is named"),
        (("predict", "a.wav", "--modell", "x"), b"Unknown option '--modell'"),
        (("predict", "a.wav", "--threads", "many"), b"--threads"),
        (("predict", "a.wav", "--format", "xml"), b"Unknown format 'xml'"),
        (("predict", "a.wav", "-o", "a.doc"), b"names no format"),
        (("predict", "a.wav", "--model", "nothing"), b"no model 'nothing'"),
        (("predikt",), b"predict"),
    ],
)
def test_wrong_usage_is_told_and_exits_with_2(words, told, tmp_path):
    answer = genser(*words, cwd=tmp_path)
    assert (answer.returncode, answer.stdout) == (2, b"")
    assert told in answer.stderr
    assert b"Traceback" not in answer.stderr


def test_a_closed_pipe_ends_quietly(clips, toys):
    command = [sys.executable, "-m", "genser", "predict", clips, clips, "--model", toys.int8]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        told = process.stderr.read()
        process.wait(60)
    assert b"Traceback" not in told
    assert b"Exception" not in told


def test_info_tells_of_a_model(toys):
    for model in (toys.float32, toys.folder):
        told = genser("info", model).stdout.decode()
        assert "anger, happiness, sadness" in told
        assert "CC0" in told
        assert "12 utterances; 4 speakers" in told
        assert json.loads(genser("info", model, "--json").stdout)["model"]["labels"] == list(LABELS)
        assert genser("info", model, "--card").stdout.startswith(b"# ")


def test_info_tells_what_is_installed():
    told = genser("info")
    assert told.returncode == 0
    assert b"onnxruntime" in told.stdout
    assert b"[train]" in told.stdout


def test_cold_start_takes_less_than_a_second_of_processor(clips, toys):
    """Processor time: the wall clock tells what else the machine does."""
    resource = pytest.importorskip("resource")
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    assert genser("predict", clips / "b.wav", "--model", toys.int8).returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert min(spent, time.perf_counter() - begin) < 1.0
