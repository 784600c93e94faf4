"""Measures the memory of a process that recognises, and of servers with several worker processes.

    python benchmarks/workers.py [--models base tiny] [--counts 1 2 4] [--json FILE]

Every process first recognises clips of 1 to 10 s. Private memory is what only one process has (USS); the rest of its
proportional share (PSS) are pages that it shares with others, such as the code of libraries. Needs Linux.
"""

import argparse
import io
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import server
import soundfile
from _common import Claim
from _model import clip_of

LENGTHS = (1.0, 3.0, 10.0)  # s
REQUESTS = 16  # of each length and worker, so that every worker gets some
WAIT = 60  # s
LIBRARY = """
import genser, numpy as np
from _model import clip_of
recognizer = genser.load({model!r})
recognizer.predict_waveforms([clip_of(seconds) for seconds in {lengths}] * 4)
print("ready", flush=True)
input()
"""


def memory(process: int) -> dict[str, float]:
    """Proportional and private megabytes of a process and its children."""
    found = {"PSS MB": 0.0, "private MB": 0.0}
    for pid in (process, *children(process)):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
            name, value, _ = line.split()
            if name in ("Pss:", "Private_Clean:", "Private_Dirty:"):
                found["PSS MB" if name == "Pss:" else "private MB"] += int(value) / 1024
    return found


def children(process: int) -> list[int]:
    direct = [int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return direct + [below for pid in direct for below in children(pid)]


def library(model: str) -> dict[str, float]:
    code = LIBRARY.format(model=model, lengths=LENGTHS)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": Path(__file__).parent}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as process:
        process.stdout.readline()
        found = memory(process.pid)
        process.communicate("\n")
    return found


def serving(model: str, workers: int) -> dict[str, float]:
    process, port = server.started(model, "--workers", str(workers))
    try:
        bodies = []
        for seconds in LENGTHS:
            file = io.BytesIO()
            soundfile.write(file, clip_of(seconds), 16_000, format="FLAC")
            bodies.append(file.getvalue())

        address = f"http://127.0.0.1:{port}/v1/predict"

        def ask(number: int) -> None:
            request = urllib.request.Request(address, bodies[number % len(bodies)], {"Content-Type": "audio/flac"})
            for _ in range(WAIT):  # until the first worker listens
                try:
                    urllib.request.urlopen(request).read()
                    return
                except urllib.error.URLError as error:
                    if not isinstance(error.reason, ConnectionRefusedError):
                        raise
                    time.sleep(1)

        with ThreadPoolExecutor(8 * workers) as clients:
            list(clients.map(ask, range(REQUESTS * workers * len(bodies))))
        return memory(process.pid)
    finally:
        process.terminate()
        process.wait(60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", default=["base", "tiny"])
    parser.add_argument("--counts", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    claim = Claim("workers", "memory grows by less than one library process per worker", file=arguments.json)
    for model in arguments.models:
        claim.add(f"{model}, library", **library(model))
        for count in arguments.counts:
            claim.add(f"{model}, server with {count} workers", **serving(model, count))
    claim.report(arguments.json)


if __name__ == "__main__":
    main()
