"""What a bench will take in time, disk and memory: counts of its parts times what one part takes here.

A few clips are decoded and encoded, and each head takes a few steps on random features, on the device of the bench.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

import numpy as np
import torch

from genser.audio import SAMPLE_RATE, load_audio
from genser.bench.plan import BenchPlan, HeadPlan
from genser.bench.runner import BenchSettings
from genser.data.features import decoders
from genser.data.manifest import read_manifest
from genser.data.splits import folds
from genser.data.times import duration_text
from genser.data.utterance import Utterance
from genser.encoders import EncoderConfig, encode, load_encoder
from genser.errors import GenserError, ManifestError, counted
from genser.model.heads import make_head
from genser.training.batches import TrainingData
from genser.training.train import train

CLIPS = 12
"""Clips that are decoded and encoded, evenly chosen."""

STEPS = {"cpu": 3, "cuda": 40}
"""Timed steps of each head; those on a GPU are short, and the first ones are recorded."""

CLASSES = tuple("abcdefg")
COPIES_OF_WEIGHTS = 5  # weights, gradient, two moments and average


@dataclass(frozen=True)
class EncoderTiming:
    """Clips that were decoded and encoded.

    Attributes:
        name: Of the encoder.
        clips: Number of clips.
        audio: Mean seconds of audio.
        seconds: Mean seconds for one.
        shape: States and dimensions of a feature row.
        bytes: Size of the weights in memory.
    """

    name: str
    clips: int
    audio: float
    seconds: float
    shape: tuple[int, int]
    bytes: int


@dataclass(frozen=True)
class HeadTiming:
    """Steps of a head.

    Attributes:
        name: Of the head.
        runs: How often it is trained.
        steps: Steps of one run.
        seconds: Median seconds of a step.
        bytes: Size of its weights.
    """

    name: str
    runs: int
    steps: int
    seconds: float
    bytes: int


@dataclass(frozen=True)
class Estimate:
    """The cost of a bench with one encoder; see :func:`estimate`."""

    rows: int
    encoder: EncoderTiming
    heads: tuple[HeadTiming, ...]
    jobs: int
    device: str

    @property
    def feature_bytes(self) -> int:
        """Size of all features."""
        return self.rows * self.encoder.shape[0] * self.encoder.shape[1] * 4

    @property
    def encode_seconds(self) -> float:
        """Time to decode and encode all rows."""
        return self.rows * self.encoder.seconds

    @property
    def train_seconds(self) -> float:
        """Time of all steps."""
        return sum(head.runs * head.steps * head.seconds for head in self.heads) / self.jobs

    def __str__(self) -> str:
        encoder, features = self.encoder, _size(self.feature_bytes)
        job = _size(2 * self.feature_bytes + COPIES_OF_WEIGHTS * max(head.bytes for head in self.heads))
        steps = "; ".join(
            f"{head.name} {counted(head.runs, 'run')} of {counted(head.steps, 'step')} at {duration_text(head.seconds)}"
            for head in self.heads
            if head.seconds
        )
        together = encoder.bytes + self.feature_bytes
        return "\n".join(
            (
                f"Cost with {encoder.name}, from the start (what is finished is not repeated):",
                f"  time: about {duration_text(self.encode_seconds + self.train_seconds)}: "
                f"{duration_text(self.encode_seconds)} for features, {duration_text(self.train_seconds)} for training",
                f"  disk: {features} of features, which stay, and the same again while heads are trained",
                f"  memory: {_size(together)} for encoder and features, and up to {job} for each of "
                f"{counted(self.jobs, 'job')}",
                f"  assumed: {counted(self.rows, 'clip')} of {encoder.audio:.1f} s, {duration_text(encoder.seconds)} "
                f"to decode and encode one (means of {counted(encoder.clips, 'clip')}, measured here on {self.device})",
                f"  assumed: {steps or 'no steps'} (measured here, one job at a time)",
                "  not counted: downloads, scoring, the report, and intermediate results in memory",
            )
        )


def estimate(benches: Sequence[BenchSettings], plans: Sequence[BenchPlan]) -> Iterator[Estimate]:
    """Work out the cost of benches that share their clips, such as those of emotion and gender, for each encoder.

    Args:
        benches: They differ in the task only.
        plans: One for each encoder.

    Raises:
        ManifestError: None of the timed clips can be read.
    """
    first = benches[0]
    utterances = [item for path in first.manifests for item in read_manifest(path)]
    parts = len(benches) * len(folds(utterances, first.protocol, k=first.k, incomplete=True))
    for plan in plans:
        rows = len(utterances) * (1 + plan.most_copies.augmented_copies)
        for config in plan.encoders.values():
            timing = _time_encoder(config, utterances, first.device)
            threads = torch.get_num_threads()
            torch.set_num_threads(1 if first.device == "cpu" else threads)  # as in the processes of a bench
            heads = tuple(_time_head(plan, head, timing.shape, parts, first.device) for head in plan.heads)
            torch.set_num_threads(threads)
            yield Estimate(rows, timing, heads, first.jobs, first.device)


def _time_encoder(config: EncoderConfig, utterances: Sequence[Utterance], device: str) -> EncoderTiming:
    encoder = load_encoder(config, device)
    bf16 = device.startswith("cuda")
    chosen = np.unique(np.linspace(0, len(utterances) - 1, CLIPS).round().astype(int))
    clips, started = [], time.perf_counter()
    for index in chosen:
        item = utterances[index]
        try:
            clips.append(load_audio(item.path, start=item.start, end=item.end))
        except (GenserError, OSError):
            continue  # the bench reports it
    decoding = (time.perf_counter() - started) / decoders()
    if not clips:
        raise ManifestError(f"None of {counted(len(chosen), 'clip')} can be read, such as {utterances[0].path}.")
    encode(encoder, clips[:1], bf16=bf16)  # the first call also loads kernels
    started = time.perf_counter()
    encode(encoder, clips, bf16=bf16)
    seconds = (time.perf_counter() - started + decoding) / len(clips)
    audio = sum(map(len, clips)) / len(clips) / SAMPLE_RATE
    size = sum(tensor.nbytes for tensor in encoder.parameters())
    return EncoderTiming(encoder.name, len(clips), audio, seconds, (encoder.states, encoder.dim), size)


def _time_head(plan: BenchPlan, head: HeadPlan, shape: tuple[int, int], parts: int, device: str) -> HeadTiming:
    """Runs of a head in all folds, and the time of a step; a head without steps takes none."""
    config = plan.config(head, head.candidates[0], 0)
    selections = len(head.candidates) * plan.inner_splits if len(head.candidates) > 1 else 0
    variants = plan.variants if head.name == plan.ablated else ()
    trained = [one for one in variants if not (head.has_steps and one.only_sampler)]
    runs = parts * (selections + plan.seeds + len(trained) * plan.ablation_seeds)
    rows = max(2 * config.batch_size, config.feature_transform.components + 1)
    stamps: list[float] = []

    def stamp(_: int, metrics: dict) -> None:
        float(metrics["loss"])  # waits for the device
        stamps.append(time.perf_counter())

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = make_head(config.head_config(CLASSES, *shape)).to(device)
        data = TrainingData(torch.randn(rows, *shape), torch.arange(rows) % len(CLASSES))
        short = replace(config, steps=STEPS["cuda" if device.startswith("cuda") else "cpu"], augmented_copies=0)
        train(network, data, short, on_step=stamp)
    seconds = median(after - before for before, after in pairwise(stamps)) if len(stamps) > 1 else 0.0
    size = sum(tensor.nbytes for tensor in network.parameters())
    return HeadTiming(head.name, runs, config.steps, seconds, size)


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(count / 1e6, 0.1):.1f} MB"
