"""Measures how the cost of recognition grows with the length, batch and number of clips.

    python benchmarks/growth.py [--model base] [--json FILE]

One quantity grows, the others stay: clips of 3.5 s, one at a time. ``transport_steps.py`` measures the steps.
"""

import argparse
import tempfile
from pathlib import Path

from _common import Claim, alternated, parser
from _model import add_model_option, clip_of, model_for

import genser

LENGTHS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 60.0)
BATCHES = (1, 2, 4, 8, 16)
ITEMS = (1, 10, 100, 400)
CLIP = 3.5  # seconds


def grown(claim: Claim, what: str, works: dict, counts: dict, repeats: int) -> None:
    for value, taken in zip(works, alternated(list(works.values()), repeats), strict=True):
        wall, worked = (1e3 * spent for spent in taken)
        numbers = {"ms": wall, "ms a second of sound": wall / counts[value], "processor ms": worked}
        claim.add(f"{what} {value}", **numbers)


def measure(claim: Claim, arguments: argparse.Namespace, folder: Path) -> None:
    small, repeats = arguments.toy, arguments.repeats
    model = genser.load(model_for(arguments, folder))
    lengths = LENGTHS[:2] if small else LENGTHS
    long = {length: clip_of(length) for length in lengths}
    grown(
        claim,
        "length in s",
        {n: lambda c=c: model.scores([c]) for n, c in long.items()},
        {n: n for n in lengths},
        repeats,
    )
    for what, sizes in (("batch", BATCHES), ("clips in memory", ITEMS)):
        sizes = sizes[:2] if small else sizes
        sets = {n: [clip_of(CLIP, seed % 8) for seed in range(n)] for n in sizes}
        batch = {n: n * CLIP if what == "batch" else 60.0 for n in sizes}
        works = {n: lambda c=c, b=batch[n]: model.scores(c, batch_seconds=b) for n, c in sets.items()}
        grown(claim, what, works, {n: n * CLIP for n in sizes}, repeats if what == "batch" else 3)


def main() -> None:
    options = parser(__doc__, toy="a tiny model")
    add_model_option(options)
    options.set_defaults(repeats=11)
    arguments = options.parse_args()
    claim = Claim("growth", "cost is linear in the length of the audio")
    claim.settings |= {"toy": arguments.toy}
    with tempfile.TemporaryDirectory() as folder:
        measure(claim, arguments, Path(folder))
    claim.report(arguments.json)


if __name__ == "__main__":
    main()
