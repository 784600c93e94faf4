"""Measures how much storing features slows down encoding.

    python benchmarks/store_overhead.py [--clips 300] [--json FILE]

The same clips go through the same encoder (size of Whisper base, random weights) in turn: encoded only, and encoded and
written to a store on the disk. A GPU encodes far faster, so the last line gives the rate of the store alone, for rows
of 25 x 1024 (HuBERT large).
"""

import argparse
import itertools
import tempfile
from pathlib import Path

import numpy as np
import torch
from _common import Claim, alternated, keys_of, median, parser
from _model import clip_of

from genser.data.store import FeatureStore
from genser.encoders import encode
from genser.encoders.whisper import WhisperConfig, WhisperEncoder

LARGE = (25, 1024)  # HuBERT-large's states
CLIP = 4.0  # seconds


def measure(claim: Claim, arguments: argparse.Namespace, folder: Path) -> None:
    torch.manual_seed(0)
    size = WhisperConfig(dim=64, layers=1, heads=1, inner=64) if arguments.toy else WhisperConfig()
    encoder = WhisperEncoder(size).eval().requires_grad_(False)
    clips = [clip_of(CLIP, seed % 8) for seed in range(arguments.clips)]
    store = FeatureStore(folder / "small", "benchmark", (encoder.states, encoder.dim))
    runs = itertools.count()

    def stored() -> None:
        rows = encode(encoder, clips)
        with store.writing():
            store.add_many(keys_of(len(clips), next(runs)), rows)

    alone, together = alternated([lambda: encode(encoder, clips), stored], arguments.repeats)
    slower, worked = (100 * (now / before - 1) for now, before in zip(together, alone, strict=True))
    claim.add("encoded", **{"clips/s": len(clips) / alone.seconds})
    numbers = {"clips/s": len(clips) / together.seconds, "% slower": slower, "% of processors": worked}
    claim.add("encoded and stored", **numbers)
    large = FeatureStore(folder / "large", "benchmark", LARGE)
    rows = np.random.default_rng(0).standard_normal((256, *LARGE)).astype(np.float32)

    def written() -> None:
        with large.writing():
            large.add_many(keys_of(256, next(runs)), rows)

    taken = median(written, arguments.repeats)
    claim.add("25 x 1024, store alone", **{"clips/s": 256 / taken, "x real time": 256 * CLIP / taken})


def main() -> None:
    options = parser(__doc__, toy="a tiny encoder and 8 clips")
    options.add_argument("--clips", type=int, default=300)
    arguments = options.parse_args()
    arguments.clips = 8 if arguments.toy else arguments.clips
    claim = Claim("store_overhead", "storing slows encoding by at most 5 %")
    claim.settings |= {"clips": arguments.clips, "toy": arguments.toy}
    with tempfile.TemporaryDirectory() as folder:
        measure(claim, arguments, Path(folder))
    claim.report(arguments.json)


if __name__ == "__main__":
    main()
