"""Measures how many seconds of speech a GPU encodes per second, relative to the limit of its arithmetic.

    python benchmarks/encode_gpu.py [--minutes 120] [--json FILE]        # about a minute: --minutes 30 --repeats 2

The encoder is HuBERT-large with random weights (24 layers of width 1024, layer norms in the front end), the clips are
noise of 1 to 15 s. Variants: transformers in float32 and under bfloat16 autocast, in padded batches of clips of similar
length, every hidden state averaged; `genser.encoders.encode` in float32 and bfloat16; packed_hubert.py in bfloat16,
which packs clips end to end. Seconds of audio count without padding. The limit is the measured rate of a large bfloat16
product divided by the operations for one second of audio. The means of each variant are compared with those of
transformers in float32 on some clips: smallest cosine over clips and states. The last lines decode the same clips from
FLAC files in threads and in processes; decoding must keep up with encoding.
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import Claim, ceilings, device_median, lengths_of, parser, part, seconds
from packed_hubert import encode_packed
from transformers import HubertConfig, HubertModel

from genser.encoders import encode
from genser.encoders.hubert import HubertEncoder

RATE = 16_000
SHORTEST, LONGEST = 1.0, 15.0  # seconds
COMPARED = 24  # clips
DECODED = 256  # clips


def hubert(toy: bool) -> HubertEncoder:
    sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 48, "conv_dim": (16,) * 7, "num_conv_pos_embedding_groups": 4}
    if not toy:
        sizes = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
    torch.manual_seed(0)
    form = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True, "feat_proj_layer_norm": True}
    return HubertEncoder(HubertModel(HubertConfig(**form, **sizes)).eval().requires_grad_(False), True, "hubert-large")


def clips_of(total: float, seed: int = 0) -> list[np.ndarray]:
    """Noise of varying level, of uniformly drawn lengths that sum up to about so many seconds."""
    rng = np.random.default_rng(seed)
    lengths = rng.uniform(SHORTEST, LONGEST, int(2 * total / (SHORTEST + LONGEST)) + 1)
    noise = rng.standard_normal(int(2 * LONGEST * RATE)).astype(np.float32)
    wave = 0.1 * (1 + np.sin(np.arange(len(noise)) * 2e-3).astype(np.float32))
    return [np.roll(noise * wave, int(length * 999))[: int(length * RATE)] for length in lengths]


def operations(encoder: HubertEncoder) -> float:
    """Multiplications and additions for one second of audio, with attention over 8 s."""
    config = encoder.model.config
    frames, channels, total = float(RATE), 1, 0.0
    for width, kernel, stride in zip(config.conv_dim, config.conv_kernel, config.conv_stride, strict=True):
        frames /= stride
        total += 2 * frames * channels * width * kernel
        channels = width
    dim, inner = config.hidden_size, config.intermediate_size
    position = dim // config.num_conv_pos_embedding_groups * config.num_conv_pos_embeddings
    layer = 4 * dim + 2 * inner + 2 * 8 * frames
    return total + 2 * frames * dim * (channels + position + config.num_hidden_layers * layer)


@torch.inference_mode()
def plain(encoder: HubertEncoder, clips: list[np.ndarray], batch_seconds: float, bf16: bool) -> np.ndarray:
    """Means by transformers, as its documentation describes: padded batches, all hidden states kept, then averaged."""
    device = next(encoder.parameters()).device
    order = sorted(range(len(clips)), key=lambda index: -len(clips[index]))
    means = np.zeros((len(clips), encoder.states, encoder.dim), np.float32)
    while order:
        size = max(int(batch_seconds * RATE / len(clips[order[0]])), 1)
        batch, order = order[:size], order[size:]
        padded = np.zeros((len(batch), len(clips[batch[0]])), np.float32)
        mask = np.zeros(padded.shape, np.int64)
        for row, index in enumerate(batch):
            clip = clips[index]
            padded[row, : len(clip)] = (clip - clip.mean()) / np.sqrt(clip.var() + 1e-7)
            mask[row, : len(clip)] = 1
        inputs = torch.from_numpy(padded).to(device), torch.from_numpy(mask).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            output = encoder.model(inputs[0], attention_mask=inputs[1], output_hidden_states=True)
        states = [*output.hidden_states[:-1], output.last_hidden_state]  # the former lack the final norm
        counts = encoder.model._get_feat_extract_output_lengths(inputs[1].sum(1))
        frames = (torch.arange(states[0].shape[1], device=device) < counts[:, None])[:, :, None]
        pooled = [torch.where(frames, state.float(), 0.0).sum(1) / counts[:, None] for state in states]
        means[batch] = torch.stack(pooled, dim=1).cpu().numpy()
    return means


def cosine(exact: np.ndarray, other: np.ndarray) -> float:
    dot = (exact.astype(np.float64) * other).sum(-1)
    return float((dot / np.linalg.norm(exact, axis=-1) / np.linalg.norm(other, axis=-1)).min())


def measure_encoding(
    claim: Claim, arguments: argparse.Namespace, encoder: HubertEncoder, clips: list[np.ndarray], device: torch.device
) -> None:
    found = ceilings(device, arguments.repeats, arguments.toy)
    limit = found["operations/s"] / operations(encoder)
    claim.settings |= {**found, "operations per second of audio": operations(encoder), "limit": limit}
    batch = arguments.batch_seconds
    works: dict[str, Callable[[list[np.ndarray]], np.ndarray]] = {
        "transformers, float32": lambda part: plain(encoder, part, batch / 5, False),
        "transformers, bfloat16": lambda part: plain(encoder, part, batch / 5, True),
        "genser, float32": lambda part: encode(encoder, part, batch_seconds=batch / 5),
        "genser, bfloat16": lambda part: encode(encoder, part, batch_seconds=batch / 5, bf16=True),
        "packed, bfloat16": lambda part: encode_packed(encoder, part, batch),
    }
    compared = clips[:COMPARED]
    exact = works["transformers, float32"](compared)
    peer = None
    for name, work in works.items():
        some = clips if "bfloat16" in name else clips[: max(len(clips) // 8, COMPARED)]
        with part(claim, name):
            taken = device_median(lambda work=work, some=some: work(some), arguments.repeats, device)
            speed = sum(map(len, some)) / RATE / taken
            peer = speed if name == "transformers, bfloat16" else peer
            numbers = {"x real time": speed, "share of the limit": speed / limit}
            if peer and "transformers" not in name:
                numbers["over transformers"] = speed / peer
            claim.add(name, **numbers, cosine=cosine(exact, work(compared)))


def measure_decoding(claim: Claim, clips: list[np.ndarray]) -> None:
    if not (find_spec("soundfile") and find_spec("soxr")):
        claim.add("decoding: soundfile and soxr are not installed")
        return
    import soundfile

    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder, f"{index}.flac")) for index in range(len(clips))]
        for path, clip in zip(paths, clips, strict=True):
            soundfile.write(path, np.clip(clip, -1, 1), RATE)
        parts = [paths[start : start + 16] for start in range(0, len(paths), 16)]
        pools: dict[str, Callable[[], Executor]] = {
            f"decoding, {cores} threads": lambda: ThreadPoolExecutor(cores),
            f"decoding, {cores} processes": lambda: ProcessPoolExecutor(cores, mp_context=get_context("forkserver")),
        }
        for name, pool in pools.items():
            with pool() as workers:
                list(workers.map(lengths_of, parts[:cores]))  # starts them
                taken = seconds(lambda workers=workers: list(workers.map(lengths_of, parts)))
            claim.add(name, **{"x real time": sum(map(len, clips)) / RATE / taken})


def main() -> None:
    options = parser(__doc__, toy="tiny network and few clips")
    options.set_defaults(repeats=3)
    options.add_argument("--minutes", type=float, default=120.0, help="minutes of audio")
    options.add_argument("--batch-seconds", type=float, default=600.0, help="seconds of audio in a bfloat16 batch")
    arguments = options.parse_args()
    if arguments.toy:  # a pack always has the length of a whole batch
        arguments.minutes, arguments.batch_seconds = 0.3, 30.0
    device = torch.device("cuda" if torch.cuda.is_available() and not arguments.toy else "cpu")
    claim = Claim("encode_gpu", "close to the limit of the arithmetic, with a cosine of 0.999 or more for every mean")
    claim.file = arguments.json
    clips = clips_of(60 * arguments.minutes)
    claim.settings |= {"minutes": arguments.minutes, "clips": len(clips), "toy": arguments.toy, "device": str(device)}
    measure_encoding(claim, arguments, hubert(arguments.toy).to(device), clips, device)
    with part(claim, "decoding"):
        measure_decoding(claim, clips[:DECODED])
    claim.report(arguments.json)


if __name__ == "__main__":
    main()
