"""Measures memory and time for a recording of two hours, recognised as one clip and over time.

    python benchmarks/long_file.py [--hours 2] [--model base] [--json FILE]

The recording is synthetic: 44.1 kHz, stereo, FLAC. Each run is a process of its own, whose peak resident memory counts,
with Python and the model; a run on one minute of the same recording shows how much of it does not grow. The floor is
decoding and resampling alone.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from _common import Claim, parser
from _model import add_model_option, clip_of, model_for

RATE = 44_100
RUN = """
import json, resource, sys, time
import genser
start = time.perf_counter()
{work}
print(json.dumps([time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""
WORKS = {
    "decoding alone": "from genser.audio import stream_audio\nfor block in stream_audio({path!r}): pass",
    "predict": "genser.load({model!r}).predict({path!r})",
    "segments": "list(genser.load({model!r}).segments({path!r}))",
}


def recording(path: Path, seconds: float) -> Path:
    """Write stretches of noise with pauses."""
    pause = 1e-3 * clip_of(1.5, 9, RATE)
    period = np.concatenate([part for seed in range(4) for part in (clip_of(7.0, seed, RATE), pause)])
    period = np.stack([period, period[::-1]], axis=1)
    with soundfile.SoundFile(path, "w", RATE, 2, format="FLAC") as file:
        left = round(seconds * RATE)
        while left > 0:
            file.write(period[:left])
            left -= len(period)
    return path


def run(work: str, model: str, path: Path) -> tuple[float, float]:
    """Seconds without the start of Python, and peak MB."""
    code = RUN.format(work=work.format(model=model, path=str(path)))
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return tuple(json.loads(answer.stdout.splitlines()[-1]))


def measure(claim: Claim, arguments: argparse.Namespace, folder: Path) -> None:
    model = model_for(arguments, folder)
    for duration in (min(60.0, 1800 * arguments.hours), 3600 * arguments.hours):
        path = recording(folder / "recording.flac", duration)
        for name, work in WORKS.items():
            runs = [run(work, model, path) for _ in range(arguments.repeats)]
            taken, peak = (float(np.median(column)) for column in zip(*runs, strict=True))
            numbers = {"seconds": taken, "x real time": duration / taken, "peak MB": peak}
            claim.add(f"{duration / 60:g} min, {name}", **numbers)


def main() -> None:
    options = parser(__doc__, toy="a tiny model and a minute")
    add_model_option(options)
    options.set_defaults(repeats=1)
    options.add_argument("--hours", type=float, default=2.0)
    arguments = options.parse_args()
    arguments.hours = 1 / 60 if arguments.toy else arguments.hours
    claim = Claim("long_file", "two hours in at most 500 MB, at least 60 x real time, on two cores")
    claim.settings |= {"hours": arguments.hours, "toy": arguments.toy}
    with tempfile.TemporaryDirectory() as folder:
        measure(claim, arguments, Path(folder))
    claim.report(arguments.json)


if __name__ == "__main__":
    main()
