import csv
import io
import json
import os
import subprocess
import sys
import unicodedata
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile
from command_line import run as genser

from genser.cli._inputs import find_inputs
from genser.cli.info import installation
from genser.errors import ConfigError

LABELS = ("anger", "happiness", "sadness")


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
    assert find_inputs(["**/*.ogg", "deep*"]) == ["deep/c.ogg", "deep/er/d.WAV"]
    assert find_inputs(["*.wav", "./b.wav", str(clips / "b.wav"), "-", "-"]) == ["b.wav", "-"]
    assert find_inputs(["b.wav", "deep", "./b.wav", "."])[:2] == ["b.wav", "deep/c.ogg"]
    assert find_inputs(["**", "deep/**/d.*"]) == find_inputs(["**/*"])


def test_links_are_followed_once_and_hidden_files_never(clips, monkeypatch):
    monkeypatch.chdir(clips)
    for name in ("__MACOSX/a.wav", ".git/a.wav", "deep/._c.ogg", "deep/.hidden.wav"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(b"no sound")
    files = find_inputs(["."])
    assert len(files) == 4
    (clips / "deep/er/loop").symlink_to(clips)
    (clips / "deep/er/other").symlink_to(clips / "deep")
    (clips / "0-first").symlink_to(clips / "deep")
    assert find_inputs(["."]) == files
    assert len(find_inputs(["**/*.*"])) == 5
    outside = clips.parent / "outside"
    (outside / "deeper").mkdir(parents=True)
    (outside / "deeper/e.wav").write_bytes(b"sound")
    (clips / "linked").symlink_to(outside)
    assert find_inputs(["."]) == [*files, "./linked/deeper/e.wav"]
    assert find_inputs(["**/e.wav"]) == ["linked/deeper/e.wav"]


def test_folders_that_cannot_be_read_or_hold_nothing_stay_in_the_list(clips, monkeypatch):
    monkeypatch.chdir(clips)
    Path("empty").mkdir()
    assert find_inputs(["empty", "b.wav"]) == ["empty", "b.wav"]
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("er"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert find_inputs(["."]) == ["./a.flac", "./b.wav", "./deep/c.ogg", "./deep/er"]
    assert find_inputs(["**/*.wav"]) == ["b.wav", "./deep/er"]


def test_a_name_in_another_unicode_form_is_found(tmp_path):
    path = tmp_path / unicodedata.normalize("NFD", "für.wav")
    path.write_bytes(b"sound")
    assert find_inputs([unicodedata.normalize("NFC", str(path))]) == [str(path)]


def test_a_folder_without_audio_is_a_row(clips, toys):
    (clips / "empty").mkdir()
    answer = genser("predict", clips / "empty", clips / "b.wav", "--model", toys.int8, "--format", "csv")
    first, second = csv.DictReader(io.StringIO(answer.stdout.decode()))
    assert answer.returncode == 1
    assert "is a folder" in first["error"]
    assert second["error"] == ""


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(clips, monkeypatch):
    monkeypatch.chdir(clips)
    (clips / "b[1].wav").write_bytes((clips / "b.wav").read_bytes())
    assert find_inputs(["b[1].wav"]) == ["b[1].wav"]


def test_a_fifo_in_a_folder_is_skipped_and_a_broken_link_is_kept(clips):
    if not hasattr(os, "mkfifo"):
        pytest.skip("the system has no FIFO")
    os.mkfifo(clips / "pipe.wav")
    (clips / "lost.wav").symlink_to("nowhere.wav")
    names = [os.path.basename(path) for path in find_inputs([str(clips)])]  # noqa: PTH119
    assert names == ["a.flac", "b.wav", "lost.wav", "c.ogg", "d.WAV"]


def test_nothing_and_an_empty_folder_are_wrong_usage(tmp_path):
    with pytest.raises(ConfigError, match="No input is given"):
        find_inputs([])
    with pytest.raises(ConfigError, match="holds no audio files"):
        find_inputs([str(tmp_path)])


def test_a_folder_becomes_rows_in_order(clips, toys):
    answer = genser("predict", clips, "--model", toys.int8, "--format", "csv")
    assert (answer.returncode, answer.stderr) == (0, b"")
    rows = list(csv.DictReader(io.StringIO(answer.stdout.decode())))
    assert [os.path.basename(row["path"]) for row in rows] == ["a.flac", "b.wav", "c.ogg", "d.WAV"]  # noqa: PTH119
    for row in rows:
        assert sum(float(row[label]) for label in LABELS) == pytest.approx(1, abs=1e-5)


def test_standard_input_is_an_input(clips, toys):
    answer = genser("predict", "-", "--model", toys.int8, "--format", "jsonl", stdin=(clips / "b.wav").read_bytes())
    row = json.loads(answer.stdout)
    assert (answer.returncode, row["path"], row["error"], row["duration"]) == (0, "standard input", None, 0.5)


@pytest.mark.parametrize("use", [(), ("--segments",), ("--summary",), ("--channel", "each")])
@pytest.mark.parametrize("sound", ["good", "bad"])
def test_standard_input_has_one_name_everywhere(clips, toys, use, sound):
    data = (clips / "b.wav").read_bytes() if sound == "good" else b"no sound at all"
    for format in ("jsonl", "csv", "text"):
        answer = genser("predict", "-", *use, "--model", toys.int8, "--format", format, stdin=data)
        output, errors = answer.stdout.decode(), answer.stderr.decode()
        assert answer.returncode == (sound == "bad")
        assert "standard input" in output
        rows = [json.loads(output)] if format == "jsonl" else csv.DictReader(io.StringIO(output))
        if format != "text":
            assert {row["path"] for row in rows} == {"standard input"}
        for line in (*output.splitlines(), *errors.splitlines()):
            assert not line.startswith(("-", "genser: -"))
            assert "  -" not in line


def test_text_has_one_line_per_input(clips, toys):
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
    assert b"1 of 1,000 inputs failed" in answer.stderr
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["path"][-8:-4] for row in rows] == [f"{index:04}" for index in range(1000)]
    assert [index for index, row in enumerate(rows) if row["error"]] == [500]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("predict",), b"No input is given"),
        (("predict", "a.wav", "--modell", "x"), b"Unknown option '--modell'"),
        (("predict", "a.wav", "--threads", "many"), b"--threads"),
        (("predict", "a.wav", "--format", "xml"), b"Unknown format 'xml'"),
        (("predict", "a.wav", "--format", "srt"), b"or add --segments"),
        (("predict", "a.wav", "-o", "a.doc"), b"is not that of a format"),
        (("predict", "a.wav", "--model", "nothing"), b"no model 'nothing'"),
        (("predikt",), b"predict"),
        (("train",), b"genser train needs MANIFEST. See: genser train --help."),
        (("split", "a.csv"), b"genser split needs --output or -o."),
        (("split", "a.csv", "-o"), b"-o needs a value."),
    ],
)
def test_wrong_usage_is_a_sentence_and_exit_code_2(words, told, tmp_path):
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


@pytest.mark.skipif(os.name == "nt", reason="The home folder has another variable on Windows.")
def test_the_home_folder_in_an_option_with_an_equals_sign_is_no_folder_called_tilde(clips, toys, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    answer = genser("predict", "b.wav", f"--model={toys.int8}", "--output=~/new/out.csv", cwd=clips)
    assert answer.returncode == 0
    assert (tmp_path / "new" / "out.csv").exists()
    assert not (clips / "~").exists()


def test_a_file_in_place_of_the_verb_gets_the_command_to_copy(tmp_path):
    (tmp_path / "my talk.wav").touch()
    answer = genser("my talk.wav", cwd=tmp_path)
    assert answer.returncode == 2
    assert b"genser predict 'my talk.wav'" in answer.stderr


def pipe_without_reader():
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


@pytest.mark.skipif(os.name == "nt", reason="Windows reports a reader that has gone in another way.")
def test_help_that_no_one_reads_is_no_error():
    with pipe_without_reader() as stdout:
        run = subprocess.run([sys.executable, "-m", "genser", "predict", "--help"], stdout=stdout, timeout=60)
    assert run.returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows reports a reader that has gone in another way.")
@pytest.mark.parametrize("words", [("b.wav", "no.wav"), ("--segments", "b.wav", "no.wav"), ("--modell", "x")])
def test_messages_that_cannot_be_written_change_neither_the_results_nor_the_exit_code(clips, toys, words):
    def run(output, stderr):
        command = [sys.executable, "-m", "genser", "predict", *words, "--model", toys.int8, "-o", output]
        with stderr:
            code = subprocess.run(list(map(str, command)), stderr=stderr, cwd=clips, timeout=60).returncode
        return code, (clips / output).read_text() if (clips / output).exists() else None

    expected = run("read.csv", (clips / "messages").open("w"))
    assert (clips / "messages").read_text()
    assert expected[0] in (1, 2)
    assert run("gone.csv", pipe_without_reader()) == expected
    if Path("/dev/full").exists():
        assert run("full.csv", open("/dev/full", "w")) == expected  # noqa: PTH123, SIM115


def test_info_shows_a_model(toys):
    for model in (toys.float32, toys.folder):
        text = genser("info", model).stdout.decode()
        assert "anger, happiness, sadness" in text
        assert "CC0" in text
        assert "12 utterances; 4 speakers" in text
        assert json.loads(genser("info", model, "--json").stdout)["model"]["labels"] == list(LABELS)
        assert genser("info", model, "--card").stdout.startswith(b"# ")


def test_info_reports_versions_and_complete_extras():
    shown = json.loads(genser("info", "--json").stdout)["installation"]
    assert shown["base"]["onnxruntime"] == metadata.version("onnxruntime")
    extras = {
        "train",
        "track",
        "parquet",
        "media",
        "live",
        "plot",
        "hub",
        "sklearn",
        "tables",
        "serve",
        "s3",
        "scale",
        "docs",
    }
    assert set(shown["extras"]) == extras
    for extra, module in (("train", "torch"), ("parquet", "pyarrow"), ("media", "av"), ("plot", "matplotlib")):
        assert shown["extras"][extra] == (find_spec(module) is not None)


def test_an_extra_without_one_of_its_packages_is_incomplete(monkeypatch):
    names = ["numpy>=1", "numpy>=1; extra == 'full'", 'no-such-package>=1; extra == "gone"', "numpy; extra == 'gone'"]
    monkeypatch.setattr(metadata, "requires", lambda _: names)
    shown = installation()
    assert shown["base"] == {"numpy": np.__version__}
    assert shown["extras"] == {"full": True, "gone": False}


@pytest.mark.parametrize("wrong", ["--formt", "--modell=x", "--smothing"])
def test_an_unknown_option_names_the_nearest_known_one(wrong, tmp_path):
    answer = genser("predict", "a.wav", wrong, cwd=tmp_path)
    known = {"--formt": b"'--format'", "--modell=x": b"'--model'", "--smothing": b"'--smoothing'"}[wrong]
    assert answer.returncode == 2
    assert b"Did you mean " + known in answer.stderr


def test_an_output_never_replaces_an_input(clips):
    before = (clips / "b.wav").read_bytes()
    for output in (clips / "b.wav", clips / "deep" / ".." / "b.wav"):
        answer = genser("predict", clips, "-o", output, "--format", "csv")
        assert (answer.returncode, (clips / "b.wav").read_bytes()) == (2, before)
        assert b"would be overwritten" in answer.stderr


def test_a_folder_is_no_file_for_predictions(clips):
    answer = genser("predict", clips, "-o", clips, "--format", "csv")
    assert answer.returncode == 2
    assert b"is a folder. Name a file" in answer.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize(
    "words",
    [("info",), ("predict", "b.wav", "--format", "csv"), ("predict", "b.wav", "-o", "/dev/full", "--format", "csv")],
)
def test_a_full_disk_is_a_sentence_and_exit_code_2(clips, toys, words):
    model = ("--model", toys.int8) if words[0] == "predict" else ()
    command = [sys.executable, "-m", "genser", *words, *map(str, model)]
    with Path("/dev/full").open("wb") as full:
        answer = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, cwd=clips)
    assert answer.returncode == 2
    assert b"No space left" in answer.stderr
    assert b"Traceback" not in answer.stderr
    assert b"Exception ignored" not in answer.stderr


def test_long_recordings_get_one_hint_at_segments(clips, toys, tmp_path):
    for name in ("long", "longer"):
        soundfile.write(tmp_path / f"{name}.wav", np.tile([0.1, -0.1], 61 * 4000), 4_000)
    answer = genser("predict", clips, tmp_path / "long.wav", tmp_path / "longer.wav", "--model", toys.int8)
    assert answer.returncode == 0
    assert answer.stderr.count(b"--segments") == 1
    assert b"2 recordings are longer than 2 minutes" in answer.stderr


def test_adapt_reports_each_input_that_failed_and_learns_from_the_others(clips, toys):
    run = genser("adapt", "b.wav", "nope.wav", "folder", "-o", "p.json", "--model", toys.int8, cwd=clips)
    assert run.returncode == 1
    assert (clips / "p.json").exists()
    assert b"nope.wav does not exist." in run.stderr
    assert b"lacks 2 inputs" in run.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("predict", ""), "empty name"),
        (("predict", "--", "a.wav", "--format", "text"), "'--format' stands after '--'"),
        (("adapt", "-", "-o", "p.json"), "adapt takes no standard input"),
        (("features", "-", "-o", "f"), "features takes no standard input"),
    ],
)
def test_a_word_that_is_no_input_is_named(words, message):
    run = genser(*words)
    assert run.returncode == 2
    assert message in run.stderr.decode()


@pytest.mark.skipif(os.name == "nt", reason="The shell of Windows closes no streams.")
def test_closed_streams_and_a_width_of_zero_are_sentences():
    def end(words, closing):
        shell = f'"$0" -m genser {words} {closing}'
        found = subprocess.run(
            ["sh", "-c", shell, sys.executable], capture_output=True, text=True, env={**os.environ, "COLUMNS": "0"}
        )
        assert "Traceback" not in found.stderr + found.stdout
        return found

    assert "Usage" in end("--help", "").stdout
    assert "cannot be used" in end("--help", ">&-").stderr
    assert "Standard input is closed." in end("predict -", "<&-").stdout
    assert end("predict nope.wav", "2>&-").returncode == 1
    assert "Standard output cannot be written: it is closed." in end("predict nope.wav", ">&-").stderr


def test_a_file_that_is_read_only_is_not_replaced(clips, toys):
    (clips / "out.csv").write_text("mine")
    (clips / "out.csv").chmod(0o444)
    run = genser("predict", "a.wav", "-o", "out.csv", "--model", toys.int8, cwd=clips)
    assert run.returncode == 2
    assert b"out.csv is read-only." in run.stderr
    assert (clips / "out.csv").read_text() == "mine"
