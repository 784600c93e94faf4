"""Measures the share of real time that recognition takes, from the waveform, on two threads, for any clip length.

    python benchmarks/real_time.py [--also FILE ...] [--json FILE]

Both bundled models, and further ONNX files such as the same model in float32, run in turn. The threads of a model spin
for about 50 ms after its answer and take a core from the next model, so each waits until they have stopped, recognises
a clip for its own threads to start, and then a few clips in a row, which are timed. The last rows give the largest
difference of a score between one and two threads: sums in float32 then differ in their last bits, and the rounding to
eight bits enlarges the difference.
"""

import argparse
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _common import Claim, Taken, parser, taken
from _model import add_also_option, clip_of, compared_models

import genser

LENGTHS = (1.0, 2.0, 3.5, 10.0, 30.0)  # s
THREADS, IN_A_ROW = 2, 8
PAUSE = 0.2  # s
GOALS = {
    "base": {1.0: 0.0028, 3.5: 0.0020, 10.0: 0.0020, 30.0: 0.0022},
    "tiny": {1.0: 0.0014, 3.5: 0.0010, 10.0: 0.0010, 30.0: 0.0012},
}
"""Shares of real time on two cores with VNNI, by the length of a clip in seconds."""


def measure(claim: Claim, models: dict[str, str], lengths: tuple[float, ...], repeats: int) -> None:
    loaded = {name: genser.load(path, threads=THREADS) for name, path in models.items()}
    for length in lengths:
        clip = clip_of(length)
        runs = [[timed(model, clip) for model in loaded.values()] for _ in range(repeats)]
        for name, column in zip(loaded, zip(*runs, strict=True), strict=True):
            found = GOALS.get(name, {}).get(length)
            goal = {"goal": found} if found else {}
            seconds, processor = map(statistics.median, zip(*column, strict=True))
            share, worked = seconds / length / IN_A_ROW, 1e3 * processor / IN_A_ROW
            claim.add(f"{name}, {length:g} s", **{"share of real time": share, **goal, "processor ms": worked})


def compare_threads(claim: Claim, models: dict[str, str], lengths: tuple[float, ...], seeds: int) -> None:
    """Add the largest difference of a score between one thread and two, over clips of all lengths."""
    clips = [clip_of(length, seed) for length in lengths for seed in range(seeds)]
    for name, path in models.items():
        # alone: several clips at once would run on one thread each
        one, two = (
            np.concatenate([model.scores([clip]) for clip in clips])
            for model in (genser.load(path, threads=threads) for threads in (1, THREADS))
        )
        claim.add(f"{name}, 1 and {THREADS} threads", **{"largest difference": float(np.abs(one - two).max())})


def timed(model: Any, clip: Any) -> Taken:
    """Time of a few runs in a row, without the spinning threads of another model."""
    time.sleep(PAUSE)
    model.scores([clip])
    return taken(partial(recognise, model, clip))


def recognise(model: Any, clip: Any) -> None:
    """Recognise a clip a few times in a row."""
    for _ in range(IN_A_ROW):
        model.scores([clip])


def main() -> None:
    options = parser(__doc__, toy="a tiny model")
    add_also_option(options)
    options.set_defaults(repeats=9)
    arguments: argparse.Namespace = options.parse_args()
    claim = Claim("real_time", "base takes 0.0020 of real time and tiny 0.0010, on two threads")
    claim.settings |= {"toy": arguments.toy, "threads": THREADS}
    with tempfile.TemporaryDirectory() as folder:
        models = compared_models(arguments, Path(folder))
        lengths = LENGTHS[:2] if arguments.toy else LENGTHS
        measure(claim, models, lengths, arguments.repeats)
        compare_threads(claim, models, lengths, 1 if arguments.toy else 8)
    claim.report(arguments.json)


if __name__ == "__main__":
    main()
