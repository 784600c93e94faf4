"""Every verb, watched as a process: it writes what the user named and nothing else, and opens no connection."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import httpx2 as httpx
import numpy as np
import pytest
import soundfile
from voice_server import Server
from watched import can_trace, environment, genser, read_log, tracer, watch

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "synthetic.flac"
RECIPE = """
encoder: {kind: fbank}
network: {width: 16, depth: 1, heads: 2}
batch_size: 16
steps: 4
evaluate_every: 2
checkpoint_every: 2
validation: 0.3
sampler: {steps: 1}
"""
PLAN = """
heads: {linear: {}}
steps: [1]
settings: {steps: 4, evaluate_every: 2, checkpoint_every: 2, batch_size: 16}
seeds: 1
"""
LIBRARY = """
import genser, numpy, time
from genser.output.plot import timeline_figure
from genser.segments.timeline import recognize_timeline
recognizer = genser.load("tiny")
assert recognizer.predict("talk.flac").label
assert recognizer.segments("talk.flac")
list(recognizer.predict_many(["talk.flac"] * 4))
stream = recognizer.stream()
stream.push(numpy.zeros(16_000, numpy.float32)), stream.close()
timeline_figure(recognize_timeline(recognizer, "talk.flac")).savefig("library.png")
time.sleep(2)  # telemetry works in a thread
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """A working folder with a recording, and a corpus of six speakers, of whom the last two are the test side."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "talk.flac").write_bytes(EXAMPLE.read_bytes())
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "plan.yaml").write_text(PLAN)
    rng, rows = np.random.default_rng(0), []
    for clip in range(24):
        (folder / "sounds" / ("sad", "merry")[clip % 2]).mkdir(parents=True, exist_ok=True)
        name = f"sounds/{('sad', 'merry')[clip % 2]}/{clip}.wav"
        soundfile.write(folder / name, 0.1 * rng.standard_normal(8000), 16_000)
        rows.append([name, ("sad", "merry")[clip % 2], f"s{clip // 4}", "test" if clip >= 16 else ""])
    for name, columns in (("manifest.csv", 4), ("sounds.csv", 3)):  # the second one without splits
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows(row[:columns] for row in [["path", "label", "speaker", "split"], *rows])
    return folder


@pytest.fixture(scope="module")
def model(work, tmp_path_factory) -> str:
    trained = watch(
        genser("train", "manifest.csv", "--recipe", "recipe.yaml", "-o", "model"), tmp_path_factory.mktemp("t"), work
    )
    _silent(trained)
    return "model"


def _silent(seen) -> None:
    assert (seen.written, seen.left, seen.sockets) == ([], [], []), seen.output


VERBS = {
    "predict": ("predict talk.flac --model tiny -o clips.csv", {"clips.csv"}),
    "predict, parquet": ("predict talk.flac --model tiny -o clips.parquet", {"clips.parquet"}),
    "segments": ("predict --segments talk.flac --model tiny -o segments.csv", {"segments.csv"}),
    "picture": ("predict --segments talk.flac --model tiny -o drawn.png", {"drawn.png"}),
    "predict of a model folder": ("predict talk.flac --model model -o folder.csv", {"folder.csv"}),
    "features": ("features manifest.csv --encoder fbank -o store", {"store"}),
    "evaluate": ("evaluate model manifest.csv --split test -o report --resamples 20", {"report"}),
    "bench": ("bench kfold-speaker manifest.csv --encoder fbank --plan plan.yaml -o bench", {"bench"}),
    "export": ("export model -o model.onnx", {"model.onnx"}),
    "info": ("info", set()),
    "info of a model": ("info model", set()),
    "split": ("split sounds.csv -o divided.csv", {"divided.csv"}),
    "prepare": ("prepare folder sounds -o prepared.csv", {"prepared.csv"}),
    "help": ("--help", set()),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_writes_what_was_named_and_opens_no_connection(verb, work, model, tmp_path):
    line, expected = VERBS[verb]
    before = {path.name for path in work.iterdir()}
    _silent(watch(genser(*line.split()), tmp_path, work))
    assert {path.name for path in work.iterdir()} - before == expected


def test_the_library_writes_nothing_and_opens_no_connection(work, tmp_path):
    before = {path.name for path in work.iterdir()}
    _silent(watch([sys.executable, "-c", LIBRARY], tmp_path, work))
    assert {path.name for path in work.iterdir()} - before == {"library.png"}


@pytest.fixture(params=[1, 2], ids=["one process", "two workers"])
def server(request, work, tmp_path) -> Iterator[SimpleNamespace]:
    """A watched server, and what it has done once it is stopped."""
    log, variables = tmp_path / "calls.log", environment(tmp_path)
    command = [*tracer(log), *genser("serve", "tiny", "--port", 0, "--workers", request.param)]
    process = subprocess.Popen(command, cwd=work, env=variables, stderr=subprocess.PIPE, text=True)
    try:
        running = Server(process)

        def stopped():
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            os.kill(int(children[0]) if can_trace() else process.pid, signal.SIGTERM)
            process.wait(60)
            return read_log(log, allowed=(tmp_path / "temporary", work)) if can_trace() else ([], [])

        yield SimpleNamespace(url=running.url, port=running.port, stopped=stopped)
    finally:
        process.kill()
        process.wait()


def _wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError("the server did not get ready")


def test_the_server_connects_to_nothing(server, work, tmp_path):
    body = EXAMPLE.read_bytes()
    _wait_until_ready(server.url)
    for route in ("/v1/predict", "/v1/segments"):
        assert httpx.post(f"{server.url}{route}", content=body, timeout=60).status_code == 200
    form = {"file": ("talk.flac", body), "turns": ("turns.csv", b"start,end\n0,2\n")}
    assert httpx.post(f"{server.url}/v1/segments", files=form, timeout=60).status_code == 200
    written, sockets = server.stopped()
    assert written == []
    assert [line for line in sockets if " connect(" in line or "NETLINK" in line] == []
    bound = [line for line in sockets if " bind(" in line]
    assert all("127.0.0.1" in line for line in bound)
    assert [path for path in (tmp_path / "home").rglob("*") if path.name not in (".cache", ".config")] == []
    assert list((tmp_path / "temporary").iterdir()) == []
