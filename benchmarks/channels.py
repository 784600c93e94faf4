"""Measures what a constant offset, hum, and cancelling channels cost.

    python benchmarks/channels.py MANIFEST [--clips 200] [--model base] [--json FILE]

The manifest has the columns path and label. Of every clip, the label is recognised as it is and after each disturbance;
"right" counts the labels that are those of the manifest, "changed" those that differ from the label of the clip as it
is. In the rows of two microphones, the second one has the sound later by so many milliseconds; the plain mean of both
is compared with what genser makes of them.
"""

import argparse
from collections.abc import Callable

import numpy as np
from _common import Claim, parser

import genser
from genser.audio import SAMPLE_RATE, load_audio
from genser.data.manifest import read_manifest

DELAYS = (0.1, 0.3, 0.5, 1.0, 2.0, 5.0)  # ms
Change = Callable[[np.ndarray], np.ndarray]


def hum(samples: np.ndarray) -> np.ndarray:
    """Add a tone of 50 Hz at 0.5 % of full scale."""
    return samples + 0.005 * np.sin(2 * np.pi * 50 * np.arange(len(samples)) / SAMPLE_RATE)


DISTURBANCES: dict[str, Change] = {
    "as it is": lambda samples: samples,
    "offset 0.001": lambda samples: samples + 0.001,
    "offset 0.005": lambda samples: samples + 0.005,
    "offset 0.02": lambda samples: samples + 0.02,
    "50 Hz at 0.005": hum,
}


def later(samples: np.ndarray, milliseconds: float) -> np.ndarray:
    """The samples so many milliseconds later."""
    spectrum = np.fft.rfft(samples, 2 * len(samples))
    turn = np.exp(-2j * np.pi * np.arange(len(spectrum)) / (2 * len(samples)) * milliseconds * SAMPLE_RATE / 1000)
    return np.fft.irfft(spectrum * turn)[: len(samples)].astype(np.float32)


def measure(claim: Claim, arguments: argparse.Namespace) -> None:
    """Fill the table."""
    recognizer = genser.load(arguments.model)
    items = [item for item in read_manifest(arguments.manifest) if item.label in recognizer.labels]
    chosen = np.random.default_rng(0).permutation(len(items))[: arguments.clips]
    truth = [items[index].label for index in chosen]
    clips = [load_audio(items[index].path) for index in chosen]
    plain = [prediction.label for prediction in recognizer.predict_waveforms(clips)]

    def add(what: str, change: Change) -> None:
        sources = [(np.asarray(change(clip), np.float32), SAMPLE_RATE) for clip in clips]
        labels = [prediction.label for prediction in recognizer.predict_many(sources)]
        right = sum(label == wanted for label, wanted in zip(labels, truth, strict=True))
        changed = sum(label != before for label, before in zip(labels, plain, strict=True))
        claim.add(what, right=right, changed=changed, clips=len(clips))

    for name, change in DISTURBANCES.items():
        add(name, change)
    for delay in DELAYS:
        add(f"plain mean, {delay:g} ms", lambda clip, by=delay: (clip + later(clip, by)) / 2)
        add(f"genser's mix, {delay:g} ms", lambda clip, by=delay: np.stack([clip, later(clip, by)], axis=1))


def main() -> None:
    """Run it from the command line."""
    options = parser(__doc__ or "")
    options.add_argument("manifest", help="table with the columns path and label")
    options.add_argument("--clips", type=int, default=200, help="clips that are drawn")
    options.add_argument("--model", default="base", help="model, as for genser predict")
    arguments = options.parse_args()
    settings = {name: value for name, value in vars(arguments).items() if name != "json"}
    claim = Claim("channels", "an offset or hum changes as few labels as possible", settings=settings)
    measure(claim, arguments)
    claim.report(arguments.json)


if __name__ == "__main__":
    main()
