"""Options of every verb: unknown ones, outputs that cannot be written, and encoders that were moved."""

import csv

import numpy as np
import pytest
import soundfile
from toys import LABELS, toy_folder

from genser import cli
from genser.cli._progress import progress_bars

WORDS = {
    "predict": ("a.wav",),
    "adapt": ("a.wav", "-o", "p.json"),
    "info": (),
    "serve": (),
    "prepare": ("emodb", "corpus"),
    "features": ("manifest.csv",),
    "store": ("features",),
    "split": ("manifest.csv", "-o", "out.csv"),
    "train": ("manifest.csv",),
    "evaluate": ("model", "manifest.csv"),
    "bench": ("loso", "manifest.csv"),
    "export": ("model",),
}
WRONG = {
    "predict": ("--modell", "--model"),
    "adapt": ("--modell", "--model"),
    "info": ("--crad", "--card"),
    "serve": ("--prot", "--port"),
    "prepare": ("--outptu", "--output"),
    "features": ("--batch-second", "--batch-seconds"),
    "store": ("--merg", "--merge"),
    "split": ("--sed", "--seed"),
    "train": ("--optimiser.lr", "--optimizer.lr"),
    "evaluate": ("--resample", "--resamples"),
    "bench": ("--sed", "--seeds"),
    "export": ("--precison", "--precision"),
}


@pytest.fixture
def genser(tmp_path, monkeypatch, capsys):
    """Runs the command line in an empty folder; returns its exit code and what it wrote to standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr("sys.argv", ["genser", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return stopped.value.code, capsys.readouterr().err

    return run


@pytest.mark.parametrize("name", ["[" * 5000, '["a"]', "{" * 5000, "[1].csv"])
@pytest.mark.parametrize("verb", ["bench", "features", "predict"])
def test_a_name_is_not_read_as_json(genser, verb, name):
    code, message = genser(verb, *(["loso"] if verb == "bench" else []), name)
    assert code in (1, 2)
    assert name[:20] in message or verb == "predict"  # whose rows say it


@pytest.mark.parametrize("verb", cli.VERBS)
@pytest.mark.parametrize("form", ["{} 3", "{}=3"])
def test_an_unknown_option_of_every_verb_names_the_nearest_known_one(genser, verb, form):
    wrong, right = WRONG[verb]
    code, message = genser(verb, *WORDS[verb], *form.format(wrong).split())
    assert code == 2
    assert message.startswith(f"genser: Unknown option '{wrong}'. Did you mean '{right}'?")


def test_an_option_like_no_other_names_the_help(genser):
    assert genser("evaluate", "model", "manifest.csv", "--zzz") == (
        2,
        "genser: Unknown option '--zzz'. See: genser evaluate --help.\n",
    )
    assert genser("info", "base", "tiny") == (
        2,
        "genser: Unexpected argument 'tiny'. See: genser info --help.\n",
    )


@pytest.mark.parametrize(
    ("verb", "option"),
    [
        *((verb, "-o") for verb in ("features", "train", "evaluate", "bench", "export")),
        *((verb, "--store") for verb in ("features", "train", "bench")),
    ],
)
def test_an_output_that_cannot_be_written_stops_a_verb_before_it_works(genser, tmp_path, verb, option):
    (tmp_path / "file").write_text("kept")
    code, message = genser(verb, *WORDS[verb], option, "file/output")  # neither manifest nor model exist
    assert (code, message) == (
        2,
        f"genser: file/output cannot be written: {tmp_path / 'file'} is not a folder. Choose another output.\n",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("verb", ["predict", "export"])
def test_a_file_cannot_replace_a_folder(genser, tmp_path, verb):
    code, message = genser(verb, *WORDS[verb], "-o", tmp_path)
    assert (code, message) == (2, f"genser: {tmp_path} is a folder. Name a file with -o.\n")


@pytest.mark.parametrize("name", ["moved.safetensors", "whisper:moved.safetensors"])
def test_an_encoder_that_was_moved_can_be_named(genser, tmp_path, name):
    toy_folder(tmp_path / "model", gated=True)
    (tmp_path / "model-encoder.safetensors").rename(tmp_path / "moved.safetensors")
    soundfile.write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(16_000), 16_000)
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "label"], ["a.wav", LABELS[0]]])
    for words in (("predict", "a.wav", "--model", "model"), ("evaluate", "model", "manifest.csv", "--resamples", 10)):
        code, message = genser(*words)
        assert code == 2
        assert "--encoder" in message
        code, message = genser(*words, "--encoder", name)
        assert code == 0
        assert "--encoder" not in message


def test_an_onnx_file_takes_no_encoder(genser, tmp_path):
    (tmp_path / "manifest.csv").write_text("path,label\na.wav,anger\n")
    for words in (("predict", "a.wav"), ("evaluate", "tiny", "manifest.csv")):
        code, message = genser(*words, "--encoder", "fbank")
        assert code == 2
        assert "contains its encoder" in message


def test_progress_without_a_terminal_is_a_line_at_both_ends_of_a_stage(monkeypatch, capsys):
    times = iter([0.0, 1.0, 31.0, 32.0, 33.0, 34.0])
    monkeypatch.setattr("genser.cli._progress.time.monotonic", lambda: next(times))
    with progress_bars(has_lines=True) as bars:
        for done in (0, 1, 2, 3, 3):
            bars("steps", done, 3, loss=0.5)
        bars("calibration", 1, 1)
    lines = ["steps: 0 of 3 (loss 0.5)", "steps: 2 of 3 (loss 0.5)", "steps: 3 of 3 (loss 0.5)", "calibration: 1 of 1"]
    assert capsys.readouterr().err.splitlines() == [f"genser: {line}" for line in lines]
    with progress_bars() as bars:
        bars("predict", 1, 2)
    assert capsys.readouterr().err == ""


def test_quiet_leaves_only_the_error_that_ends_the_command(genser, tmp_path):
    soundfile.write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).normal(size=8000), 16_000)
    (tmp_path / "b.wav").write_bytes(b"")
    loud = genser("predict", "a.wav", "b.wav", "-o", "a.csv", "--model", "tiny")
    assert (loud[0], "1 of 2 inputs failed" in loud[1]) == (1, True)
    assert genser("--quiet", "predict", "a.wav", "b.wav", "-o", "b.csv", "--model", "tiny") == (1, "")
    assert genser("predict", "--quiet")[1].startswith("genser: No input is given.")
    assert "Did you mean '--quiet'" in genser("predict", "a.wav", "--quit")[1]


def test_verbose_shows_where_an_error_arose(genser):
    message = genser("predict", "--verbose", "--task", "x", "a.wav")[1]
    assert "Traceback" in message
    assert message.splitlines()[-1] == genser("predict", "--task", "x", "a.wav")[1].rstrip()
