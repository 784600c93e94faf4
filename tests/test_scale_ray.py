"""Bulk runs on a cluster of three nodes and on an S3 server over HTTP, both real and on this machine."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import soundfile
from watched import processes_below, wait_for_shards

from genser.scale import process
from genser.scale.job import Job, Setup

pytest.importorskip("ray")
SETUP = Setup(threads=1)


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    """A manifest of 40 clips, of which five are broken."""
    folder = tmp_path_factory.mktemp("clips")
    random = np.random.default_rng(0)
    for number in range(8):
        soundfile.write(folder / f"{number}.wav", 0.1 * random.standard_normal(16_000 + 1_000 * number), 16_000)
    (folder / "0.wav").write_bytes(b"no sound")
    (folder / "list.csv").write_text("path\n" + "".join(f"{number % 8}.wav\n" for number in range(40)))
    return folder / "list.csv"


@pytest.fixture(scope="module")
def job(toys):
    return Job(model=str(toys.float32), shard_rows=2)


@pytest.fixture(scope="module")
def whole(listed, job, tmp_path_factory):
    """The shards of a local run that nothing interrupts."""
    out = tmp_path_factory.mktemp("whole")
    process(job, listed, out, setup=SETUP)
    return shards(out)


@pytest.fixture(scope="module")
def reports():
    """Address of a server, and the usage reports that Ray sends to it."""
    found = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            found.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", found
        server.shutdown()


@pytest.fixture(scope="module")
def cluster(reports):
    """A head without room for workers, and two nodes with room for one each; each is a raylet of its own."""
    from genser.scale.ray import import_ray

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
        patch.setenv("RAY_USAGE_STATS_REPORT_URL", reports[0])
        patch.setenv("RAY_USAGE_STATS_REPORT_INTERVAL_S", "1")
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        ray = import_ray()
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 100 << 20}
        started = Cluster(initialize_head=True, head_node_args=head)
        for _ in range(2):
            add_node(started)
        yield started
        ray.shutdown()
        started.shutdown()


def add_node(cluster):
    return cluster.add_node(num_cpus=1, object_store_memory=100 << 20, wait=True)


def shards(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if not path.name.startswith(".")}


def workers(node):
    """Processes of the workers on a node."""
    (raylet,) = node.all_processes["raylet"]
    names = {pid: Path(f"/proc/{pid}/cmdline") for pid in processes_below(raylet.process.pid)}
    return [pid for pid, name in names.items() if name.exists() and name.read_bytes().startswith(b"ray::_Actor")]


def test_lost_workers_drivers_and_nodes_change_nothing(cluster, toys, job, listed, whole, tmp_path):
    """While shards appear, a worker and the driver are killed; the same run then continues, and a node is lost."""
    out = tmp_path / "out"
    words = ["predict", str(listed), "--model", str(toys.float32), "--threads", "1", "--shard-rows", "2"]
    words += ["--engine", "ray", "--address", cluster.address, "-o", str(out)]
    first, second = cluster.worker_nodes
    with subprocess.Popen([sys.executable, "-m", "genser", *words]) as driver:
        wait_for_shards(out, 2)
        os.kill((workers(first) or workers(second))[0], signal.SIGKILL)
        wait_for_shards(out, 5)
        driver.kill()
    before = len(list(out.glob("part-*")))
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(process, job, listed, out, engine="ray", address=cluster.address, setup=SETUP)
        wait_for_shards(out, before + 1)
        cluster.remove_node(first, allow_graceful=False)
        add_node(cluster)  # in the main thread, which sets handlers of signals
        report = run.result()
    assert (report.rows, report.shards) == (40, 20)
    assert 0 < report.computed < 20
    assert shards(out) == whole


def test_the_cluster_sends_no_usage_report(cluster, reports):
    """Ray says once that its reports are off, with the time and nothing of the cluster or the machine."""
    _, found = reports
    assert [{name for name, value in one.items() if value is not None} for one in found] == [
        {"schema_version", "source", "collect_timestamp_ms"}
    ]


def test_a_bucket_is_read_and_written(job, whole, listed, tmp_path, monkeypatch):
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        _, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "test")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        S3FileSystem.clear_instance_cache()
        system = S3FileSystem()
        system.mkdir("corpus")
        for path in listed.parent.iterdir():
            system.pipe_file(f"corpus/deep/{path.name}", path.read_bytes())
        report = process(job, "s3://corpus/deep/list.csv", "s3://corpus/out", setup=SETUP)
        assert (report.rows, report.failed) == (40, 5)
        system.invalidate_cache()  # the shards are written by another process
        system.get("corpus/out", str(tmp_path / "out"), recursive=True)
        assert scores_of(tmp_path / "out") == scores_of_bytes(whole, tmp_path / "whole")
        assert process(job, "s3://corpus/deep/list.csv", "s3://corpus/out", setup=SETUP).computed == 0
        folder = process(job, "s3://corpus/deep/", "s3://corpus/other/", setup=SETUP)
        assert (folder.rows, folder.failed) == (8, 1)
    finally:
        server.stop()


def scores_of(folder):
    from pyarrow import dataset

    table = dataset.dataset(folder, format="parquet").to_table().sort_by("row")
    return table.drop_columns(["path", "error"]).to_pylist()


def scores_of_bytes(contents, folder):
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return scores_of(folder)
