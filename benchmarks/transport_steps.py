"""Measures what the steps of the transport add to the time of a clip.

    python benchmarks/transport_steps.py [--model base] [--json FILE]

Heads of one size with random weights, from pooled features to scores, and whole clips with the bundled model run in
turn, on one thread. What a head with N steps takes more than one with N = 0 is compared with the time of a clip. N = 0
reads the estimate at the first time without a step. With "state: network" every step runs the network again, as in the
paper and in the bundled models; with "state: posterior" the network runs once and the steps are two constants.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

from _common import Claim, alternated, parser
from _model import add_model_option, clip_of, head_session, model_for

import genser

LENGTHS, STEPS = (1.0, 3.5, 10.0), (0, 1, 4, 20)
STATES = ("network", "posterior")


def measure(claim: Claim, arguments: argparse.Namespace, folder: Path) -> None:
    small = arguments.toy
    lengths, steps = (LENGTHS[:1], (0, 4)) if small else (LENGTHS, STEPS)
    model = genser.load(model_for(arguments, folder), threads=1)
    works = {f"clip of {length:g} s": partial(model.scores, [clip_of(length)]) for length in lengths}
    nodes = {}
    for state in STATES:
        for n in steps:
            name = f"head, state: {state}, N = {n}"
            session, inputs, nodes[name] = head_session(steps=n, state=state, toy=small)
            works[name] = partial(session.run, None, inputs)
    taken = dict(zip(works, alternated(list(works.values()), arguments.repeats), strict=True))
    milliseconds = {name: 1e3 * one.processor for name, one in taken.items()}
    for name, own in milliseconds.items():
        if name not in nodes:
            claim.add(name, **{"processor ms": own})
            continue
        added = own - milliseconds[name.rsplit("=", 1)[0] + "= 0"]
        shares = {f"% of {length:g} s": 100 * added / milliseconds[f"clip of {length:g} s"] for length in lengths}
        claim.add(name, **{"processor ms": own, "nodes": nodes[name], **shares})


def main() -> None:
    options = parser(__doc__, toy="a tiny model")
    add_model_option(options)
    options.set_defaults(repeats=31)
    arguments = options.parse_args()
    claim = Claim("transport_steps", "N = 4 adds at most 3 %, N = 20 at most 10 %, to a clip's time")
    claim.settings |= {"toy": arguments.toy, "repeats": arguments.repeats}
    with tempfile.TemporaryDirectory() as folder:
        measure(claim, arguments, Path(folder))
    claim.report(arguments.json)


if __name__ == "__main__":
    main()
