"""Measures recognition with the bundled models on a GPU, alone and with decoding, against the CPU of the same machine.

    python benchmarks/gpu_inference.py [--seconds 80] [--json FILE]

Every part is independent: if one fails, its row says why and the others are measured. The file is written after each
row.

- **speed**: clips in memory, of 10 s, and of 1 to 6 s as in corpora, in batches of 60, 600 and 2,400 s; the time of a
  single clip. ONNX Runtime on all cores of the CPU, on the clips of 1 to 6 s.
- **precision**: how much faster TF32 and bfloat16 products would be, and what they do to the scores.
- **graph**: torch modules of the same size with random weights, in place of the graph from the file.
- **decoding**: FLAC files of the same clips, decoded alone and recognised, in threads; decoded in processes.
- **difference**: largest difference of a score between GPU and CPU, over synthetic voices of 25 ms to 30 s.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import Claim, device_median, median, parser, part
from _model import random_model

from genser.export.check import _voice, measure_parity
from genser.inference.load import find_model
from genser.inference.onnx_backend import OnnxBackend
from genser.inference.recognizer import Recognizer
from genser.inference.torch_backend import TorchBackend, load_backend, named_outputs
from genser.model import onnx_graph

RATE = 16_000
LARGE = 1 << 16  # numbers in a matrix whose products may be rounded
DISTINCT = 256  # FLAC files
BATCHES = (60.0, 600.0, 2400.0)  # s


def clips_of(total: float, shortest: float, longest: float, seed: int = 0) -> list[np.ndarray]:
    """Synthetic voices of uniformly drawn lengths that sum up to so many seconds; some share samples."""
    random = np.random.default_rng(seed)
    lengths = random.uniform(shortest, longest, round(2 * total / (shortest + longest)))
    sound = np.concatenate([_voice(10 * RATE, random) for _ in range(8)])
    starts = random.integers(0, len(sound) - int(longest * RATE), len(lengths))
    return [sound[start : start + int(length * RATE)] for start, length in zip(starts, lengths, strict=True)]


def spent(backend: Any, clips: Sequence[np.ndarray], batch_seconds: float) -> None:
    """Run a model on all clips."""
    for _ in backend.outputs(clips, batch_seconds * RATE):
        pass


def seconds_of(clips: Sequence[np.ndarray]) -> float:
    return sum(map(len, clips)) / RATE


class Run:
    """A run on one device, with a limit of its duration."""

    def __init__(self, claim: Claim, arguments: argparse.Namespace, device: torch.device) -> None:
        self.claim, self.arguments, self.device = claim, arguments, device
        self.repeats, self.deadline = arguments.repeats, time.monotonic() + arguments.seconds
        total = 20.0 if arguments.toy else 4800.0
        self.ten = clips_of(total, 10.0, 10.0)
        self.short = clips_of(total, 1.0, 6.0, seed=1)

    def part(self, name: str, work: Callable[..., None], *given: Any) -> None:
        """Measure one part; failures and a lack of time become a row."""
        if time.monotonic() > self.deadline:
            self.claim.add(f"{name}: omitted, no time left")
            return
        begin = time.monotonic()
        with part(self.claim, name):
            work(*given)
            self.claim.settings[f"seconds of {name}"] = time.monotonic() - begin

    def rate(self, work: Callable[[], object], audio: float) -> float:
        """Seconds of audio per second."""
        return audio / device_median(work, self.repeats, self.device)

    def speed(self, name: str, backend: TorchBackend) -> None:
        for what, clips in (("10 s", self.ten), ("1 to 6 s", self.short)):
            for batch in BATCHES[:1] if self.arguments.toy else BATCHES:
                speed = self.rate(partial(spent, backend, clips, batch), seconds_of(clips))
                memory = {"GPU MB": self.peak()} if self.device.type == "cuda" else {}
                row = f"{name}, clips of {what}, batches of {batch:g} s"
                self.claim.add(row, **{"x real time": speed}, **memory)
        single = device_median(lambda: spent(backend, self.ten[:1], 60), self.repeats, self.device, inner=5)
        self.claim.add(f"{name}, a clip of 10 s alone", **{"ms": 1e3 * single, "x real time": 10 / single})

    def peak(self) -> float:
        """Largest memory of the GPU since the last call, in MB."""
        used = torch.cuda.max_memory_allocated(self.device) / 2**20
        torch.cuda.reset_peak_memory_stats(self.device)
        return used

    def on_cpu(self, name: str, path: str) -> None:
        backend = OnnxBackend(path)
        some = self.short[: len(self.short) // 8 + 1]
        speed = seconds_of(some) / median(lambda: spent(backend, some, 60), 1)
        self.claim.add(f"{name}, CPU, {backend.threads} threads, clips of 1 to 6 s", **{"x real time": speed})

    def precision(self, name: str, backend: TorchBackend, path: str) -> None:
        for what, rounded in (("float32", nullcontext), ("TF32", tf32), ("bfloat16", bfloat16)):
            with rounded():
                speed = self.rate(partial(spent, backend, self.short, 600), seconds_of(self.short))
                found = difference(backend, OnnxBackend(path), self.arguments.toy)
            self.claim.add(f"{name}, products in {what}, batches of 600 s", **{"x real time": speed, **found})

    def modules(self) -> None:
        model = modules_of_base(self.arguments.toy).to(self.device)
        clips = self.short[: len(self.short) // 4 + 1]
        backend = TorchBackend(named_outputs(model), {"labels": model.head.config.labels}, self.device)
        for what, batch in (("60 s", 60.0), ("600 s", 600.0)):
            speed = self.rate(partial(spent, backend, clips, batch), seconds_of(clips))
            self.claim.add(f"modules of the size of base, batches of {what}", **{"x real time": speed})

    def decoding(self, name: str, recognizer: Recognizer, folder: Path) -> None:
        paths = written(self.short[:DISTINCT], folder)
        audio = seconds_of(self.short[: len(paths)])
        cores = len(os.sched_getaffinity(0))
        alone = audio / self.rate(partial(recognizer.scores, self.short[: len(paths)]), audio)
        with ProcessPoolExecutor(cores, mp_context=get_context("forkserver")) as pool:
            self.in_processes(name, recognizer, paths, pool, alone)
        for workers in sorted({min(4, cores), cores}):
            decoded = median(lambda workers=workers: in_threads(paths, workers), 1)
            times = 1 if self.arguments.toy else workers  # so that a run takes seconds
            many = median(lambda workers=workers, times=times: in_full(recognizer, paths * times, workers), 1, 0)
            many /= times
            self.claim.add(
                f"{name}, from FLAC, {workers} decoding threads",
                **{"x real time": audio / many, "decoding alone, x real time": audio / decoded},
                **{"decoding alone, share": decoded / many, "model alone, share": alone / many},
            )

    def in_processes(
        self, name: str, recognizer: Recognizer, paths: list[str], pool: ProcessPoolExecutor, alone: float
    ) -> None:
        cores, audio = len(os.sched_getaffinity(0)), seconds_of(self.short[: len(paths)])
        parts = [paths[start : start + 4] for start in range(0, len(paths), 4)]
        decoded = median(lambda: list(pool.map(decoded_clips, parts)), self.repeats)  # the first run starts them
        times = 1 if self.arguments.toy else cores
        many = median(lambda: in_full(recognizer, paths * times, 1, pool), 1) / times
        self.claim.add(
            f"{name}, from FLAC, {cores} decoding processes",
            **{"x real time": audio / many, "decoding alone, x real time": audio / decoded},
            **{"decoding alone, share": decoded / many, "model alone, share": alone / many},
        )


@contextmanager
def tf32() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def bfloat16() -> Iterator[None]:
    """Products with large matrices in bfloat16."""
    exact = onnx_graph.OPERATORS["MatMul"]

    def product(attributes: Any, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if b.ndim != 2 or b.numel() < LARGE:
            return exact(attributes, a, b)
        return (a.bfloat16() @ b.bfloat16()).float()

    onnx_graph.OPERATORS["MatMul"] = product
    try:
        yield
    finally:
        onnx_graph.OPERATORS["MatMul"] = exact


def difference(backend: TorchBackend, cpu: OnnxBackend, toy: bool) -> dict[str, float]:
    """Largest difference of a score from ONNX Runtime's on synthetic voices, and share of equal labels."""
    chosen = {"batches": ((0.5,), (1.0, 2.2))} if toy else {}
    parity = measure_parity(cpu.run, backend.run, **chosen)
    return {"largest difference": parity.difference, "same labels": parity.agreement}


def modules_of_base(toy: bool) -> Any:
    """Encoder and head of the size of the bundled base, as torch modules with random weights."""
    from genser.encoders import Pooling
    from genser.encoders.pooling import PooledEncoder
    from genser.encoders.whisper import WhisperConfig, WhisperEncoder
    from genser.model import EstimatorConfig, FeatureTransformConfig, HeadConfig, TransportHead
    from genser.model.speech_model import SpeechModel

    torch.manual_seed(0)
    size = WhisperConfig(dim=64, heads=1, inner=64, layers=3) if toy else WhisperConfig(layers=3)
    pooling = Pooling(("loud-mean", "speech-mean"), (2, 3), high_pass=True, level=True, normalize=True)
    encoder = PooledEncoder(WhisperEncoder(size), pooling)
    network = EstimatorConfig(size.dim, 3, width=64, depth=1, heads=4, tokens="concatenated", ensemble=2)
    transform = FeatureTransformConfig(4, size.dim)
    head = TransportHead(HeadConfig(("a", "b", "c"), network, feature_transform=transform, in_domain_components=8))
    return SpeechModel(encoder, head).eval().requires_grad_(False)


def written(clips: Sequence[np.ndarray], folder: Path) -> list[str]:
    """FLAC files of clips."""
    import soundfile

    paths = [str(folder / f"{number}.flac") for number in range(len(clips))]
    for path, clip in zip(paths, clips, strict=True):
        if not Path(path).exists():
            soundfile.write(path, np.clip(clip, -1, 1), RATE)
    return paths


def decoded_clips(paths: list[str]) -> list[np.ndarray]:
    from genser.audio import load_audio

    return [load_audio(path) for path in paths]


def in_threads(paths: list[str], workers: int) -> None:
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda path: decoded_clips([path]), paths))


def in_full(recognizer: Recognizer, paths: list[str], workers: int, pool: Executor | None = None) -> None:
    errors = [one.error for one in recognizer.predict_many(paths, workers=workers, pool=pool) if one.error]
    if errors:
        raise RuntimeError(errors[0])


def main() -> None:
    options = parser(__doc__, toy="a tiny model and few clips")
    options.set_defaults(repeats=3)
    options.add_argument("--seconds", type=float, default=80.0, help="no part begins later")
    arguments = options.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() and not arguments.toy else "cpu")
    claim = Claim("gpu_inference", "faster than 16 cores can decode; scores within 0.001 of those of the CPU")
    claim.file = arguments.json
    claim.settings |= {"toy": arguments.toy, "device": str(device)}
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: str(find_model(name)) for name in ("base", "tiny")}
        if arguments.toy:
            paths, arguments.seconds = {"toy": str(random_model(Path(folder) / "toy.onnx", toy=True))}, 1e9
        run = Run(claim, arguments, device)
        run.part("modules", run.modules)
        for name, path in paths.items():
            run.part(f"{name}, all", measure_model, run, name, path, Path(folder))
    claim.report(arguments.json)


def measure_model(run: Run, name: str, path: str, folder: Path) -> None:
    backend = load_backend(path, device=str(run.device))
    spent(backend, run.short[:2], 60)
    run.part(f"{name}, speed", run.speed, name, backend)
    run.part(f"{name}, precision and difference", run.precision, name, backend, path)
    run.part(f"{name}, decoding", run.decoding, name, Recognizer(backend), folder)
    run.part(f"{name}, CPU", run.on_cpu, name, path)


if __name__ == "__main__":
    main()
