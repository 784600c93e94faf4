"""Measures bulk runs: throughput of both engines, decoding, what kills change, and memory.

    python benchmarks/scale.py [--part throughput|decoding|kills|memory] [--input CORPUS] [--clips 10000] [--json FILE]

Throughput: `predict_many`, the local engine and a Ray cluster on this machine recognise the same clips with the same
cores in turn: those of an input, repeated if it has too few, or else synthetic ones. Rates of the engines are those
after the first shard. Where other programs take part of the cores, compare the processor time of a clip. Kills: in each
run a worker, a decoder, a node and the driver are killed at random moments, the driver is started again, and the shards
are compared with those of a run that nothing interrupts. Memory: highest resident memory of the driver, the worker and
the decoders over manifests of two lengths.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import cycle, islice
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import soundfile
from _common import Claim, parser
from _model import add_model_option, clip_of, model_for

import genser
from genser.audio import SAMPLE_RATE, load_audio
from genser.scale import process
from genser.scale.blocks import Row, read_blocks, read_rows
from genser.scale.child import Limits
from genser.scale.decoding import Decoders
from genser.scale.job import Job, Setup

NODE = {"include_dashboard": False, "object_store_memory": 100 << 20}
Kill = Callable[[], object]


def write_list(file: Path, paths: list[str]) -> Path:
    file.write_text("path\n" + "".join(f"{path}\n" for path in paths), "utf-8")
    return file


def synthetic_clips(folder: Path, count: int, low: float, high: float) -> list[str]:
    lengths = np.random.default_rng(0).uniform(low, high, count)
    for number, length in enumerate(lengths):
        soundfile.write(folder / f"{number:04}.flac", clip_of(float(length), number), 16_000)
    return sorted(map(str, folder.glob("*.flac")))


def chosen_clips(arguments: argparse.Namespace, folder: Path) -> list[str]:
    """As many clips as wanted, evenly from the whole input."""
    if not arguments.input:
        paths = synthetic_clips(folder, min(arguments.clips, 200), 2.0, 5.0)
    else:
        paths = [row.path for row in read_rows([arguments.input])]
    return list(islice(cycle(paths[:: max(len(paths) // arguments.clips, 1)]), arguments.clips))


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("part-*")}


def throughput(claim: Claim, arguments: argparse.Namespace, folder: Path) -> None:
    """Clips per second, processor time of a clip, and whether the rows are the same."""
    model = model_for(arguments, folder)
    paths = chosen_clips(arguments, folder)
    listed = write_list(folder / "list.csv", paths)
    job = Job(model=model, shard_rows=arguments.shard_rows)
    recognizer = genser.load(model)
    list(recognizer.predict_many(paths[:16]))
    measured: dict[str, list[dict[str, float]]] = {"predict_many": [], "local": [], "ray": []}
    for turn in range(arguments.repeats):
        steps = [reached(0)]
        expected = list(recognizer.predict_many(paths))
        note(claim, measured, "predict_many", warm([*steps, reached(len(paths))]))
        for engine in ("local", "ray"):
            steps = []
            process(
                job,
                listed,
                folder / f"{engine}-{turn}",
                engine=engine,
                progress=lambda done, _, steps=steps: steps.append(reached(done)),
            )
            note(claim, measured, engine, warm(steps))
        same = shards(folder / f"local-{turn}") == shards(folder / f"ray-{turn}")
        claim.add(f"rows {turn}", **{"local = ray": same}, **differences(folder / f"local-{turn}", expected))
    for engine, reference in (("local", "predict_many"), ("ray", "local")):
        pairs = list(zip(measured[engine], measured[reference], strict=True))
        rate = statistics.median(one["clips/s"] / other["clips/s"] for one, other in pairs)
        work = statistics.median(other["CPU ms a clip"] / one["CPU ms a clip"] for one, other in pairs)
        claim.add(f"{engine} of {reference}", **{"clips/s": rate, "clips per CPU s": work})


def note(claim: Claim, measured: dict[str, list], what: str, numbers: dict[str, float]) -> None:
    measured[what].append(numbers)
    claim.add(what, **numbers)


def reached(done: int) -> tuple[float, float, int]:
    """The time, the processor seconds of this process and all below it so far, and the number of finished clips."""
    ticks = 0
    for pid in [os.getpid(), *processes_below(os.getpid())]:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        ticks += sum(map(int, fields[11:15]))  # its own and those of the ended processes that it waited for
    return time.perf_counter(), ticks / os.sysconf("SC_CLK_TCK"), done


def warm(steps: list[tuple[float, float, int]]) -> dict[str, float]:
    """Rate and processor time of a clip, from the first shard to the last."""
    (start, worked, before), (end, work, done) = steps[0], steps[-1]
    count = done - before
    return {"clips/s": count / (end - start), "CPU ms a clip": 1000 * (work - worked) / count}


def differences(folder: Path, expected: list) -> dict[str, float]:
    """Rows whose label or error differ from those of `predict_many`, and the greatest difference of a score."""
    from pyarrow import dataset

    rows = dataset.dataset(folder, format="parquet").to_table().sort_by("row").to_pylist()
    pairs = list(zip(rows, expected, strict=True))
    other = sum((row["label"], row["error"]) != (one.label, one.error) for row, one in pairs)
    score = max(abs(row[name] - value) for row, one in pairs for name, value in one.scores.items())
    return {"other rows": other, "score differs by": score}


def decoding(claim: Claim, arguments: argparse.Namespace, folder: Path) -> None:
    """How fast one core decodes each format of the input, here and in a process that sends the samples."""
    decoders = Decoders(Limits(seconds=60.0, memory=2 << 30))
    rows = [Row(0, path) for path in chosen_clips(arguments, folder)]
    kinds = Counter(Path(row.path).suffix for row in rows)
    for ending in sorted(kind for kind, count in kinds.items() if count >= 20):
        some = [row for row in rows if row.path.endswith(ending)][:500]
        for where, load in (("", lambda row: load_audio(row.path)), (" and sending", decoders.waveform)):
            load(some[0])
            start = reached(0)
            audio = sum(len(load(row)) for row in some) / SAMPLE_RATE
            cost = warm([start, reached(len(some))])["CPU ms a clip"]
            claim.add(
                f"decoding {ending}{where}",
                **{"CPU ms a clip": cost, "x real time": audio / (len(some) * cost / 1000)},
            )
    decoders.close()


def processes_below(pid: int) -> list[int]:
    """Processes that a process has started, and that these have."""
    try:
        files = Path(f"/proc/{pid}/task").glob("*/children")
        below = [int(word) for path in files for word in path.read_text().split()]
    except OSError:  # it has just ended
        return []
    return below + [one for child in below for one in processes_below(child)]


def killing(pid: int) -> Kill:
    return lambda: os.kill(pid, signal.SIGKILL)


def local_targets(driver: int) -> dict[str, Kill]:
    worker, *decoders = processes_below(driver) or [None]
    found = {"driver": killing(driver), "worker": worker and killing(worker)}
    return found | {"decoder": decoders and killing(decoders[-1])}


@contextmanager
def cluster_targets() -> Iterator[tuple[str, Callable[[int], dict[str, Kill]]]]:
    """The address of a cluster of a head and two nodes, and what can be killed in it."""
    from genser.scale.ray import import_ray

    import_ray()
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **NODE})

    def add() -> None:
        for _ in range(3):
            with suppress(Exception):  # Ray gives a node 30 s to start, which is too little on a busy machine
                cluster.add_node(num_cpus=1, wait=False, **NODE)
                return

    def replace_node() -> None:
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        add()

    def targets(driver: int) -> dict[str, Kill]:
        raylets = [node.all_processes["raylet"][0].process.pid for node in cluster.worker_nodes]
        names = {pid: Path(f"/proc/{pid}/cmdline") for raylet in raylets for pid in processes_below(raylet)}
        actors = [pid for pid, name in names.items() if name.exists() and name.read_bytes().startswith(b"ray::_Actor")]
        worker = killing(actors[0]) if actors else None
        return {"driver": killing(driver), "node": replace_node, "worker": worker}

    add()
    add()
    try:
        yield cluster.address, targets
    finally:
        cluster.shutdown()


def kills(claim: Claim, arguments: argparse.Namespace, folder: Path) -> None:
    """Runs of the command, in which something of each kind is killed at random moments."""
    model = model_for(arguments, folder)
    paths = synthetic_clips(folder, 20, 0.5, 2.0)
    listed = write_list(folder / "list.csv", list(islice(cycle(paths), arguments.kill_rows)))
    process(Job(model=model, shard_rows=8), listed, folder / "whole", setup=Setup(threads=1))
    expected = shards(folder / "whole")
    words = ["predict", str(listed), "--model", model, "--threads", "1", "--shard-rows", "8"]
    command = [sys.executable, "-m", "genser", *words]
    random = np.random.default_rng(arguments.seed)

    def many(engine: str, more: list[str], targets: Callable[[int], dict[str, Kill]]) -> None:
        done: Counter[str] = Counter()
        same = 0
        for number in range(arguments.kills):
            out = folder / f"{engine}-{number}"
            done += interrupted([*command, "--engine", engine, *more, "-o", str(out)], targets, random)
            same += shards(out) == expected
            print(f"{engine} {number}: {dict(done)}, {same} identical", file=sys.stderr)
        claim.add(f"kills, {engine}", runs=arguments.kills, identical=same, **done)

    if arguments.engine != "ray":
        many("local", [], local_targets)
    if arguments.engine != "local":
        with cluster_targets() as (address, targets):
            many("ray", ["--address", address], targets)


def interrupted(command: list[str], targets: Callable[[int], dict[str, Any]], random: np.random.Generator) -> Counter:
    """Run a command until it is complete, and kill each kind of target once, in random order at random moments."""
    done: Counter[str] = Counter()
    driver = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    kinds = random.permutation(sorted(targets(driver.pid))).tolist()
    while kinds:
        time.sleep(random.uniform(0.0, 2.0))
        while driver.poll() is None and not (target := targets(driver.pid)[kinds[0]]):
            time.sleep(0.02)  # until there is one
        if driver.poll() is not None:
            break
        try:
            target()
        except ProcessLookupError:  # it has just ended
            continue
        done[kinds[0]] += 1
        if kinds.pop(0) == "driver":
            driver.wait()
            driver = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    if driver.wait():
        raise RuntimeError(f"The driver ended with code {driver.returncode}.")
    return done


def memory(claim: Claim, arguments: argparse.Namespace, folder: Path) -> None:
    """Highest resident memory over a short and a long manifest."""
    model = model_for(arguments, folder)
    paths = synthetic_clips(folder, 100, 0.1, 0.3)
    for rows in arguments.memory_rows:
        listed = write_list(folder / f"{rows}.csv", list(islice(cycle(paths), rows)))
        start = time.process_time()
        count = sum(len(block.rows) for block in read_blocks([str(listed)], 512) if block.digest(""))
        read = count / (time.process_time() - start)
        words = ["predict", str(listed), "--model", model, "--engine", "local", "-o", str(folder / f"out-{rows}")]
        with subprocess.Popen([sys.executable, "-m", "genser", *words], stderr=subprocess.DEVNULL) as driver:
            peaks: dict[int, float] = {}
            stop = Event()
            thread = Thread(target=watch, args=(driver.pid, peaks, stop))
            thread.start()
            driver.wait()
            stop.set()
            thread.join()
        of_driver, of_worker, *of_decoders = peaks.values()
        numbers = {"driver MB": of_driver, "worker MB": of_worker, "decoder MB": max(of_decoders)}
        claim.add(f"{rows:,} rows", **numbers, **{"rows read per CPU s": read})


def watch(pid: int, peaks: dict[int, float], stop: Event) -> None:
    """Note the highest resident memory of a process and of those below it, in MB."""
    while not stop.wait(0.1):
        for one in [pid, *processes_below(pid)]:
            try:
                text = Path(f"/proc/{one}/status").read_text()
            except OSError:
                continue
            if "VmHWM:" in text:
                peaks[one] = int(text.split("VmHWM:")[1].split()[0]) / 1024


PARTS = {"throughput": throughput, "decoding": decoding, "kills": kills, "memory": memory}


def main() -> None:
    options = parser(__doc__, toy="a tiny model, 24 clips and one run with kills")
    add_model_option(options)
    options.set_defaults(repeats=1)
    options.add_argument("--part", choices=PARTS, help="one part alone")
    options.add_argument("--input", help="manifest or folder of the clips for the throughput (default: synthetic ones)")
    options.add_argument("--clips", type=int, default=10_000, help="for the throughput and the decoding")
    options.add_argument("--shard-rows", type=int, default=512, help="for the throughput")
    options.add_argument("--kills", type=int, default=20, help="runs with kills, for each engine")
    options.add_argument("--engine", choices=("local", "ray"), help="one engine alone, for the kills")
    options.add_argument("--kill-rows", type=int, default=400)
    options.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    options.add_argument("--memory-rows", type=int, nargs=2, default=[1_000, 100_000])
    arguments = options.parse_args()
    if arguments.toy:
        arguments.clips, arguments.shard_rows, arguments.kills, arguments.kill_rows = 24, 4, 1, 48
        arguments.memory_rows = [10, 50]
    goal = "local 97 % of predict_many, Ray 85 % of local, rows identical, memory within 10 %"
    claim = Claim("scale", goal, file=arguments.json)
    claim.settings |= {name: str(value) for name, value in vars(arguments).items()}
    for name, part in PARTS.items():
        if arguments.part in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                part(claim, arguments, Path(folder))
    claim.report(arguments.json)


if __name__ == "__main__":
    main()
