"""Measures whether memory stays flat: clips of random lengths, a long stream and a long recording.

    python benchmarks/memory.py [--clips 50000] [--hours 8] [--model tiny] [--json FILE]

Resident memory after 10, 25, 50, 75 and 100 % of the work, in this process for the library, and in its own process for
the server. Every clip is cut from the synthetic example and has another length, of 0.3 to 1.5 s. A stream gets the same
speech in blocks of 1 s, as fast as they are taken; the server's holds as many hours as it allows at most.
"""

import asyncio
import gc
import io
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import server
import soundfile
from _common import Claim, parser
from _model import model_for
from websockets.asyncio.client import connect

import genser
from genser.audio import SAMPLE_RATE, load_audio
from genser.segments.timeline import recognize_timeline

SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
LENGTHS = (0.3, 1.5)  # s
CONNECTIONS = 4
HOURS_OF_SERVER = 4  # --max-recording by default
EXAMPLE = Path(__file__).parent.parent / "examples" / "synthetic.flac"


def clips(count: int) -> Iterator[np.ndarray]:
    speech, rng = np.tile(load_audio(EXAMPLE), 2), np.random.default_rng(0)
    for _ in range(count):
        length = int(rng.uniform(*LENGTHS) * SAMPLE_RATE)
        start = int(rng.integers(len(speech) - length))
        yield speech[start : start + length]


def own_memory() -> float:
    gc.collect()
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


class Watch:
    """Notes the memory at the shares of the work."""

    def __init__(self, total: int, memory: Callable[[], float]) -> None:
        self._memory, self._at = memory, {max(round(share * total), 1): f"MB at {share:.0%}" for share in SHARES}
        self.numbers: dict[str, float] = {}

    def done(self, count: int) -> None:
        if count in self._at:
            self.numbers[self._at[count]] = self._memory()


def library_clips(model: str, count: int) -> dict[str, float]:
    recognizer, watch = genser.load(model), Watch(count, own_memory)
    for number, clip in enumerate(clips(count), 1):
        recognizer.predict((clip, SAMPLE_RATE))
        watch.done(number)
    return watch.numbers


def library_stream(model: str, hours: float) -> dict[str, float]:
    blocks = max(round(3600 * hours), 1)
    watch, stream, speech = Watch(blocks, own_memory), genser.load(model).stream(SAMPLE_RATE), load_audio(EXAMPLE)
    for number in range(blocks):
        stream.push(block_of(speech, number))
        watch.done(number + 1)
    return watch.numbers


def library_recording(model: str, hours: float) -> dict[str, float]:
    """Segments of one long file; the times are those of the recognition's progress."""
    blocks = max(round(3600 * hours), 1)
    speech = load_audio(EXAMPLE)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.flac"
        with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, format="FLAC") as file:
            for number in range(blocks):
                file.write(block_of(speech, number))
        watch, reached = Watch(blocks, own_memory), [0]

        def progress(seconds: float, _total: float | None) -> None:
            while reached[0] < min(round(seconds), blocks):
                reached[0] += 1
                watch.done(reached[0])

        recognize_timeline(genser.load(model), path, progress=progress)
        progress(float(blocks), None)
    return watch.numbers


def block_of(speech: np.ndarray, number: int) -> np.ndarray:
    """The next second of endless speech."""
    return np.take(speech, range(number * SAMPLE_RATE, (number + 1) * SAMPLE_RATE), mode="wrap")


async def server_clips(port: int, count: int, watch: Watch) -> None:
    remaining, answered = clips(count), 0

    async def client() -> None:
        nonlocal answered
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for clip in remaining:
            file = io.BytesIO()
            soundfile.write(file, clip, SAMPLE_RATE, format="WAV")
            writer.write(server.request_of(file.getvalue()))
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            assert head[9:12] == b"200", head
            answered += 1
            watch.done(answered)
        writer.close()

    await asyncio.gather(*(client() for _ in range(CONNECTIONS)))


async def server_stream(port: int, hours: float, watch: Watch) -> None:
    speech = load_audio(EXAMPLE)
    async with connect(f"ws://127.0.0.1:{port}/v1/stream", open_timeout=60) as socket:
        await socket.send(json.dumps({"type": "start"}))
        await socket.recv()
        for number in range(max(round(3600 * hours), 1)):
            await socket.send((32767 * block_of(speech, number)).astype("<i2").tobytes())
            while json.loads(await socket.recv())["type"] != "progress":
                pass
            watch.done(number + 1)


def measure_server(claim: Claim, model: str, count: int, hours: float) -> None:
    process, port = server.started(model)
    try:
        watch = Watch(count, lambda: server.memory(process))
        asyncio.run(server_clips(port, count, watch))
        claim.add(f"server, {count:,} clips", **watch.numbers)
        hours = min(hours, HOURS_OF_SERVER - 1 / 3600)
        watch = Watch(max(round(3600 * hours), 1), lambda: server.memory(process))
        asyncio.run(server_stream(port, hours, watch))
        claim.add(f"server, WebSocket of {hours:.1f} h", **watch.numbers)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def main() -> None:
    options = parser(__doc__, toy="a tiny model, a few clips and seconds")
    options.add_argument("--model", default=None, help="bundled name or ONNX file (default: tiny)")
    options.add_argument("--clips", type=int, default=50_000)
    options.add_argument("--hours", type=float, default=8.0)
    arguments = options.parse_args()
    count, hours = (40, 10 / 3600) if arguments.toy else (arguments.clips, arguments.hours)
    claim = Claim("memory", "flat: at most 5 MB more at the end of the work than at a quarter of it")
    claim.settings |= {"toy": arguments.toy, "clips": count, "hours": hours}
    with tempfile.TemporaryDirectory() as folder:
        arguments.model = arguments.model or (None if arguments.toy else "tiny")
        model = model_for(arguments, Path(folder))
        claim.add(f"library, {count:,} clips", **library_clips(model, count))
        claim.add(f"library, stream of {hours:.1f} h", **library_stream(model, hours))
        claim.add(f"library, recording of {hours:.1f} h", **library_recording(model, hours))
        measure_server(claim, model, count, hours)
    claim.report(arguments.json)


if __name__ == "__main__":
    main()
