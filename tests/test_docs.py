"""The examples of docs/cli.md and docs/python.md, run as they stand, and every command of all pages, parsed."""

import io
import re
import shlex
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import soundfile
from voices import PITCHES, RATE, PitchBackend, babble, hush

from genser import cli
from genser.cli._over_time import OverTime
from genser.inference import load as loading
from genser.inference.recognizer import Recognizer

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "docs/cli.md", "docs/segments.md", "docs/http.md")
RECIPE = """
encoder: {kind: fbank}
network: {width: 16, depth: 1, heads: 2}
optimizer: {lr: 0.005, ema: 0.9}
batch_size: 16
steps: 40
evaluate_every: 20
checkpoint_every: 20
validation: 0.3
"""
PLAN = """
recipe: recipe.yaml
settings: {steps: 20, batch_size: 16}
seeds: 1
heads: {linear: {settings: {optimizer.lr: 2.0e-2}}, majority: {}}
"""


def blocks(page, language):
    text = (ROOT / page).read_text("utf-8")
    return [block for kind, block in re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL) if kind == language]


def commands(page):
    """Lines that call genser: the words after it, and what the shell would read from and write to."""
    for line in "".join(blocks(page, "sh")).splitlines():
        words = re.split(r"\bgenser (?=\w+ |\w+$)", line.partition(" #")[0], maxsplit=1)
        if len(words) == 2 and "pip install" not in words[0].rpartition("&&")[2]:
            yield words[1].strip()


def split(command):
    inner = re.sub(r"\s[<>]\s*\S+", "", command)
    read = re.search(r"<\s*(\S+)", command)
    return shlex.split(inner), read and read[1]


def hum(label, speaker, seed):
    time = np.arange(8000) / RATE
    tone = np.sin(2 * np.pi * ({"sad": 150, "merry": 450}[label] + 8 * speaker) * time)
    return 0.3 * tone + 0.02 * np.random.default_rng(seed).standard_normal(8000)


def write_sounds():
    talk = np.concatenate([part for pitch in PITCHES for part in (hush(0.7), babble(1.5, pitch))] + [hush(0.7)])
    for name in ("more", "recordings/sad", "recordings/merry"):
        Path(name).mkdir(parents=True)
    for name in ("speech.wav", "more/a.flac", "recordings/sad/b.wav", "recordings/merry/c.wav"):
        soundfile.write(name, babble(1.5), RATE)
    soundfile.write("talk.wav", talk, RATE)
    Path("talk.rttm").write_text("SPEAKER talk 1 0.7 1.5 <NA> <NA> anna <NA> <NA>\n")


def write_corpus():
    rows = ["path,label,speaker,split"]
    for index in range(36):
        speaker, label = index // 6, ("sad", "merry")[index % 2]
        soundfile.write(f"{index}.wav", hum(label, speaker, index), RATE)
        rows.append(f"{index}.wav,{label},s{speaker},{'test' if speaker > 3 else ''}")
    Path("manifest.csv").write_text("\n".join(rows) + "\n")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with sounds and a model that knows their voices in the place of the bundled one."""
    load = loading.load

    def load_here(model=None, **options):
        return load(model, **options) if model and Path(model).exists() else Recognizer(PitchBackend())

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loading, "load", load_here)
    write_sounds()


@pytest.fixture
def corpus(folder, monkeypatch):
    """The folder with a corpus, and a small recipe."""
    from genser.training import recipe as config

    write_corpus()
    Path("plan.yaml").write_text(PLAN)
    for name in ("recipe.yaml", "small"):
        Path(name).write_text(RECIPE)
    monkeypatch.setattr(config, "recipes", list)  # so that "small" is the file


STOPPED_BY_HAND = ("serve", "predict --microphone")
AT_LENGTH = ("export",)  # a minute of tracing, which the tests of the ONNX file spend once for all


def run_page(monkeypatch, capsys):
    """Run the commands of the page, what asks for the trained model last; return what each wrote."""
    told = {}
    chosen = [line for line in commands("docs/cli.md") if not line.startswith(STOPPED_BY_HAND + AT_LENGTH)]
    for command in sorted(chosen, key=lambda line: line.startswith("info")):
        words, read = split(command)
        if read:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path(read).read_bytes())))
        assert cli.app(words, exit_on_error=False) == 0, command
        told[command] = capsys.readouterr().out
    return told


def test_the_commands_of_the_page_run(corpus, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    told = run_page(monkeypatch, capsys)
    assert {command.split()[0] for command in told} == set(cli.VERBS) - {"serve", "export"}
    tables = ("out.csv", "talk.csv", "talk.png", "talk.TextGrid", "timelines", "recordings.csv")
    for made in (
        *tables,
        "report/report.html",
        "bench/report.html",
        "model/head.safetensors",
        "model/run/metrics.jsonl",
    ):
        assert Path(made).exists(), made
    header = Path("out.csv").read_text().splitlines()[0].split(",")
    assert (header[:2], header[-1]) == (["path", "label"], "error")
    assert '"label": "middle"' in told["predict - --format json < speech.wav"]
    assert "merry" in told["info model --card"]


def test_the_python_of_the_page_runs_as_one_program(corpus, capsys):
    pytest.importorskip("matplotlib")
    names = {"__name__": "page"}
    for block in blocks("docs/python.md", "python"):
        exec(compile(block, "docs/python.md", "exec"), names)
    assert names["same"][0].scores == pytest.approx(names["same"][1].scores, abs=1e-3)
    assert names["scores"].shape == (2, len(names["recognizer"].labels))
    assert names["segments"]
    assert names["heard"]
    assert [turn.speaker for turn in names["turns"]] == ["anna"]
    assert set(names["mine"].scores) == {"merry", "sad"}
    assert Path("talk.srt").read_text().count("-->") == len(names["timeline"].segments)
    assert "missing.wav" in capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_the_pages_is_one_of_the_program(page):
    known = 0
    for command in commands(page):
        words, _ = split(command)
        assert words[0] in cli.VERBS, command
        called, bound, _ = cli.app.parse_args(words, exit_on_error=False, print_error=False)
        stray = [word for word in bound.arguments.get("paths", ()) if word.startswith("-") and word != "-"]
        assert (called.__name__, stray) == (words[0], []), command
        known += 1
    assert known


def test_the_page_explains_every_verb_and_every_option_over_time():
    text = (ROOT / "docs/cli.md").read_text("utf-8")
    assert re.findall(r"^## (\w+):", text, re.MULTILINE) == list(cli.VERBS)
    options = {f"--{field.name.replace('_', '-')}" for field in fields(OverTime)}
    assert {option for option in options if f"`{option}`" not in text} == set()


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("predict speech.wav", 0),
        ("predict speech.wav missing.wav", 1),
        ("predict", 2),
        ("predict --loud", 2),
        ("sing", 2),
    ],
)
def test_exit_codes_are_those_of_the_page(folder, monkeypatch, capsys, words, status):
    monkeypatch.setattr(sys, "argv", ["genser", *words.split()])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == status
    assert "Traceback" not in capsys.readouterr().err
    assert f"| {status} |" in (ROOT / "docs/cli.md").read_text("utf-8")


def test_the_help_tells_what_each_verb_does(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["genser", "--help"])
    with pytest.raises(SystemExit):
        cli.main()
    told = capsys.readouterr().out
    lines = [line.split() for line in told.splitlines() if len(line.split()) > 2]
    shown = {words[1]: words[2:-1] for words in lines if words[1] in cli.VERBS}
    assert list(shown) == list(cli.VERBS)
    assert all(len(words) > 3 for words in shown.values())
