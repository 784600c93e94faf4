"""``genser predict --segments`` and ``--microphone`` from the words of the command line to what they set going."""

import csv
import io
import re
from dataclasses import fields
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console
from voices import LABELS, PITCHES, RATE, PitchBackend, PitchRecognizer, babble, hush

from genser.cli import _segments, app
from genser.errors import ConfigError
from genser.inference import decode_ahead
from genser.inference import load as loading
from genser.inference.recognizer import Recognizer
from genser.segments.options import DEFAULTS, SegmentOptions

TALK = np.concatenate([part for pitch in PITCHES for part in (hush(0.7), babble(1.5, pitch))] + [hush(0.7)])


@pytest.fixture
def genser(tmp_path, monkeypatch):
    """Run words in a folder with a recording, talk.wav, and a model that knows its voices."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loading, "load", lambda *_, **__: PitchRecognizer())
    soundfile.write("talk.wav", TALK, RATE)
    return lambda words: app(words.split(), exit_on_error=False)


@pytest.fixture
def asked(monkeypatch):
    """What the verb asks of the functions that recognise."""
    calls = []

    def keep(_, *asked, **more):
        calls.append((*asked, more))
        return 0

    monkeypatch.setattr(_segments, "predict_segments", keep)
    monkeypatch.setattr(_segments, "predict_microphone", keep)
    return calls


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_speech_is_found_and_written_as_a_table(genser, capsys):
    assert genser("predict --segments talk.wav") == 0
    assert [row["label"] for row in rows(capsys.readouterr().out)] == list(LABELS)


def test_windows_cover_the_recording(genser, capsys):
    assert genser("predict --segments talk.wav --window 2 --hop 1 --smoothing none") == 0
    told = rows(capsys.readouterr().out)
    assert [float(row["start"]) for row in told[1:]] == [float(row["end"]) for row in told[:-1]]
    assert len(told) >= 6


def test_turns_picture_and_output(genser, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    (tmp_path / "turns.csv").write_text("start,end,speaker\n0.7,2.2,anna\n5.1,6.6,ben\n")
    assert genser("predict talk.wav --segments --turns turns.csv --picture new/talk.svg -o talk.csv") == 0
    told = rows((tmp_path / "talk.csv").read_text())
    assert [(row["speaker"], row["label"]) for row in told] == [("anna", "low"), ("ben", "high")]
    assert (tmp_path / "new/talk.svg").stat().st_size > 1000
    assert capsys.readouterr().out == ""


def test_a_folder_is_searched_and_a_failure_is_a_status(genser, tmp_path, capsys):
    (tmp_path / "bad.wav").write_bytes(b"")
    assert genser("predict --segments . -o -") == 1
    told = capsys.readouterr()
    assert [row["error"] != "" for row in rows(told.out)] == [True, False, False, False]
    assert "bad.wav is empty" in told.err


VALUES = {
    "window": 2.0,
    "hop": 1.0,
    "threshold": 0.4,
    "min_speech": 0.3,
    "min_silence": 0.5,
    "max_duration": 9.0,
    "context": 0.1,
    "smoothing": "none",
    "emotion_duration": 5.0,
    "confidence": 0.7,
    "merge": 1.5,
}


def words_of(values):
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in values.items())


def test_every_option_of_the_library_has_an_option(genser, asked):
    assert set(VALUES) == {field.name for field in fields(SegmentOptions)}
    assert all(getattr(DEFAULTS, name) != value for name, value in VALUES.items())
    genser(f"predict --segments talk.wav {words_of(VALUES)} --format srt -o out")
    (recordings, options, more), *_ = asked
    assert (recordings, options) == (["talk.wav"], SegmentOptions(**VALUES))
    assert (more["format"], str(more["output"])) == ("srt", "out")


def test_without_options_the_library_decides(genser, asked):
    genser("predict --segments talk.wav")
    genser("predict --microphone --format csv --input-device 3 --confidence 0.7")
    assert asked[0][1] == DEFAULTS
    assert asked[1] == (SegmentOptions(smoothing="causal", confidence=0.7), {"format": "csv", "device": "3"})


def test_the_help_shows_the_defaults_and_texts_of_the_library(capsys):
    app(["predict", "--help"], exit_on_error=False, console=Console(width=400))
    lines = {}
    for line in capsys.readouterr().out.splitlines():
        if match := re.match(r"\W*--([\w-]+)", line):
            lines[match[1].replace("-", "_")] = line
    for field in fields(SegmentOptions):
        default = re.search(r"\[default: (\S+)\]", lines[field.name])
        assert (default and default[1]) == (None if field.default is None else str(field.default)), field.name
        assert re.search(rf"{field.name}: (\w+ \w+)", SegmentOptions.__doc__)[1] in lines[field.name]


def test_the_documentation_shows_the_defaults_of_the_library():
    text = (Path(__file__).parents[1] / "docs/segments.md").read_text("utf-8")
    shown = dict(re.findall(r"^\| `--([\w-]+)` \| (.+?) \|", text, re.MULTILINE))
    assert {name.replace("-", "_") for name in shown} == {field.name for field in fields(SegmentOptions)}
    for field in fields(SegmentOptions):
        if field.default is not None:
            assert shown[field.name.replace("_", "-")] == str(field.default)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("talk.wav --window 4", "--window without --segments"),
        ("talk.wav --picture a.png --merge 1", "--picture, --merge without --segments"),
        ("--segments --microphone", "Give one of them"),
        ("--segments talk.wav --batch-seconds 9", "--batch-seconds"),
        ("--segments talk.wav --input-device 1", "--input-device"),
        ("--segments talk.wav --turns t.rttm --window 4", "--window and --turns"),
        ("--segments talk.wav --hop 1", "needs a window"),
        ("--segments talk.wav --smoothing much", "much"),
        ("--segments talk.wav --merge -1", "merge"),
        ("--segments talk.wav --format doc", "doc"),
        ("--segments talk.wav --picture talk.csv", "is not a picture"),
        ("--segments talk.wav --picture talk.jpg", "Use the ending .png, .svg or .pdf"),
        ("--segments", "No input"),
        ("talk.wav -o --format csv", "-o is followed by the option '--format'"),
        ("--segments talk.wav --loud", "--loud"),
        ("--microphone talk.wav", "talk.wav"),
        ("--microphone --turns t.rttm --picture a.png", "--turns, --picture"),
        ("--microphone --smoothing viterbi", "viterbi"),
        ("--microphone -o out.csv", "out.csv"),
        ("--microphone --format textgrid", "textgrid"),
    ],
)
def test_what_does_not_go_together_is_refused_before_the_model_is_loaded(genser, monkeypatch, words, named):
    def load(*_, **__):
        pytest.fail("a model was loaded")

    monkeypatch.setattr(loading, "load", load)
    with pytest.raises(ConfigError, match=re.escape(named)):
        genser(f"predict {words}")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--cut talk", DEFAULTS),
        ("--cut calls", SegmentOptions(min_speech=0.1, min_silence=0.5, merge=1.0)),
        ("--cut calls --merge 3 --min-speech 0.2", SegmentOptions(min_speech=0.2, min_silence=0.5, merge=3.0)),
        ("--cut clips", SegmentOptions(smoothing="none")),
    ],
)
def test_a_cut_stands_for_options_which_take_precedence(genser, asked, words, expected):
    assert genser(f"predict --segments talk.wav {words}") == 0
    assert expected in asked[-1]


@pytest.mark.parametrize("words", ["--cut calls", "--microphone --cut calls", "--segments --cut talk --turns t.csv"])
def test_a_cut_without_effect_is_refused(genser, words):
    with pytest.raises(ConfigError, match="--cut"):
        genser(f"predict {'' if 'microphone' in words else 'talk.wav'} {words}")


def test_a_terminal_shows_text_and_a_pipe_a_table(genser, monkeypatch, capsys):
    assert genser("predict --segments talk.wav") == 0
    assert capsys.readouterr().out.startswith("path,start,end,label")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert genser("predict --segments talk.wav") == 0
    assert "talk.wav" in capsys.readouterr().out.splitlines()[0]
    assert genser("predict --summary talk.wav") == 0
    assert "of speech" in capsys.readouterr().out.splitlines()[0]
    assert genser("predict --segments talk.wav -o out.csv") == 0


def _keep(seen, *step):
    seen.append(step)


def test_progress_within_a_recording_has_an_end(tmp_path):
    from genser.segments.timeline import recognize_timeline

    soundfile.write(tmp_path / "call.wav", np.stack([TALK, TALK], axis=1).repeat(4, axis=0), RATE)
    length = 4 * len(TALK) / RATE
    for channel, passes in (("mix", 1), ("each", 2)):
        seen = []
        keep = partial(_keep, seen)
        recognize_timeline(PitchRecognizer(), tmp_path / "call.wav", channel=channel, progress=keep)
        assert [total for _, total in seen] == pytest.approx([passes * length] * len(seen))
        assert [done for done, _ in seen] == sorted(done for done, _ in seen)
        assert seen[-1][0] == pytest.approx(passes * length)


@pytest.mark.parametrize("buffer", [600.0, 40.0])
def test_progress_of_one_label_counts_the_windows_of_a_recording(monkeypatch, buffer):
    """With 40 s of buffer most windows are decoded while the model runs."""
    monkeypatch.setattr(decode_ahead, "BUFFER_SECONDS", buffer)
    recognizer, seen = Recognizer(PitchBackend()), []
    long, short = np.tile(TALK, 1 + 150 * RATE // len(TALK)), babble(1.0)
    plain = list(recognizer.predict_many([(long, RATE), (short, RATE)]))
    assert list(recognizer.predict_many([(long, RATE), (short, RATE)], progress=partial(_keep, seen))) == plain
    for clip in plain:
        mine = [done for done, total in seen if total == pytest.approx(clip.duration)]
        assert mine == sorted(mine)
        assert mine[-1] == pytest.approx(clip.heard)
    assert len(seen) > 5


def test_a_long_recording_with_one_label_has_a_progress_bar(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loading, "load", lambda *_, **__: Recognizer(PitchBackend()))
    soundfile.write("long.wav", np.tile(TALK, 1 + 121 * RATE // len(TALK)), RATE)
    soundfile.write("short.wav", babble(1.0), RATE)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    for name, is_shown in (("long.wav", True), ("short.wav", False)):
        assert app(["predict", name], exit_on_error=False) == 0
        assert ("minutes of this recording" in capsys.readouterr().err) == is_shown
