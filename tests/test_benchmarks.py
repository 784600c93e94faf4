"""Every benchmark runs at a tiny size and reports what it measures."""

import importlib
import json
import math
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import genser
from genser.inference.load import find_model
from genser.onnx_runtime import cpu_session

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
GOALS = {
    "train_step_gpu": ("plain, float32", "recorded, bfloat16", "loss curve"),
    "encode_gpu": ("transformers, bfloat16", "genser, bfloat16", "packed, bfloat16", "decoding"),
    "cold_start": ("genser predict", "floor"),
    "folder_throughput": ("predict_many", "one thread", "transformers' pipeline", "resident"),
    "transport_steps": ("clip of 1 s", "state: network, N = 0", "state: posterior, N = 4"),
    "long_file": ("decoding alone", "predict", "segments"),
    "store_overhead": ("encoded", "encoded and stored", "store alone"),
    "feature_store": ("7 x 512", "1,024 rows"),
    "real_time": ("toy, 1 s", "toy, 2 s", "toy, 1 and 2 threads"),
    "peer_encoder": ("toy, 1 s", "limit, 1 s"),
    "memory": ("library, 40 clips", "server, 40 clips", "WebSocket"),
    "faults": ("predict -o out.csv: kill", "predict --segments -o out.csv: full disk"),
    "resume": ("csv, 60 files", "json, 60 files"),
    "gpu_inference": ("clips of 10 s", "products in bfloat16", "from FLAC", "processes", "toy, CPU", "modules"),
    "growth": ("length in s 1.0", "batch 2", "clips in memory 10"),
}
WITH_MODELS = (
    "folder_throughput",
    "transport_steps",
    "long_file",
    "growth",
    "cold_start",
    "real_time",
    "peer_encoder",
    "memory",
    "gpu_inference",
)


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module
    sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def model(script, tmp_path_factory):
    return script("_model").random_model(tmp_path_factory.mktemp("model") / "toy.onnx", toy=True)


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in FOLDER.glob("*.py") if "def main(" in path.read_text("utf-8"))
)
def test_a_benchmark_describes_its_options(name, script, monkeypatch, capsys):
    module = script(name)
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as end:
        module.main()
    assert end.value.code == 0
    assert module.__doc__.split("\n")[0][:40] in capsys.readouterr().out


@pytest.mark.parametrize("name", GOALS)
def test_a_benchmark_reports_its_results(name, script, tmp_path, monkeypatch, request, capsys):
    module = script(name)
    if name in WITH_MODELS:
        path = request.getfixturevalue("model")
        for home in (module, script("_model")):
            monkeypatch.setattr(home, "random_model", lambda *_, **__: path, raising=False)
    torch.set_num_threads(1)
    output = tmp_path / "results.json"
    monkeypatch.setattr(sys, "argv", [name, "--toy", "--repeats", "1", "--json", str(output)])
    module.main()
    record = json.loads(output.read_text("utf-8"))
    assert record["claim"] == name
    assert record["goal"] in capsys.readouterr().out
    assert record["machine"]["cores"] >= 1
    assert record["machine"]["numpy"]
    assert record["settings"]["toy"] is True
    for what in GOALS[name]:
        assert any(what in row["what"] for row in record["rows"]), what
    assert all(row.get("failures", 0) == 0 for row in record["rows"])
    numbers = [value for row in record["rows"] for value in row.values() if not isinstance(value, str)]
    assert all(math.isfinite(value) for value in numbers)


def test_encoded_means_are_those_of_transformers(script, tmp_path, monkeypatch):
    module = script("encode_gpu")
    encoder, clips = module.hubert(True), module.clips_of(20)
    exact = module.plain(encoder, clips, 60, False)
    assert module.cosine(exact, module.encode(encoder, clips)) > 0.99999


def test_a_second_of_hubert_large_takes_36_gigaflop(script):
    """As a count by hand has it; the benchmark's ceiling rests on it."""
    module = script("encode_gpu")
    with torch.device("meta"):
        encoder = module.hubert(False)
    assert module.operations(encoder) == pytest.approx(36e9, rel=0.15)


def test_a_recording_is_cut_from_the_limit_of_its_row_on(script):
    module = script("window_length")
    recognizer = genser.load("tiny", threads=1)
    sounds = [script("_model").clip_of(12.0)]
    whole, windows = (module.scored(recognizer, sounds, limit) for limit in (30, 10))
    assert not np.array_equal(whole, windows)
    np.testing.assert_array_equal(windows, module.scored(recognizer, sounds, 10))


def test_the_products_that_a_row_names_run_in_eight_bits(script):
    module = script("eight_bits")
    path, sound = find_model("tiny"), script("_model").clip_of(1.0)
    counts, found = {}, {}
    for name, chosen in module.ROWS.items():
        content = module.quantized(path, chosen)
        counts[name] = sum(node.op_type == "MatMulInteger" for node in onnx.load_from_string(content).graph.node)
        found[name] = module.scores(cpu_session(path, 1, content=content), sound)
    assert list(counts.values()) == [7, 8, 10, 14, 18]
    np.testing.assert_array_equal(found["the file"], module.scores(cpu_session(path, 1), sound))
    for scores in (*found.values(), module.scores(cpu_session(path, 1, content=module.blocked(path, 32)), sound)):
        np.testing.assert_allclose(scores, found["the file"], atol=0.05)
