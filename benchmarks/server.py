"""Measures the server: throughput, waiting times, overload, live streams.

    python benchmarks/server.py [--model base] [--seconds 20] [--streams 10,25,50] [--json FILE]

The clips are noise bursts of 3 s, which cost as much as speech. This process generates the load on the same cores, so
the server gets less of them. Every answer is compared with the library's.

- closed: 32 clients, each of which sends the next request as soon as it has an answer, in turn with `predict_many` in
  one process; medians of five rounds. The ratio is to `predict_many`; the ratio beside clients is to what it would
  reach if it shared the cores with the clients.
- 70%: random (Poisson) arrivals at 70 % of that throughput. "Queueing alone" is the waiting time in a server without
  any overhead, with one clip per core and the measured time per clip (M/D/c).
- 300%: arrivals at three times that throughput. Requests may be refused (503, 429); all other answers must be right.
- streams: WebSockets with synthetic speech in real time, one window of 1 s per second each; late is the time from a
  window's end to its segment.
"""

import argparse
import asyncio
import heapq
import io
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
from _common import Claim
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

import genser
from genser.audio import SAMPLE_RATE, load_audio
from genser.audio.augment import cropped
from genser.files import usable_cores

CLIP = 3.0  # s
SOUNDS = 24
CLIENTS = 32
ROUNDS = 5  # of library and server in turn
TOLERANCE = 1e-2  # between a batch and a single run of an int8 model


def sounds() -> list[bytes]:
    """Noise bursts as FLAC files."""
    rng, bodies = np.random.default_rng(0), []
    for _ in range(SOUNDS):
        samples = round(CLIP * SAMPLE_RATE)
        loudness = np.repeat(rng.uniform(0.02, 0.3, samples // 1600), 1600)
        file = io.BytesIO()
        soundfile.write(file, loudness * rng.standard_normal(samples) / 3, SAMPLE_RATE, format="FLAC")
        bodies.append(file.getvalue())
    return bodies


def request_of(body: bytes) -> bytes:
    head = f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: audio/flac\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def percentiles(waits: Sequence[float] | np.ndarray) -> dict[str, float]:
    middle, late = np.percentile(waits, [50, 99])
    return {"p50 ms": 1e3 * middle, "p99 ms": 1e3 * late, "p99/p50": late / middle}


class Load:
    """Clients of one server; counts the outcomes of their requests."""

    def __init__(self, port: int, bodies: list[bytes], expected: list[list[float]]) -> None:
        self.port, self.expected = port, expected
        self.requests = [request_of(body) for body in bodies]
        self.waits: list[float] = []
        self.refused = self.wrong = self.lost = 0

    async def ask(self, which: int, link: tuple | None = None) -> tuple | None:
        """Send a request on a connection, or a new one; return the connection if it can be used again.

        The server may have closed an idle connection; then, as HTTP clients do, the request is sent again.
        """
        begin = time.perf_counter()
        try:
            reader, writer = link or await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(self.requests[which])
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(re.search(rb"content-length: (\d+)", head, re.IGNORECASE)[1])
            answer = json.loads(await reader.readexactly(length))
        except (OSError, asyncio.IncompleteReadError) as error:
            if link and not getattr(error, "partial", b""):
                return await self.ask(which)
            self.lost += 1
            return None
        self.judge(head[9:12], answer, which, time.perf_counter() - begin)
        return reader, writer

    def judge(self, status: bytes, answer: dict, which: int, seconds: float) -> None:
        if status in (b"503", b"429"):
            self.refused += 1
            return
        scores = list(answer["predictions"][0]["scores"].values()) if status == b"200" else []
        self.wrong += not (scores and np.allclose(scores, self.expected[which], atol=TOLERANCE))
        self.waits.append(seconds)

    async def closed(self, seconds: float) -> float:
        """Run clients that send the next request at once; return answers per second."""
        end = time.perf_counter() + seconds

        async def client(number: int) -> None:
            link = None
            while time.perf_counter() < end:
                link = await self.ask(number % SOUNDS, link)
                number += 7

        begin, before = time.perf_counter(), len(self.waits)
        await asyncio.gather(*(client(number) for number in range(CLIENTS)))
        return (len(self.waits) - before) / (time.perf_counter() - begin)

    async def arriving(self, rate: float, seconds: float) -> None:
        """Send requests at random times, independently of the answers."""
        rng, tasks, idle = np.random.default_rng(1), [], []

        async def one(which: int) -> None:
            link = await self.ask(which, idle.pop() if idle else None)
            if link:
                idle.append(link)

        begin, at = time.perf_counter(), 0.0
        while at < seconds:
            at += rng.exponential(1 / rate)
            await asyncio.sleep(max(begin + at - time.perf_counter(), 0))
            tasks.append(asyncio.ensure_future(one(len(tasks) % SOUNDS)))
        await asyncio.gather(*tasks)

    def row(self) -> dict[str, float]:
        counts = {"answered": len(self.waits), "refused": self.refused, "wrong": self.wrong, "lost": self.lost}
        return {**percentiles(self.waits or [np.nan]), **counts}


@cache
def spoken() -> bytes:
    """Return the synthetic clip without pauses at its ends, as s16le; noise would give no segments."""
    clip = load_audio(Path(__file__).parent.parent / "examples" / "synthetic.flac")
    speech = cropped(clip, 1.0, np.random.default_rng(0))
    return (32767 * speech).astype("<i2").tobytes()


async def stream(port: int, seconds: float, late: list[float], wait: float) -> None:
    """Run one live stream in real time, after a wait; append how late each segment arrives."""
    await asyncio.sleep(wait)
    voice = spoken()
    async with connect(f"ws://127.0.0.1:{port}/v1/stream", open_timeout=60) as socket:
        await socket.send(json.dumps({"type": "start", "window": 1.0}))
        await socket.recv()
        begin = time.perf_counter()

        async def listen() -> None:
            async for message in socket:
                answer = json.loads(message)
                if answer["type"] == "segment":
                    late.append(time.perf_counter() - begin - answer["end"])
                if answer["type"] in ("done", "error"):
                    return

        listener = asyncio.ensure_future(listen())
        for step in range(round(10 * seconds)):
            await asyncio.sleep(max(begin + (step + 1) / 10 - time.perf_counter(), 0))
            at = step * 3200 % (len(voice) - 3200)
            await socket.send(voice[at : at + 3200])
        await socket.send('{"type": "stop"}')
        await listener


async def streams(port: int, count: int, seconds: float) -> dict[str, float]:
    late: list[float] = []
    ends = await asyncio.gather(*(stream(port, seconds, late, n / count) for n in range(count)), return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception) and not isinstance(end, ConnectionClosed):
            raise end
    middle, worst = np.percentile(late or [np.nan], [50, 99])
    row = {"p50 late ms": 1e3 * middle, "p99 late ms": 1e3 * worst, "segments": len(late), "wanted": count * seconds}
    return {**row, "turned away": sum(end is not None for end in ends)}


def memory(process: subprocess.Popen) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def started(model: str, *options: str) -> tuple[subprocess.Popen, int]:
    command = [sys.executable, "-m", "genser", "serve", model, "--port", "0", "--max-queue", "64", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if match := re.search(r"running on http://[^:]+:(\d+)", line):
            return process, int(match[1])
    raise SystemExit("The server did not start.")


def in_process(recognizer: genser.Recognizer, bodies: list[bytes], seconds: float) -> float:
    """Return the clips per second of `predict_many`, 16 at a time."""
    done, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        done += sum(1 for _ in recognizer.predict_many(bodies * 4, batch_seconds=16 * CLIP))
    return done / (time.perf_counter() - begin)


def queueing_alone(rate: float, share: float, cores: int, count: int = 200_000) -> dict[str, float]:
    """Simulate the waiting times of a server without overhead: random arrivals, in order, equal work for each clip."""
    rng, work = np.random.default_rng(2), cores / rate
    free, waits, at = [0.0] * cores, np.empty(count), 0.0
    for index, gap in enumerate(rng.exponential(1 / (share * rate), count)):
        at += gap
        done = max(heapq.heappop(free), at) + work
        heapq.heappush(free, done)
        waits[index] = done - at
    return percentiles(waits)


def measure(model: str, seconds: float, counts: list[int]) -> Iterator[tuple[str, dict[str, float]]]:
    bodies, recognizer = sounds(), genser.load(model)
    expected = [list(one.scores.values()) for one in recognizer.predict_many(bodies)]
    process, port = started(model)
    try:
        load, libraries, rates, worked = Load(port, bodies, expected), list[float](), list[float](), 0.0
        for _ in range(ROUNDS):
            libraries.append(in_process(recognizer, bodies, seconds / ROUNDS))
            begin, before = time.process_time(), len(load.waits)
            rates.append(asyncio.run(load.closed(seconds / ROUNDS)))
            worked += (time.process_time() - begin) / (len(load.waits) - before) / ROUNDS  # processor seconds a sound
        rate, library, clients = statistics.median(rates), statistics.median(libraries), worked
        beside = 1 / (1 / library + clients / usable_cores())
        ratios = {"ratio": rate / library, "clients' ms": 1e3 * clients, "ratio beside clients": rate / beside}
        yield "closed", {"per s": rate, "library per s": library, **ratios, **load.row()}
        for share in (0.7, 3.0):
            load, before = Load(port, bodies, expected), memory(process)
            asyncio.run(load.arriving(share * rate, seconds))
            yield f"{share:.0%}", {**load.row(), "MB before": before, "MB after": memory(process)}
        yield "70%, queueing alone", queueing_alone(rate, 0.7, usable_cores())
        for count in counts:
            yield f"{count} streams", asyncio.run(streams(port, count, seconds))
    finally:
        process.terminate()
        process.wait(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="base")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--streams", default="10,25,50,100,200")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    claim = Claim("server", "90 % of predict_many, p99 under twice the median at 70 % load, nothing lost at 300 %")
    claim.settings |= {"model": args.model, "seconds": args.seconds}
    for name, row in measure(args.model, args.seconds, [int(count) for count in args.streams.split(",")]):
        claim.add(name, **row)
        print(f"{name:12} " + "  ".join(f"{key} {value:.4g}" for key, value in row.items()), flush=True)
    claim.report(args.json)


if __name__ == "__main__":
    main()
