"""Settings that cannot work are sentences: devices, seeds, tolerances, numbers that are not finite, torn metrics."""

import json

import pytest

from genser import cli
from genser.encoders.load import check_device
from genser.errors import ConfigError
from genser.training.checkpoint import append_metrics, read_metrics
from genser.training.recipe import load_recipe


@pytest.mark.parametrize("device", ["cuda:77", "quantum", "meta", ""])
def test_a_device_that_torch_does_not_have(device):
    with pytest.raises(ConfigError, match="cannot be used"):
        check_device(device)
    check_device("cpu")


@pytest.mark.parametrize("seed", [-1, 2**31, 1e30])
def test_a_seed_out_of_range(seed):
    with pytest.raises(ConfigError, match="seed must lie in"):
        load_recipe("small", {"seed": seed})


@pytest.mark.parametrize("value", ["nan", "inf", "0", "-1"])
def test_batches_of_no_length(toys, value):
    with pytest.raises(ConfigError, match="batch_seconds must be a number above 0"):
        cli.app(["predict", "a.wav", "--model", str(toys.int8), "--batch-seconds", value])


@pytest.mark.parametrize("threads", ["0", "-1", "100000"])
def test_an_impossible_number_of_threads(toys, threads):
    for model in (toys.int8, toys.folder):
        with pytest.raises(ConfigError, match="threads must lie in"):
            cli.app(["predict", "a.wav", "--model", str(model), "--threads", threads])


@pytest.mark.parametrize("tolerance", ["nan", "-1", "inf"])
def test_a_tolerance_that_allows_everything_or_nothing(toys, tmp_path, tolerance):
    with pytest.raises(ConfigError, match="tolerance must lie in"):
        cli.app(["export", str(toys.folder), "-o", str(tmp_path / "out.onnx"), "--tolerance", tolerance])


def test_a_name_with_a_dot_says_how_to_name_a_folder(toys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"For a folder write run\.2024/"):
        cli.app(["predict", "a.wav", "b.wav", "--model", str(toys.int8), "--segments", "-o", "run.2024"])


def test_torn_lines_of_metrics_cost_themselves_only(tmp_path):
    path = tmp_path / "metrics.jsonl"
    append_metrics(path, {"step": 1, "loss": 0.5})
    with path.open("ab") as file:
        file.write(b'{"step": 2, "lo{"step": 2, "loss": 0.4}\n\xff\n[3]\n{}\n')
    append_metrics(path, {"step": 3, "loss": 0.3})
    append_metrics(path, {"step": 9, "loss": 0.1})
    assert [row["step"] for row in read_metrics(path, until=5)] == [1, 3]
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 3]
