"""Timelines from the command line: files, folders, pictures, failures, the microphone."""

import csv
import io
import json
import sys
import types

import numpy as np
import pytest
import soundfile
from voices import LABELS, PITCHES, RATE, PitchRecognizer, babble, hush

from genser.cli._outputs import file_names
from genser.cli._segments import predict_microphone, predict_segments
from genser.errors import AudioError, ConfigError, ManifestError, MissingExtraError
from genser.output.formats import FORMATS, names_of
from genser.segments.options import DEFAULTS, LIVE

TALK = np.concatenate([part for pitch in PITCHES for part in (hush(0.7), babble(1.5, pitch))] + [hush(0.7)])


@pytest.fixture
def talk(tmp_path):
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.wav", TALK, RATE)
    return str(tmp_path / "a.wav")


def run(*recordings, **settings):
    settings = {name: str(value) for name, value in settings.items()}
    return predict_segments(PitchRecognizer, recordings, DEFAULTS, **settings)


def test_standard_output_is_a_table(talk, capsys):
    assert run(talk) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["path"], row["label"]) for row in rows] == [(talk, label) for label in LABELS]


def test_a_failure_is_a_row_and_a_status(talk, tmp_path, capsys):
    (tmp_path / "bad.wav").write_bytes(b"")
    assert run(talk, str(tmp_path / "bad.wav"), talk, format="jsonl") == 1
    told = capsys.readouterr()
    rows = [json.loads(line) for line in told.out.splitlines()]
    assert [row["label"] for row in rows] == [*LABELS, None, *LABELS]
    assert "bad.wav is empty" in rows[3]["error"]
    assert "bad.wav is empty" in told.err


def test_a_recording_without_speech_is_a_row_and_a_remark(talk, tmp_path, capsys):
    soundfile.write(tmp_path / "quiet.wav", np.concatenate([hush(2.0), hush(1.0)]), RATE)
    assert run(str(tmp_path / "quiet.wav"), talk, output=tmp_path / "out.csv") == 0
    with (tmp_path / "out.csv").open(newline="") as file:
        first, *others = csv.DictReader(file)
    assert [first[name] for name in ("start", "end", "label", "remark")] == [
        "0.0",
        "3.0",
        "no speech",
        "No speech was found.",
    ]
    assert [row["label"] for row in others] == list(LABELS)
    assert capsys.readouterr().err == f"genser: {tmp_path / 'quiet.wav'}: No speech was found.\n"
    odd = (tmp_path / "quiet.wav").rename(tmp_path / "new\nline \x1b[2J.wav")
    run(str(odd), talk, output=tmp_path / "out.csv")
    assert capsys.readouterr().err == f"genser: {tmp_path}/new\\nline \\x1b[2J.wav: No speech was found.\n"
    odd.rename(tmp_path / "quiet.wav")
    assert run(str(tmp_path / "quiet.wav"), output=tmp_path / "out.rttm") == 0
    assert (tmp_path / "out.rttm").read_bytes() == b""
    with pytest.raises(ManifestError, match="holds no turns"):
        run(talk, turns=tmp_path / "out.rttm")


@pytest.mark.parametrize("format", [name for name in names_of("timelines") if name not in ("png", "svg", "pdf")])
def test_a_file_and_a_folder_hold_the_same_in_every_format(talk, tmp_path, format):
    pytest.importorskip((FORMATS[format].requires or ("genser",))[0])
    ending = FORMATS[format].endings[0]
    assert run(talk, output=tmp_path / f"new/out{ending}", format=format) == 0
    assert run(talk, str(tmp_path / "b.wav"), output=tmp_path / "many", format=format) == 0
    assert (tmp_path / f"new/out{ending}").read_bytes() == (tmp_path / f"many/a{ending}").read_bytes()
    assert len(list((tmp_path / "new").iterdir())) == 1
    assert len(list((tmp_path / "many").iterdir())) == 2


def test_recordings_with_one_name_get_a_file_each(talk, tmp_path):
    for name in ("x/mic.wav", "x/mic.flac", "y/mic.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, TALK, RATE)
    names = [str(tmp_path / name) for name in ("x/mic.wav", "x/mic.flac")]
    assert run(*names, output=tmp_path / "one", format="srt") == 0
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["mic.flac.srt", "mic.wav.srt"]
    names.append(str(tmp_path / "y/mic.wav"))
    assert run(*names, output=tmp_path / "two", format="srt") == 0
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == [
        "x_mic.flac.srt",
        "x_mic.wav.srt",
        "y_mic.wav.srt",
    ]


def test_a_name_with_a_dot_is_a_folder_if_it_exists_or_ends_with_a_separator(talk, tmp_path):
    (tmp_path / "v1.0").mkdir()
    assert run(talk, output=tmp_path / "v1.0", format="srt") == 0
    assert run(talk, output=f"{tmp_path}/v2.0/", format="srt") == 0
    assert [path.name for path in tmp_path.glob("v*/*")] == ["a.srt", "a.srt"]


def test_an_output_never_replaces_an_input(talk, tmp_path):
    before = (tmp_path / "a.wav").read_bytes()
    with pytest.raises(ConfigError, match="would be overwritten"):
        run(talk, output=talk, format="csv")
    (tmp_path / "a.csv").write_text("start,end\n0,1\n")
    assert (tmp_path / "a.wav").read_bytes() == before


def test_a_file_in_the_place_of_a_folder_is_reported(talk, tmp_path):
    (tmp_path / "taken").write_text("x")
    with pytest.raises(ConfigError, match=r"cannot be written: .*taken is not a folder"):
        run(talk, output=tmp_path / "taken/out.csv")


def test_pictures_alone_or_beside(talk, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert run(talk, output=tmp_path / "a.svg") == 0
    assert capsys.readouterr().out == ""
    assert "middle" in (tmp_path / "a.svg").read_text()
    other = str(tmp_path / "b.wav")
    assert run(talk, other, output=tmp_path / "out.csv", picture=tmp_path / "pictures") == 0
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["a.png", "b.png"]


def test_turns_are_never_used_for_another_recording(talk, tmp_path, capsys):
    other = str(tmp_path / "b.wav")
    (tmp_path / "a.rttm").write_text("SPEAKER a 1 0.7 1.5 <NA> <NA> anna <NA> <NA>\n")
    assert run(talk, other, turns=tmp_path / "a.rttm", format="jsonl") == 1
    good, bad = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (good["label"], bad["label"]) == ("low", None)
    assert "no turns of" in bad["error"]


def test_the_table_of_a_run_gives_the_turns_of_the_next(talk, tmp_path, capsys):
    recordings = talk, str(tmp_path / "b.wav")
    assert run(*recordings, output=tmp_path / "own.csv") == 0
    assert run(*recordings, turns=tmp_path / "own.csv", format="csv") == 0
    times = [
        [(row["path"], row["start"], row["end"]) for row in csv.DictReader(io.StringIO(text))]
        for text in ((tmp_path / "own.csv").read_text(), capsys.readouterr().out)
    ]
    assert times[0] == times[1]


def test_turns_of_each_recording(talk, tmp_path, capsys):
    (tmp_path / "turns.rttm").write_text(
        "SPEAKER a 1 0.7 1.5 <NA> <NA> anna <NA> <NA>\nSPEAKER b 1 2.9 1.5 <NA> <NA> ben <NA> <NA>\n"
    )
    assert run(talk, str(tmp_path / "b.wav"), turns=tmp_path / "turns.rttm", format="jsonl") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["speaker"], row["label"]) for row in rows] == [("anna", "low"), ("ben", "middle")]


def test_outputs_that_do_not_fit_are_refused_before_the_model_is_loaded(talk, tmp_path):
    def load():
        pytest.fail("the model was loaded")

    for settings in (
        {"output": tmp_path / "a.srt"},
        {"format": "textgrid"},
        {"picture": tmp_path / "a.png"},
        {"format": "doc"},
        {"format": "parquet"},
        {"output": tmp_path / "a.doc"},
        {"picture": tmp_path / "a.csv"},
    ):
        with pytest.raises(ConfigError):
            predict_segments(load, [talk, talk], DEFAULTS, **{name: str(value) for name, value in settings.items()})


class Device(types.ModuleType):
    """Stands for sounddevice: an input that plays a sound, then Ctrl-C."""

    class PortAudioError(Exception):
        pass

    def __init__(self, sound):
        super().__init__("sounddevice")
        self.sound = sound

    def query_devices(self, device, kind):
        if device is not None:
            raise ValueError(f"no {kind} device {device}")
        return {"default_samplerate": float(RATE)}

    def InputStream(self, *, blocksize, callback, **_):
        for at in range(0, len(self.sound), blocksize):
            callback(self.sound[at : at + blocksize, None], blocksize, None, None)
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


def test_the_microphone_gives_lines_until_it_is_stopped(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sounddevice", Device(TALK))
    import genser.cli._microphone as microphone

    taken = iter(range(len(TALK) // 800))
    original = microphone.queue.Queue.get

    def get(self):
        if next(taken, None) is None:
            raise KeyboardInterrupt
        return original(self)

    monkeypatch.setattr(microphone.queue.Queue, "get", get)
    assert predict_microphone(PitchRecognizer, LIVE) == 0
    told = capsys.readouterr()
    assert [json.loads(line)["label"] for line in told.out.splitlines()] == list(LABELS)
    assert "Listening" in told.err


def test_a_microphone_that_cannot_be_used(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", Device(TALK))
    with pytest.raises(AudioError, match="cannot be opened: no input device"):
        predict_microphone(PitchRecognizer, LIVE, device="7")
    monkeypatch.setitem(sys.modules, "sounddevice", Device(np.zeros(RATE * 40, np.float32)))
    with pytest.raises(AudioError, match="too slow for live audio"):
        predict_microphone(PitchRecognizer, LIVE)
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(MissingExtraError, match=r"\[live\]"):
        predict_microphone(PitchRecognizer, LIVE)


def test_names_in_a_folder_that_would_collide_get_numbers():
    names = ["/x/A.wav", "/x/a.wav", "/x/a.wav (2)", "/x/b/c.wav", "/x/b_c.wav"]
    found = file_names(names, ".srt")
    assert found == ["A.wav.srt", "a.wav (3).srt", "a.wav (2).srt", "b_c.wav.srt", "b_c.wav (2).srt"]
    assert file_names(["/x/a.wav", "/x/b.wav"], ".srt") == ["a.srt", "b.srt"]
