"""What do the steps of the transport add to the time of a clip?

    python benchmarks/transport_steps.py [--encoder FOLDER] [--json FILE]

One ONNX file for each N, Whisper base's size, random weights, run by turns on the same clips. N = 0 reads the estimate
at the first time without a step. "state: network" asks the network again at every step, as the paper does; "state:
posterior", that of the packaged recipes, asks it once.
"""

import argparse
import tempfile
from pathlib import Path

from _common import Claim, alternated, parser
from _model import clip_of, random_model

import genser


def measure(claim: Claim, arguments: argparse.Namespace, folder: Path, state: str) -> None:
    steps = (0, 4) if arguments.toy else (0, 1, 4, 20)
    options = {"state": state, "toy": arguments.toy}
    loaded = {n: genser.load(random_model(folder / f"{state}-{n}.onnx", steps=n, **options)) for n in steps}
    for count, seconds in ((1, 0.5),) if arguments.toy else ((1, 1.5), (1, 3.5), (1, 10.0), (16, 3.5)):
        clips = [clip_of(seconds, seed) for seed in range(count)]
        works = [lambda model=model, clips=clips: model.scores(clips) for model in loaded.values()]
        times = alternated(works, arguments.repeats)
        for n, taken in zip(steps, times, strict=True):
            added, worked = (100 * (now / first - 1) for now, first in zip(taken, times[0], strict=True))
            numbers = {"ms a clip": 1e3 * taken.seconds / count, "% over N = 0": added, "% of processors": worked}
            claim.add(f"state: {state}, {count} x {seconds} s, N = {n}", **numbers)


def main() -> None:
    made = parser(__doc__, toy="a tiny model")
    made.set_defaults(repeats=31)
    arguments = made.parse_args()
    claim = Claim("transport_steps", "N = 4 adds at most 3 %, N = 20 at most 10 %, to a clip's time")
    claim.settings |= {"toy": arguments.toy, "repeats": arguments.repeats}
    with tempfile.TemporaryDirectory() as folder:
        for state in ("network", "posterior"):
            measure(claim, arguments, Path(folder), state)
    claim.tell(arguments.json)


if __name__ == "__main__":
    main()
