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

from genser.cli._segments import predict_microphone, predict_segments
from genser.errors import AudioError, ConfigError, MissingExtraError
from genser.output.timelines import ANNOTATIONS, TABLES
from genser.segments.options import DEFAULTS, LIVE

TALK = np.concatenate([part for pitch in PITCHES for part in (hush(0.7), babble(1.5, pitch))] + [hush(0.7)])


@pytest.fixture
def talk(tmp_path):
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.wav", TALK, RATE)
    return str(tmp_path / "a.wav")


def run(*recordings, **settings):
    return predict_segments(PitchRecognizer(), recordings, DEFAULTS, **settings)


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


@pytest.mark.parametrize("format", TABLES + ANNOTATIONS)
def test_files_appear_whole_in_every_format(talk, tmp_path, format):
    ending = {"labels": "txt", "textgrid": "TextGrid"}.get(format, format)
    assert run(talk, output=tmp_path / f"new/out.{ending}") == 0
    assert run(talk, talk, output=tmp_path / "many", format=format) == 0
    assert (tmp_path / f"new/out.{ending}").read_bytes() == (tmp_path / f"many/a.{ending}").read_bytes()
    assert len(list((tmp_path / "new").iterdir())) == len(list((tmp_path / "many").iterdir())) == 1


def test_pictures_alone_or_beside(talk, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert run(talk, output=tmp_path / "a.svg") == 0
    assert capsys.readouterr().out == ""
    assert "middle" in (tmp_path / "a.svg").read_text()
    other = str(tmp_path / "b.wav")
    assert run(talk, other, output=tmp_path / "out.csv", picture=tmp_path / "pictures") == 0
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["a.png", "b.png"]


def test_turns_of_each_recording(talk, tmp_path, capsys):
    (tmp_path / "turns.rttm").write_text(
        "SPEAKER a 1 0.7 1.5 <NA> <NA> anna <NA> <NA>\nSPEAKER b 1 2.9 1.5 <NA> <NA> ben <NA> <NA>\n"
    )
    assert run(talk, str(tmp_path / "b.wav"), turns=tmp_path / "turns.rttm", format="jsonl") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["speaker"], row["label"]) for row in rows] == [("anna", "low"), ("ben", "middle")]


def test_what_one_file_cannot_hold_is_refused_before_any_work(talk, tmp_path):
    for settings in (
        {"output": tmp_path / "a.srt"},
        {"format": "textgrid"},
        {"picture": tmp_path / "a.png"},
        {"format": "doc"},
        {"format": "parquet"},
        {"output": tmp_path / "a.doc"},
    ):
        with pytest.raises(ConfigError):
            run(talk, talk, **settings)
    assert not list(tmp_path.glob("*.part"))


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
    assert predict_microphone(PitchRecognizer(), LIVE) == 0
    told = capsys.readouterr()
    assert [json.loads(line)["label"] for line in told.out.splitlines()] == list(LABELS)
    assert "listening" in told.err


def test_a_microphone_that_is_not_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", Device(TALK))
    with pytest.raises(AudioError, match="no input device"):
        predict_microphone(PitchRecognizer(), LIVE, device="7")
    monkeypatch.setitem(sys.modules, "sounddevice", Device(np.zeros(RATE * 40, np.float32)))
    with pytest.raises(AudioError, match="slower than the sound"):
        predict_microphone(PitchRecognizer(), LIVE)
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(MissingExtraError, match=r"\[live\]"):
        predict_microphone(PitchRecognizer(), LIVE)
