"""The hint on recordings whose different channels were mixed, from the words of the command line."""

import csv
import io
import os

import numpy as np
import pytest
import soundfile
from voices import PITCHES, RATE, PitchBackend, babble, hush

from genser.audio.likeness import mixed_remark
from genser.cli import app
from genser.cli._channels import MixedChannels
from genser.inference import load as loading
from genser.inference.recognizer import Recognizer

LOW, HIGH = babble(2.0, PITCHES[0]), babble(2.0, PITCHES[2])
CALL = np.stack([np.concatenate([LOW, hush(2.0)]), np.concatenate([hush(2.0, 1), HIGH])], axis=1)
CURE = "--channel each analyses each by itself."
ONE = f"genser: call.wav has 2 different channels, mixed to one. {CURE}"
TWO = f"genser: 2 recordings have different channels, mixed to one, such as call.wav. {CURE}"


@pytest.fixture
def genser(tmp_path, monkeypatch, capsys):
    """Run words in a folder with recordings; return what is written, and the lines on standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loading, "load", lambda *_, **__: Recognizer(PitchBackend()))
    soundfile.write("call.wav", CALL, RATE)
    soundfile.write("second.wav", CALL[:, ::-1], RATE)
    soundfile.write("mono.wav", CALL[:, 0], RATE)
    soundfile.write("twice.wav", CALL[:, [0, 0]], RATE)

    def run(*words):
        assert app(words, exit_on_error=False) == 0
        written = capsys.readouterr()
        return written.out, written.err.splitlines()

    return run


@pytest.mark.parametrize("use", [(), ("--segments",), ("--summary",)])
@pytest.mark.parametrize("format", ["csv", "text"])
def test_the_hint_comes_once_and_only_where_channels_differ(genser, use, format):
    options = (*use, "--format", format)
    assert genser("predict", *options, "call.wav", "mono.wav", "twice.wav")[1] == [ONE]
    assert genser("predict", *options, "call.wav", "mono.wav", "second.wav")[1] == [TWO]
    assert genser("predict", *options, "mono.wav", "twice.wav")[1] == []


@pytest.mark.parametrize("use", [(), ("--segments",)])
@pytest.mark.parametrize("channel", ["mix", "1", "each"])
def test_whoever_chooses_the_channel_gets_no_hint(genser, use, channel):
    out, err = genser("predict", *use, "call.wav", "--channel", channel, "--format", "csv")
    assert err == []
    remarks = {row["remark"] for row in csv.DictReader(io.StringIO(out))}
    assert remarks == {"2 different channels were mixed to one." if channel == "mix" else ""}


def test_other_remarks_are_kept(genser, tmp_path):
    sound = (tmp_path / "call.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(sound[: len(sound) - 8000])
    hint = ONE.replace("call", "cut")
    err = genser("predict", "cut.wav", "--format", "csv")[1]
    assert err == ["genser: 1 result has a remark; see the column 'remark'.", hint]
    err = genser("predict", "--segments", "cut.wav", "--format", "csv")[1]
    assert err[0] == hint
    assert err[1].startswith("genser: cut.wav: The file is cut off")
    assert "channels" not in err[1]


def test_a_profile_of_mixed_calls_has_the_hint(tmp_path, toys, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    soundfile.write("call.wav", 0.1 * rng.standard_normal((RATE, 2)), RATE)
    soundfile.write("mono.wav", 0.1 * rng.standard_normal(RATE), RATE)
    command = ("adapt", "call.wav", "mono.wav", "-o", "p.json", "--model", str(toys.float32))
    for options, hints in (((), [ONE]), (("--channel", "mix"), []), (("--channel", "each"), [])):
        assert app([*command, *options], exit_on_error=False) == 0
        assert [line for line in capsys.readouterr().err.splitlines() if "--channel" in line] == hints


@pytest.mark.skipif(os.name == "nt", reason="bulk runs need Linux or macOS")
def test_a_bulk_run_gives_the_hint(tmp_path, toys, monkeypatch, capsys):
    pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        soundfile.write(f"{name}.wav", 0.1 * rng.standard_normal((RATE, 2)), RATE)
    command = ("predict", ".", "--engine", "local", "--model", str(toys.float32), "-o")
    hint = f"genser: 2 recordings have different channels, mixed to one. {CURE}"
    for options, hints in ((("new",), [hint]), (("new",), [hint]), (("mix", "--channel", "mix"), [])):
        assert app([*command, *options], exit_on_error=False) == 0
        assert [line for line in capsys.readouterr().err.splitlines() if "--channel" in line] == hints


def test_the_number_of_channels_is_not_read_from_the_words():
    mixed = MixedChannels()
    assert mixed.others("a.wav", f"Cut off. {mixed_remark(2)}", 2) == "Cut off."
    assert mixed.others("b.wav", f"A tag says: {mixed_remark(3)}", 0) == f"A tag says: {mixed_remark(3)}"
    assert mixed.hint() == [f"a.wav has 2 different channels, mixed to one. {CURE}"]


def test_a_resumed_run_gives_the_hint(genser):
    options = ("predict", "call.wav", "second.wav", "-o", "out.csv")
    assert genser(*options)[1][-1:] == [TWO]
