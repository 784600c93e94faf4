"""A run of predict that is stopped keeps what it has recognised, and --resume makes the output of a whole run."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from genser import cli
from genser.cli._resume import journal_path, locked
from genser.errors import ConfigError
from genser.files import open_locked
from genser.inference.recognizer import Recognizer
from genser.segments import timeline

TABLES = ("csv", "tsv", "json", "jsonl", "parquet", "txt")
COUNT = 9


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """Clips of which the last is damaged; the working folder is the one above them."""
    folder = tmp_path / "calls"
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(COUNT):
        soundfile.write(folder / f"{index}.wav", 0.1 * random.standard_normal(8_000 + 100 * index), 16_000)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def stopped(monkeypatch):
    """Runs a verb whose recogniser raises an exception after so many clips."""

    def run(words, after):
        with monkeypatch.context() as patch:
            original, segmented = Recognizer.predict_many, timeline.recognize_timeline
            seen = []

            def predict_many(self, sources, **options):
                for done, prediction in enumerate(original(self, sources, **options)):
                    if done == after:
                        raise KeyboardInterrupt
                    yield prediction

            def recognize_timeline(*arguments, **options):
                seen.append(arguments)
                if len(seen) > after:
                    raise KeyboardInterrupt
                return segmented(*arguments, **options)

            patch.setattr(Recognizer, "predict_many", predict_many)
            patch.setattr("genser.cli._segments.recognize_timeline", recognize_timeline)
            with pytest.raises(SystemExit):  # Ctrl-C ends with the exit code 130
                cli.app(words)

    return run


@pytest.fixture
def recognised(monkeypatch):
    """Names of the files that are recognised, as they come."""
    names = []
    original, segmented = Recognizer.predict_many, timeline.recognize_timeline

    def predict_many(self, sources, **options):
        sources = list(sources)
        names.extend(sources)
        return original(self, sources, **options)

    def recognize_timeline(scorer, source, *arguments, **options):
        names.append(source)
        return segmented(scorer, source, *arguments, **options)

    monkeypatch.setattr(Recognizer, "predict_many", predict_many)
    monkeypatch.setattr("genser.cli._segments.recognize_timeline", recognize_timeline)
    return names


def words_of(toys, output, *more):
    return ["predict", "calls", "--model", str(toys.int8), "-o", output, *more]


@pytest.mark.parametrize("segments", [(), ("--segments",)])
@pytest.mark.parametrize("ending", TABLES)
def test_a_resumed_run_writes_what_a_whole_run_writes(calls, toys, stopped, recognised, ending, segments):
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    assert cli.app(words_of(toys, f"whole.{ending}", *segments)) == 0
    recognised.clear()
    stopped(words_of(toys, f"out.{ending}", *segments), after=4)
    assert not (calls.parent / f"out.{ending}").exists()
    recognised.clear()
    assert cli.app(words_of(toys, f"out.{ending}", "--resume", *segments)) == 0
    assert sorted(recognised) == [f"calls/{index}.wav" for index in range(4, COUNT)]
    whole, out = ((calls.parent / f"{name}.{ending}").read_bytes() for name in ("whole", "out"))
    assert out == whole
    assert sorted(path.name for path in calls.parent.iterdir()) == ["calls", f"out.{ending}", f"whole.{ending}"]


def test_results_with_two_learned_profiles_are_not_mixed(calls, toys, stopped):
    stopped(words_of(toys, "out.csv", "--adapt"), after=4)
    assert cli.app(words_of(toys, "out.csv", "--adapt", "--resume")) == 0
    stopped(words_of(toys, "out.csv", "--adapt"), after=4)
    soundfile.write(calls / "new.wav", 0.1 * np.sin(np.arange(9_000)), 16_000)
    with pytest.raises(ConfigError, match="then --adapt with the profile"):
        cli.app(words_of(toys, "out.csv", "--adapt", "--resume"))


def test_a_message_names_what_is_kept_and_how_to_continue(calls, toys, stopped, capsys):
    stopped(words_of(toys, "out.csv"), after=4)
    assert "4 results are kept in out.csv.part. Continue with --resume." in capsys.readouterr().err
    assert cli.app(words_of(toys, "out.csv", "--resume")) == 0
    assert "4 of 9 inputs were recognised before and are skipped." in capsys.readouterr().err


def test_a_rerun_without_resume_loses_nothing(calls, toys, stopped):
    stopped(words_of(toys, "out.csv"), after=4)
    before = (calls.parent / "out.csv.part").read_bytes()
    with pytest.raises(ConfigError, match=r"holds 4 results .* Continue it with --resume"):
        cli.app(words_of(toys, "out.csv"))
    assert (calls.parent / "out.csv.part").read_bytes() == before


def test_a_run_that_was_stopped_before_its_first_result_leaves_nothing(calls, toys, stopped):
    stopped(words_of(toys, "out.csv"), after=0)
    assert [path.name for path in calls.parent.iterdir()] == ["calls"]


def test_an_older_output_stays_until_the_new_one_is_complete(calls, toys, stopped):
    (calls.parent / "out.csv").write_text("older")
    (calls.parent / "out.csv").chmod(0o640)
    stopped(words_of(toys, "out.csv"), after=4)
    assert (calls.parent / "out.csv").read_text() == "older"
    assert (calls.parent / "out.csv.part").stat().st_mode & 0o777 == 0o640
    assert cli.app(words_of(toys, "out.csv", "--resume")) == 0
    assert len((calls.parent / "out.csv").read_text().splitlines()) == COUNT + 1


@pytest.mark.parametrize("tail", [b'{"input": "calls/8.wa', b"\x00\x00\x00", b""])
def test_a_torn_last_line_is_dropped(calls, toys, stopped, recognised, tail):
    assert cli.app(words_of(toys, "whole.csv")) == 0
    stopped(words_of(toys, "out.csv"), after=4)
    with (calls.parent / "out.csv.part").open("ab") as journal:
        journal.write(tail)
    recognised.clear()
    assert cli.app(words_of(toys, "out.csv", "--resume")) == 0
    assert len(recognised) == COUNT - 4
    assert (calls.parent / "out.csv").read_bytes() == (calls.parent / "whole.csv").read_bytes()


def test_a_damaged_line_costs_its_own_result_only(calls, toys, stopped, recognised):
    stopped(words_of(toys, "out.csv"), after=4)
    lines = (calls.parent / "out.csv.part").read_bytes().splitlines(keepends=True)
    lines[2] = b"\x00" * (len(lines[2]) - 1) + b"\n"
    (calls.parent / "out.csv.part").write_bytes(b"".join(lines))
    recognised.clear()
    assert cli.app(words_of(toys, "out.csv", "--resume")) == 0
    assert sorted(recognised) == [f"calls/{index}.wav" for index in (1, *range(4, COUNT))]


@pytest.mark.parametrize("segments", [(), ("--segments",), ("--segments", "--format", "srt")])
def test_failed_inputs_are_tried_again(calls, toys, recognised, segments, capsys):
    output = "folder/" if "srt" in segments else "out.csv"
    journal = calls.parent / ("folder/genser.part" if "srt" in segments else "out.csv.part")
    good = (calls / "3.wav").read_bytes()
    (calls / "3.wav").write_bytes(b"no sound")
    assert cli.app(words_of(toys, output, *segments)) == 1
    assert journal.exists()
    kept = f"{journal.relative_to(calls.parent)} is kept. To try them again, add --resume to the same command."
    assert kept in capsys.readouterr().err
    (calls / "3.wav").write_bytes(good)
    recognised.clear()
    assert cli.app(words_of(toys, output, "--resume", *segments)) == 0
    assert "is kept" not in capsys.readouterr().err
    assert recognised == ["calls/3.wav"]
    assert not journal.exists()
    if output == "out.csv":
        assert "no sound" not in (calls.parent / output).read_text()
    else:
        assert len(list((calls.parent / "folder").iterdir())) == COUNT


def test_a_rerun_after_failures_starts_anew(calls, toys, recognised):
    (calls / "3.wav").write_bytes(b"no sound")
    for _ in range(2):
        recognised.clear()
        assert cli.app(words_of(toys, "out.csv")) == 1
        assert len(recognised) == COUNT


def test_changed_files_new_files_and_removed_files(calls, toys, stopped, recognised):
    stopped(words_of(toys, "out.csv"), after=4)
    shutil.copy(calls / "7.wav", calls / "1.wav")
    shutil.copy(calls / "7.wav", calls / "new.wav")
    (calls / "2.wav").unlink()
    recognised.clear()
    assert cli.app(words_of(toys, "out.csv", "--resume")) == 0
    assert sorted(recognised) == [f"calls/{name}.wav" for name in (1, 4, 5, 6, 7, 8, "new")]
    assert cli.app(words_of(toys, "whole.csv")) == 0
    assert (calls.parent / "out.csv").read_bytes() == (calls.parent / "whole.csv").read_bytes()


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (("--model", "float32"), "--model"),
        (("--segments",), "then without --segments, now with --segments"),
        (("--segments", "--smoothing", "none"), "--smoothing"),
        (("--segments", "--turns", "calls.rttm"), "--turns"),
        (("--segments", "--picture", "pictures/"), "then without --picture, now --picture pictures/"),
    ],
)
def test_another_model_or_other_options_are_refused(calls, toys, stopped, more, named):
    (calls.parent / "calls.rttm").write_text("SPEAKER 1 1 0.1 0.2 <NA> <NA> anna <NA> <NA>\n")
    base = ("--segments",) if len(more) > 1 and more[0] == "--segments" else ()
    stopped(words_of(toys, "out.csv", *base), after=4)
    words = words_of(toys, "out.csv", "--resume", *more)
    if more[0] == "--model":
        words = ["predict", "calls", "--model", str(toys.float32), "-o", "out.csv", "--resume"]
    with pytest.raises(ConfigError, match=named):
        cli.app(words)
    assert (calls.parent / "out.csv.part").exists()


def test_a_folder_of_timelines_and_pictures_is_continued(calls, toys, stopped, recognised):
    pytest.importorskip("matplotlib")
    more = ("--segments", "--picture", "pictures/")
    stopped(words_of(toys, "files/", "--format", "rttm", *more), after=4)
    assert len(list((calls.parent / "files").glob("*.rttm"))) == 4
    (calls.parent / "files/2.rttm").unlink()
    recognised.clear()
    assert cli.app(words_of(toys, "files/", "--format", "rttm", "--resume", *more)) == 0
    assert sorted(recognised) == [f"calls/{index}.wav" for index in (2, *range(4, COUNT))]
    for folder, ending in (("files", "rttm"), ("pictures", "png")):
        names = sorted(path.name for path in (calls.parent / folder).iterdir())
        assert names == [f"{index}.{ending}" for index in range(COUNT)]


def test_a_folder_run_that_was_stopped_within_its_first_result_can_be_resumed(calls, toys):
    (calls.parent / "files").mkdir()
    (calls.parent / "files/0.srt").write_text("written, but not yet in the journal")
    assert cli.app(words_of(toys, "files/", "--segments", "--format", "srt", "--resume")) == 0
    assert len(list((calls.parent / "files").iterdir())) == COUNT
    assert "written" not in (calls.parent / "files/0.srt").read_text()


def test_two_runs_on_one_output_are_refused(calls, toys):
    with open_locked(calls.parent / "out.csv.part"), pytest.raises(ConfigError, match="Another run is writing"):
        cli.app(words_of(toys, "out.csv"))


@pytest.mark.parametrize(("output", "more"), [("out.csv", ()), ("files/", ("--segments",))])
def test_a_complete_output_is_made_anew_with_what_the_folder_holds_now(calls, toys, recognised, capsys, output, more):
    """So one command serves a folder that grows, whether its last run was stopped or not."""
    for count in (COUNT, COUNT, COUNT + 1):
        if count > COUNT:
            shutil.copy(calls / "1.wav", calls / "new.wav")
        recognised.clear()
        assert cli.app(words_of(toys, output, "--resume", *more)) == 0
        assert "No run was stopped, so all inputs are recognised." in capsys.readouterr().err
        assert len(recognised) == count
    assert not list(calls.parent.rglob("*.part"))
    written = calls.parent / output
    names = [path.name for path in written.iterdir()] if more else written.read_text()
    assert "new.csv" in names if more else "calls/new.wav" in names


@pytest.mark.parametrize("content", [b"a download\n", b"a download", b'{"a": 1}\n', b"[1]\n"])
def test_a_foreign_file_of_that_name_is_kept(calls, toys, content):
    (calls.parent / "out.csv.part").write_bytes(content)
    for more in ((), ("--resume",)):
        with pytest.raises(ConfigError, match="is no journal of this version"):
            cli.app(words_of(toys, "out.csv", *more))
    assert (calls.parent / "out.csv.part").read_bytes() == content


def test_resume_needs_an_output(calls, toys):
    with pytest.raises(ConfigError, match="--resume continues the output of -o"):
        cli.app(["predict", "calls", "--model", str(toys.int8), "--resume"])


def test_a_name_that_is_not_utf8_and_a_repeated_input(calls, toys, stopped):
    name = b"caf\xe9.wav".decode("utf-8", "surrogateescape")
    try:
        shutil.copy(calls / "1.wav", calls / name)
    except OSError:
        pytest.skip("this file system has no such names")
    words = words_of(toys, "out.csv", "./calls/1.wav")  # which is an input once
    stopped(words, after=COUNT)
    assert cli.app([*words, "--resume"]) == 0
    assert cli.app(words_of(toys, "whole.csv", "./calls/1.wav")) == 0
    assert (calls.parent / "out.csv").read_bytes() == (calls.parent / "whole.csv").read_bytes()
    rows = (calls.parent / "out.csv").read_bytes().splitlines()[1:]
    assert [row.split(b",")[0] for row in rows[:2]] == [b"calls/0.wav", b"calls/1.wav"]
    assert len(rows) == COUNT + 1


def test_one_input_needs_no_journal(calls, toys):
    words = ["predict", "calls/1.wav", "--model", str(toys.int8), "-o", "out.csv"]
    (calls / "1.wav").write_bytes(b"no sound")
    assert cli.app(words) == 1
    assert sorted(path.name for path in calls.parent.iterdir()) == ["calls", "out.csv"]


def test_a_journal_is_readable_as_json_lines(calls, toys, stopped):
    stopped(words_of(toys, "out.csv"), after=4)
    head, *rows = map(json.loads, (calls.parent / "out.csv.part").read_text().splitlines())
    assert head["run"]["--segments"] is False
    assert [row["input"] for row in rows] == [f"calls/{index}.wav" for index in range(4)]
    assert all(abs(sum(row["results"][0]["scores"].values()) - 1) < 1e-5 for row in rows)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM.")
def test_sigterm_keeps_the_results_and_ends_with_143(calls, toys):
    code = (
        "import os, signal, sys; from genser import cli; from genser.inference.recognizer import Recognizer\n"
        "original = Recognizer.predict_many\n"
        "def slow(self, sources, **options):\n"
        "    for done, one in enumerate(original(self, sources, **options)):\n"
        "        if done == 4: os.kill(os.getpid(), signal.SIGTERM)\n"
        "        yield one\n"
        "Recognizer.predict_many = slow\n"
        f"sys.argv[1:] = {words_of(toys, 'out.csv')!r}\n"
        "cli.main()"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert answer.returncode == 143
    assert answer.stderr.strip().endswith("4 results are kept in out.csv.part. Continue with --resume.")
    assert cli.app(words_of(toys, "out.csv", "--resume")) == 0


def test_two_runs_with_one_input_on_one_output_are_refused(calls, toys):
    out = calls.parent / "out.csv"
    with locked(out), pytest.raises(ConfigError, match="Another run is writing"):
        cli.app(["predict", "calls/1.wav", "-o", "out.csv", "--model", str(toys.int8)])
    assert not journal_path(out).exists()
