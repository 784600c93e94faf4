"""Measures into how long windows a clip should be cut: accuracy, agreement and time.

    python benchmarks/window_length.py MANIFEST [--model base] [--json FILE]

Recordings of 12 to 30 s are made of the manifest's clips of the split "test": clips of one speaker and one emotion, one
after the other. Each is recognised as one window, and cut into windows of 10 s if it is longer than the limit of the
row. UA and WA in %, UA as the mean over corpora; agreement and difference are to one window. Times are processor times
of one thread, in turn.
"""

import argparse
from collections import defaultdict
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
from _common import Claim, alternated, parser

import genser
from genser.audio import SAMPLE_RATE, load_audio
from genser.data.labels import NO_SPEECH
from genser.data.manifest import read_manifest
from genser.inference import clip_runner
from genser.inference.windows import cut
from genser.metrics.classification import confusion_matrix, unweighted_accuracy, weighted_accuracy

LONGEST = 30  # s
TARGETS = (12.5, 15.0, 20.0, 29.0)  # s, from which a recording is complete
LIMITS = (30, 20, 10)  # s


def recordings(path: Path) -> list[tuple[str, str, np.ndarray]]:
    """Corpus, label and waveform of each recording; every clip is used once."""
    groups: dict[tuple, list[np.ndarray]] = defaultdict(list)
    for item in read_manifest(path):
        if item.split == "test" and item.label != NO_SPEECH:
            groups[item.corpus, item.speaker, item.label].append(load_audio(item.path))
    made = []
    rng = np.random.default_rng(0)
    for (corpus, _, label), clips in groups.items():
        parts, target = [], rng.choice(TARGETS)
        for index in rng.permutation(len(clips)):
            samples = sum(map(len, parts))
            if samples + len(clips[index]) > LONGEST * SAMPLE_RATE:
                continue
            parts.append(clips[index])
            if samples + len(clips[index]) >= target * SAMPLE_RATE:
                made.append((corpus, label, np.concatenate(parts)))
                parts, target = [], rng.choice(TARGETS)
    return made


def scored(recognizer: genser.Recognizer, sounds: list[np.ndarray], limit: int) -> np.ndarray:
    with patch.object(clip_runner, "cut", partial(cut, longest=limit * SAMPLE_RATE)):
        return np.array([list(one.scores.values()) for one in recognizer.predict_waveforms(sounds)])


def measure(claim: Claim, arguments: argparse.Namespace) -> None:
    made = recordings(arguments.manifest)
    recognizer = genser.load(arguments.model, threads=1)
    kept = [one for one in made if one[1] in recognizer.labels]
    labels = np.array([recognizer.labels.index(label) for _, label, _ in kept])
    corpora, sounds = np.array([one[0] for one in kept]), [one[2] for one in kept]
    claim.settings["recordings"] = len(kept)
    found = {limit: scored(recognizer, sounds, limit) for limit in LIMITS}
    for limit in LIMITS:
        decided = found[limit].argmax(1)
        uas = []
        for name in sorted(set(corpora)):
            inside = corpora == name
            confusion = confusion_matrix(labels[inside], decided[inside], len(recognizer.labels))
            uas.append(100 * float(unweighted_accuracy(confusion)))
        confusion = confusion_matrix(labels, decided, len(recognizer.labels))
        claim.add(
            f"cut from {limit} s",
            UA=float(np.mean(uas)),
            WA=100 * float(weighted_accuracy(confusion)),
            agreement=float((decided == found[LONGEST].argmax(1)).mean()),
            difference=float(np.abs(found[limit] - found[LONGEST]).mean()),
            **dict(zip(sorted(set(corpora)), uas, strict=True)),
        )
    for seconds in (11, 13, 16, 21, 30):
        sound = np.concatenate(sounds)[: seconds * SAMPLE_RATE]
        works = [partial(scored, recognizer, [sound], limit) for limit in (LONGEST, 10)]
        whole, windows = alternated(works, arguments.repeats)
        claim.add(f"{seconds} s", ms=1e3 * whole.processor, **{"ms in windows": 1e3 * windows.processor})


def main() -> None:
    options = parser(__doc__)
    options.add_argument("manifest", type=Path)
    options.add_argument("--model", default="base")
    arguments = options.parse_args()
    claim = Claim("window_length", "the same accuracy in less time", file=arguments.json)
    measure(claim, arguments)
    claim.report(arguments.json)


if __name__ == "__main__":
    main()
