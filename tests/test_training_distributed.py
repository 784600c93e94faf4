"""Training by torchrun: the same losses as one process, encoded once, and resumed with any number of processes."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from toys import toy_weights

from genser.config import to_mapping
from genser.errors import ConfigError
from genser.model.folder import load_model
from genser.training import distributed
from genser.training.distributed import ALONE, TORCHRUN, Processes

STEPS, CLIPS = 30, 60

RECIPE = {
    "network": {"width": 16, "depth": 1, "heads": 2, "dropout": 0.2},
    "objective": {"mixup": 0.5, "noise": 0.1},
    "optimizer": {"lr": 5.0e-3, "ema": 0.9},
    "batch_size": 30,
    "steps": STEPS,
    "evaluate_every": 1,
    "checkpoint_every": 10,
    "validation": 0.3,
}

ENTRY = """
import sys
from pathlib import Path
from genser import cli
from genser.training import clips

encode, counted = clips.encode, Path(f"{sys.argv[sys.argv.index('-o') + 1]}.encoded")


def counting(encoder, waveforms, **options):
    with counted.open("a") as file:
        print(len(waveforms), file=file)
    return encode(encoder, waveforms, **options)


clips.BATCH, clips.encode = 16, counting  # clips that a process encodes in turn
sys.exit(cli.app(sys.argv[1:], exit_on_error=False))
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Six speakers of two corpora with low and high voices; one file cannot be read."""
    folder, generator = tmp_path_factory.mktemp("distributed"), np.random.default_rng(0)
    rows = [["path", "label", "speaker", "corpus", "gender"]]
    for number in range(CLIPS):
        speaker, label = number % 6, ("sad", "merry")[number // 6 % 2]
        times = np.arange(6400 + 100 * (number % 5)) / 16_000
        tone = np.sin(2 * np.pi * ((150, 450)[label == "merry"] + 8 * speaker) * times) * (1 + 0.5 * np.sin(20 * times))
        soundfile.write(folder / f"{number}.wav", 0.3 * tone + 0.05 * generator.standard_normal(len(times)), 16_000)
        rows.append([f"{number}.wav", label, f"s{speaker}", "ab"[speaker % 2], ("female", "male")[speaker // 3]])
    (folder / "broken.wav").write_bytes(b"no sound")
    for name, broken in (("readable", []), ("manifest", [["broken.wav", "sad", "s0", "a", "male"]])):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows + broken)
    (folder / "entry.py").write_text(ENTRY)
    encoder = {"encoder": {"kind": "fbank"}, "augmented_copies": 1, "centre": True}
    (folder / "fbank.yaml").write_text(yaml.safe_dump(RECIPE | encoder))
    adapted = {"encoder": to_mapping(toy_weights(folder / "toy.safetensors")), "augmented_copies": 1, "validation": 0.0}
    adapted |= {"adaptation": {"rank": 2, "steps": 2, "batch": 8}, "steps": 5, "gender": True}
    adapted |= {"calibration": {"folds": 2, "across_corpora": True}}
    (folder / "adapted.yaml").write_text(yaml.safe_dump(RECIPE | adapted))
    return folder


def words(processes):
    """Starts the command line once, or by torchrun in several processes."""
    if processes == 1:
        return [sys.executable, "entry.py"]
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "entry.py"]


def start(corpus, output, processes, recipe="fbank", manifest="manifest", launcher=None):
    command = ["train", f"{manifest}.csv", "--recipe", f"{recipe}.yaml", "-o", output, "--store", f"{output}/features"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [*(launcher or words(processes)), *map(str, command)],
        cwd=corpus,
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(process, code=1):
    """Wait for a run; its exit code is 1 if a file cannot be read."""
    said = process.communicate(timeout=600)[0]
    assert process.returncode == code, said
    return said


def losses(output):
    lines = [json.loads(line) for line in (output / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    return [line["loss"] for line in lines]


def stored(output):
    """Rows in each part of the feature store, duplicates included."""
    folders = [path.parent for path in (output / "features").glob("*/settings.json")]
    return sorted(sum(len(np.load(path)) for path in folder.glob("keys-*.npy")) for folder in folders)


@pytest.fixture(scope="module")
def alone(corpus):
    said = finished(start(corpus, corpus / "alone", 1))
    assert said.count("broken.wav: ") == 1
    return corpus / "alone"


def same_head(one, other):
    first, second = (load_model(path).head.state_dict() for path in (one, other))
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, atol=1e-4, rtol=1e-3, msg=name)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_any_number_of_processes_have_the_losses_of_one_and_encode_every_clip_once(corpus, alone):
    """Three processes begin, one continues and two finish; the first two runs are killed."""
    output = corpus / "killed"
    for processes, steps in ((3, 12), (1, 21)):
        process = start(corpus, output, processes)
        metrics = output / "run/metrics.jsonl"
        while not metrics.exists() or metrics.read_bytes().count(b"\n") < steps:
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    said = finished(start(corpus, output, 2))
    assert said.count("broken.wav: ") == 1, "one of the processes reports"
    assert len(losses(alone)) == STEPS
    np.testing.assert_allclose(losses(output), losses(alone), atol=1e-5, rtol=0)
    assert stored(output) == stored(alone) == [CLIPS, CLIPS]
    same_head(output, alone)
    assert not (output / "run/shared").exists()


def test_two_processes_on_two_machines_have_the_losses_of_one(corpus, alone):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    run += ["--master-addr=127.0.0.1", f"--master-port={port}"]
    launchers = [[*run, f"--node-rank={rank}", "entry.py"] for rank in range(2)]
    output = corpus / "nodes"
    for process in [start(corpus, output, 1, manifest="readable", launcher=launcher) for launcher in launchers]:
        finished(process, 0)
    np.testing.assert_allclose(losses(output), losses(alone), atol=1e-5, rtol=0)


def test_adapted_features_and_calibration_are_shared_too(corpus):
    found, encoded = [], []
    for processes in (1, 2):
        output = corpus / f"adapted-by-{processes}"
        finished(start(corpus, output, processes, "adapted"))
        found.append(output)
        encoded.append(sum(map(int, Path(f"{output}.encoded").read_text().split())))
    assert encoded[0] == encoded[1] > 2 * CLIPS
    np.testing.assert_allclose(losses(found[1]), losses(found[0]), atol=1e-5, rtol=0)
    first, second = (load_model(output) for output in found)
    assert second.fingerprint == first.fingerprint
    assert second.info["out_of_fold_ua"] == first.info["out_of_fold_ua"]
    assert second.info["across_corpora_ua"] == first.info["across_corpora_ua"]
    assert second.info["gender_ua"] == first.info["gender_ua"]
    assert second.head.config.in_domain_components == first.head.config.in_domain_components > 0
    assert second.head.config.exponent == pytest.approx(first.head.config.exponent, abs=0.2)


def test_every_row_is_in_one_share():
    for count, block in ((0, 1), (7, 1), (7, 2), (64, 5)):
        shares = [Processes(rank, 3).share(count, block) for rank in range(3)]
        assert sorted(np.concatenate(shares)) == list(range(count))
    assert Processes(1, 3).share(8, 2).tolist() == [2, 3]


def test_a_folder_that_a_machine_does_not_share_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"features\.npy of another process is missing.*storage that they share"):
        Processes(1, 2, Path(tmp_path))._map("features")


def test_an_empty_world_size_is_one_process(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "")
    with distributed.processes("cpu", tmp_path) as (group, device):
        assert (group, device) == (ALONE, "cpu")


@pytest.mark.parametrize(
    ("size", "names", "words"), [("4", TORCHRUN[:1], "LOCAL_RANK is not set"), ("two", TORCHRUN, "no number")]
)
def test_variables_that_torchrun_did_not_set_are_named(tmp_path, monkeypatch, size, names, words):
    monkeypatch.setenv("WORLD_SIZE", size)
    for name in TORCHRUN:
        monkeypatch.delenv(name, raising=False)
    for name in names:
        monkeypatch.setenv(name, "0")
    with pytest.raises(ConfigError, match=words), distributed.processes("cpu", tmp_path):
        pass
