"""Measures what the steps of the transport add to the time of a clip.

    python benchmarks/transport_steps.py [--head] [--json FILE]

One ONNX file for each N, of the size of Whisper base with random weights; all run in turn on the same clips. N = 0
reads the estimate at the first time without a step. With "state: network" every step runs the network again, as in the
paper; with "state: posterior", that of the packaged recipes, the network runs once and the steps are two constants.
``--head`` measures the head alone, from pooled features to scores: nodes of its graph and time per clip on one thread.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

from _common import Claim, alternated, parser
from _model import clip_of, head_session, random_model

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


def measure_head(claim: Claim, arguments: argparse.Namespace, state: str) -> None:
    steps = (0, 4) if arguments.toy else (0, 4, 20)
    sessions = {n: head_session(steps=n, state=state, toy=arguments.toy) for n in steps}
    works = [partial(session.run, None, {"features": features}) for session, features, _ in sessions.values()]
    for (n, (_, _, nodes)), taken in zip(sessions.items(), alternated(works, arguments.repeats), strict=True):
        claim.add(f"head alone, state: {state}, N = {n}", nodes=nodes, **{"ms a clip": 1e3 * taken.seconds})


def main() -> None:
    options = parser(__doc__, toy="a tiny model")
    options.add_argument("--head", action="store_true", help="measure the head alone")
    options.set_defaults(repeats=31)
    arguments = options.parse_args()
    claim = Claim("transport_steps", "N = 4 adds at most 3 %, N = 20 at most 10 %, to a clip's time")
    claim.settings |= {"toy": arguments.toy, "repeats": arguments.repeats}
    with tempfile.TemporaryDirectory() as folder:
        for state in ("network", "posterior"):
            if arguments.head:
                measure_head(claim, arguments, state)
            else:
                measure(claim, arguments, Path(folder), state)
    claim.report(arguments.json)


if __name__ == "__main__":
    main()
