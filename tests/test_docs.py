"""The examples of the documentation: guides, python.md and ecosystem.md run as they stand, others are parsed.

The bundled model and the packaged recipes are the real ones. Only the corpus is small, the recipe's encoder has random
weights, and training stops after a few steps.
"""

import io
import json
import re
import shlex
import sys
from copy import deepcopy
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hub_server import hub_server, use_hub
from toys import toy_weights
from voices import RATE, hush

import genser
from genser import cli
from genser.cli._over_time import OverTime
from genser.export import onnx
from genser.training import speech_gate

ROOT = Path(__file__).resolve().parent.parent
GUIDES = ("folder", "segments", "adapt", "train", "compare")
"""Pages whose commands run, one after the other in one folder."""

PAGES = ("README.md", *(f"docs/{name}.md" for name in (*GUIDES, "index", "live", "http", "peers", "reproduce")))
TOY = {"steps": 20, "batch_size": 16, "evaluate_every": 10, "checkpoint_every": 10, "network.ensemble": 2}
TOY |= {"feature_transform.components": 16}  # the recipe takes 256, which needs more rows than this corpus has
TOY |= {"encoder.pooling.states": [1]}  # so that an export traces one layer instead of five
"""Settings that shorten the training and the export of the documented commands."""

PLAN = """
recipe: small
settings: {steps: 20, batch_size: 16, evaluate_every: 10, feature_transform.components: 16, state: network}
seeds: 1
heads: {linear: {settings: {optimizer.lr: 2.0e-2}}, majority: {}}
"""


def blocks(page, language):
    text = (ROOT / page).read_text("utf-8")
    return [block for kind, block in re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL) if kind == language]


def commands(page):
    """Lines that call genser, without the word genser."""
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
    speech, rate = soundfile.read(ROOT / "examples/synthetic.flac", dtype="float32")
    assert rate == RATE
    for name in ("more", "recordings/sad", "recordings/merry", "calls/agent-7"):
        Path(name).mkdir(parents=True)
    for name in ("speech.wav", "more/a.flac", "recordings/sad/b.wav", "recordings/merry/c.wav", "calls/agent-7/d.wav"):
        soundfile.write(name, speech, RATE)
    soundfile.write("talk.wav", np.concatenate([hush(0.7), speech, hush(1.5), speech, hush(0.7)]), RATE)
    Path("talk.rttm").write_text("SPEAKER talk 1 0.7 1.5 <NA> <NA> anna <NA> <NA>\n")


def write_encoder():
    """The encoder that the recipe names, in the format of transformers, with six small random layers."""
    folder = Path("openai/whisper-base")
    folder.mkdir(parents=True)
    toy_weights(folder / "model.safetensors", layers=6)
    (folder / "config.json").write_text(json.dumps({"encoder_attention_heads": 1}))


def write_corpus():
    rows = ["path,label,speaker,split"]
    for index in range(36):
        speaker, label = index // 6, ("sad", "merry")[index % 2]
        soundfile.write(f"{index}.wav", hum(label, speaker, index), RATE)
        rows.append(f"{index}.wav,{label},s{speaker},{'test' if speaker > 3 else ''}")
    Path("manifest.csv").write_text("\n".join(rows) + "\n")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with sounds."""
    monkeypatch.chdir(tmp_path)
    write_sounds()


@pytest.fixture(scope="module")
def graphs():
    """Exported graphs by the weights of their models: both pages train and export the same one."""
    return {}


@pytest.fixture
def corpus(folder, graphs, monkeypatch):
    """The folder with a small corpus, a plan, and the encoder of the recipe."""
    write_corpus()
    write_encoder()
    Path("plan.yaml").write_text(PLAN)
    monkeypatch.setattr(speech_gate, "SOUNDS_EACH", 2)
    exported = onnx._exported

    def once(model):
        weights = b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())
        if weights not in graphs:
            graphs[weights] = exported(model)
        return deepcopy(graphs[weights])

    monkeypatch.setattr(onnx, "_exported", once)  # tracing takes most of an export, which checks the graph in any case


STOPPED_BY_HAND = ("serve", "predict --microphone")


def run_guides(monkeypatch, capsys):
    """Run the commands of the guides in order, those that read the trained model last; return what each printed."""
    printed = {}
    chosen = [line for name in GUIDES for line in commands(f"docs/{name}.md") if not line.startswith(STOPPED_BY_HAND)]
    for command in sorted(chosen, key=lambda line: line.startswith("info") or "--model model" in line):
        words, read = split(command)
        if words[0] == "train":
            words += [word for name, value in TOY.items() for word in (f"--{name}", str(value))]
        if read:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path(read).read_bytes())))
        assert cli.app(words, exit_on_error=False) == 0, command
        printed[command] = capsys.readouterr().out
    return printed


def test_the_commands_of_the_guides_run(corpus, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    printed = run_guides(monkeypatch, capsys)
    assert {command.split()[0] for command in printed} == set(cli.VERBS) - {"serve"}
    for name in (
        *("out.csv", "talk.csv", "talk.png", "talk.TextGrid", "timelines", "summary.csv", "model.onnx"),
        *("recordings.csv", "report/report.html", "bench/report.html", "model/head.safetensors"),
        "model/run/metrics.jsonl",
    ):
        assert Path(name).exists(), name
    header = Path("out.csv").read_text().splitlines()[0].split(",")
    assert (header[:2], header[-1]) == (["path", "label"], "error")
    assert set(genser.load().labels) < set(header)
    (row,) = json.loads(printed["predict - --format json < speech.wav"])
    assert row["label"] == max(row["scores"], key=row["scores"].get)
    assert "merry" in printed["info model --card"]


def test_the_python_of_the_page_runs_as_one_program(corpus, capsys):
    pytest.importorskip("matplotlib")
    names = {"__name__": "page"}
    toy = "".join(f', "{name}": {value}' for name, value in TOY.items())
    for block in blocks("docs/python.md", "python"):
        code = re.sub(r'(load_recipe\("small", \{[^}]*)\}', rf"\1{toy}}}", block)
        exec(compile(code, "docs/python.md", "exec"), names)
    assert names["config"].steps == TOY["steps"]
    assert names["same"][0].scores == pytest.approx(names["same"][1].scores, abs=1e-3)
    assert names["scores"].shape == (2, len(names["recognizer"].labels))
    assert names["segments"]
    assert names["found"]
    assert [turn.speaker for turn in names["turns"]] == ["anna"]
    assert set(names["prediction"].scores) == {"merry", "sad"}
    assert Path("talk.png").stat().st_size
    assert Path("talk.srt").read_text().count("-->") == len(names["timeline"].segments)
    assert "missing.wav" in capsys.readouterr().out


def test_the_python_of_the_other_libraries_runs_as_one_program(corpus, tmp_path, monkeypatch, capsys):
    names = {"__name__": "page"}
    with hub_server() as (_, url):
        use_hub(monkeypatch, url, tmp_path / "cache")
        for block in blocks("docs/ecosystem.md", "python"):
            exec(compile(block, "docs/ecosystem.md", "exec"), names)
    assert names["same"].pinned == names["exact"].pinned == names["pinned"]
    assert names["again"].labels == names["recognizer"].labels


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


def test_the_guides_explain_every_option_over_time():
    text = "".join((ROOT / f"docs/{name}.md").read_text("utf-8") for name in (*GUIDES, "live"))
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


def test_the_help_describes_every_verb(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["genser", "--help"])
    with pytest.raises(SystemExit):
        cli.main()
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if len(line.split()) > 2]
    shown = {words[1]: words[2:-1] for words in lines if words[1] in cli.VERBS}
    assert list(shown) == list(cli.VERBS)
    assert all(len(words) > 3 for words in shown.values())


def help_examples():
    """Verb → the example in its help, without the word genser."""
    shown = {
        verb: re.findall(r"^    Example: genser (.+)$", cli.app[verb].default_command.__doc__, re.M)
        for verb in cli.VERBS
    }
    return {verb: example for verb, (example,) in shown.items()}


def test_the_help_of_every_verb_has_an_example_that_runs(folder, capsys):
    """Those that train or serve are only parsed; the guides run their like."""
    write_corpus()
    Path("manifest.csv").rename("table.csv")
    examples = help_examples()
    for verb, example in examples.items():
        called, bound, _ = cli.app.parse_args(shlex.split(example), exit_on_error=False, print_error=False)
        assert called.__name__ == verb
        assert not [word for word in bound.arguments.get("overrides", ()) if not word.startswith("--")], example
    for verb in ("split", "prepare", "info", "adapt", "predict"):  # prepare replaces the table
        words = [*shlex.split(examples[verb]), *(["--replace-split"] if verb == "split" else [])]
        assert cli.app(words, exit_on_error=False) == 0, words
    assert all(Path(name).exists() for name in ("table.csv", "mine.csv", "calls.json", "calls.csv"))


def test_the_readme_shows_what_comes_out(monkeypatch, capsys):
    """Up to two decimals of a score: processors differ in the last digits."""
    monkeypatch.chdir(ROOT)
    shown = dict(re.findall(r"^\$ genser (.*)\n((?:.+\n)+?)```", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE))
    assert len(shown) == 2
    for command, text in shown.items():
        words = [*shlex.split(command), "--format", "text"]  # as in a terminal
        assert cli.app(words, exit_on_error=False) == 0
        for line, expected in zip(capsys.readouterr().out.splitlines(), text.splitlines(), strict=True):
            assert numbers(line) == pytest.approx(numbers(expected), abs=0.015)
            assert re.sub(r"[\d.]+", "", line) == re.sub(r"[\d.]+", "", expected)


def numbers(line):
    return [float(number) for number in re.findall(r"\d+\.\d+|\d+", line)]


def test_the_readme_has_no_links_that_break_on_a_package_index():
    text = (ROOT / "README.md").read_text("utf-8")
    links = re.findall(r"(?<!!)\[[^\]]*\]\(([^)]*)\)", text)
    assert links
    assert [link for link in links if not link.startswith("https://")] == []
    assert max(map(len, text.splitlines())) <= 120
