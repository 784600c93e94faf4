"""Measures the time of `genser predict` on one clip, from the start of the process to its end.

    python benchmarks/cold_start.py [--model base] [--repeats 7] [--imports] [--json FILE]

Every run is a process of its own. The floor is a process that does only what is necessary: start Python, import NumPy
and ONNX Runtime, load the same graph and run it on the same samples. The parts are processes that stop earlier.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from _common import Claim, alternated, parser
from _model import add_model_option, clip_of, model_for

from genser.inference.load import find_model

FLOOR = """
import numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.log_severity_level = 3
session = onnxruntime.InferenceSession({model!r}, options, providers=["CPUExecutionProvider"])
samples = numpy.load({samples!r})
session.run(None, {{"waveform": samples[None], "lengths": numpy.array([len(samples)])}})
"""


def commands(model: str, clip: Path, samples: Path) -> dict[str, list[str]]:
    floor = FLOOR.format(model=str(find_model(model)), samples=str(samples))
    return {
        "python": [sys.executable, "-c", "pass"],
        "python, numpy, onnxruntime": [sys.executable, "-c", "import numpy, onnxruntime"],
        "floor: with the graph loaded and run": [sys.executable, "-c", floor],
        "import genser": [sys.executable, "-c", "import genser"],
        "genser --version": [sys.executable, "-m", "genser", "--version"],
        "genser predict": [sys.executable, "-m", "genser", "predict", str(clip), "--model", model],
    }


def run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "ORT_DISABLE_TELEMETRY": "1"})


def imports_of(command: list[str]) -> list[tuple[str, float]]:
    """The slowest modules that a command imports, with the seconds of each alone."""
    timed = [command[0], "-X", "importtime", *command[1:]]
    lines = subprocess.run(timed, check=True, capture_output=True, text=True).stderr.splitlines()
    parts = [line.removeprefix("import time:").split("|") for line in lines if line.startswith("import time:")][1:]
    found = [(name.strip(), int(own) / 1e6) for own, _, name in parts]
    return sorted(found, key=lambda part: -part[1])[:15]


def measure(claim: Claim, arguments: argparse.Namespace, folder: Path) -> None:
    model = model_for(arguments, folder)
    clip, samples = folder / "clip.wav", folder / "clip.npy"
    sound = clip_of(arguments.seconds)
    soundfile.write(clip, sound, 16_000)
    np.save(samples, sound)
    listed = commands(model, clip, samples)
    taken = dict(zip(listed, alternated([lambda c=c: run(c) for c in listed.values()], arguments.repeats), strict=True))
    floor = taken["floor: with the graph loaded and run"].seconds
    for name, one in taken.items():
        numbers = {"over the floor": one.seconds / floor, "processor seconds": one.processor}
        claim.add(name, seconds=one.seconds, **numbers)
    if arguments.imports:
        for name, value in imports_of(listed["genser predict"]):
            claim.add(f"import of {name}", seconds=value)


def main() -> None:
    options = parser(__doc__, toy="a tiny model")
    add_model_option(options)
    options.add_argument("--seconds", type=float, default=3.5, help="length of the clip")
    options.add_argument("--imports", action="store_true", help="also list the slowest imports")
    arguments = options.parse_args()
    claim = Claim("cold_start", "0.45 s for one clip with the start of the process, 0.05 s for import genser")
    claim.settings |= {
        "seconds of sound": arguments.seconds,
        "model": arguments.model or "base or random",
        "toy": arguments.toy,
    }
    with tempfile.TemporaryDirectory() as folder:
        measure(claim, arguments, Path(folder))
    claim.report(arguments.json)


if __name__ == "__main__":
    main()
