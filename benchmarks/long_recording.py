"""Measures emotion over time in an hour of concatenated clips: labels, boundaries, memory and time.

    python benchmarks/long_recording.py CORPUS [--model base] [--minutes 60] [--actors 5,8,10-11,13] [--json FILE]

CORPUS is the folder of RAVDESS. Clips of the actors, by default those held out from the training of the bundled models,
are concatenated in random order, repeatedly if necessary, with pauses of 0.6 to 2.5 s and noise 30 dB below the speech.
The true start and end of a clip are where its own level first and last comes within 35 dB of its loudest 20 ms; the
speech detector that is measured is not used for them. The recording is recognised in a process of its own, whose memory
and time are measured.

- UA by time: a clip counts as correct if its emotion has the most time between its true start and end; mean over
  classes.
- UA clip-wise: the same clips, each recognised alone from its file.
- Boundaries: distance from each true start and end to the nearest one found.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import soundfile
from _common import Claim

import genser
from genser.audio import SAMPLE_RATE, load_audio
from genser.segments.options import SegmentOptions
from genser.segments.timeline import recognize_timeline

EMOTIONS = ("neutral", "calm", "happiness", "sadness", "anger", "fear", "disgust", "surprise")
QUIET = -35.0  # dB under the loudest frame
FRAME = 320  # samples: 20 ms
NOISE = -30.0  # dB under the speech


def speech_of(clip: np.ndarray) -> tuple[float, float]:
    """Start and end of the speech in a clip, in seconds."""
    frames = clip[: len(clip) // FRAME * FRAME].reshape(-1, FRAME)
    level = 10 * np.log10(np.square(frames).mean(axis=1) + 1e-12)
    loud = np.flatnonzero(level > level.max() + QUIET)
    return loud[0] * FRAME / SAMPLE_RATE, (loud[-1] + 1) * FRAME / SAMPLE_RATE


def emotion_of(path: Path, labels: tuple[str, ...]) -> str:
    emotion = EMOTIONS[int(path.stem.split("-")[2]) - 1]
    return "neutral" if emotion == "calm" and "calm" not in labels else emotion


def chosen(corpus: Path, actors: str, seed: int) -> list[Path]:
    parts = [part.partition("-") for part in actors.split(",")]
    wanted = {number for first, _, last in parts for number in range(int(first), int(last or first) + 1)}
    paths = [path for path in sorted(corpus.glob("Actor_*/*")) if int(path.parent.name[-2:]) in wanted]
    return [paths[i] for i in np.random.default_rng(seed).permutation(len(paths))]


def compose(paths: list[Path], minutes: float, track: Path, labels: tuple[str, ...], seed: int) -> list[tuple]:
    """Write the recording; return (path, emotion, start, end) of each clip in it."""
    rng, truth, at = np.random.default_rng(seed), [], 0
    with soundfile.SoundFile(track, "w", SAMPLE_RATE, 1, format="WAV", subtype="PCM_16") as file:

        def add(sound: np.ndarray) -> None:
            nonlocal at
            noise = 0.05 * 10 ** (NOISE / 20) * rng.standard_normal(len(sound))
            file.write((sound + noise).astype(np.float32))
            at += len(sound)

        turn = 0
        while at < 60 * minutes * SAMPLE_RATE:
            path = paths[turn % len(paths)]
            clip = load_audio(path)
            start, end = speech_of(clip)
            spoken = clip[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
            add(np.zeros(round(rng.uniform(0.6, 2.5) * SAMPLE_RATE)))
            truth.append((path, emotion_of(path, labels), at / SAMPLE_RATE, at / SAMPLE_RATE + end - start))
            add(0.05 * spoken / np.sqrt(np.square(spoken).mean()))
            turn += 1
    return truth


def recall(pairs: list[tuple[str, str | None]]) -> float:
    hits = defaultdict(list)
    for truth, answer in pairs:
        hits[truth].append(truth == answer)
    return float(np.mean([np.mean(hit) for hit in hits.values()]))


def label_between(segments: list[dict], start: float, end: float) -> str | None:
    shares: dict[str, float] = defaultdict(float)
    for one in segments:
        overlap = min(one["end"], end) - max(one["start"], start)
        if overlap > 0:
            shares[one["label"]] += overlap
    return max(shares, key=shares.get) if shares else None


def nearest(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    return np.abs(found[None] - wanted[:, None]).min(axis=1)


def child(model: str, track: str, smoothing: str, threads: int) -> None:
    """Recognise the track, and write the segments with their cost to standard output; runs in a process of its own."""
    recognizer = genser.load(model, threads=threads)
    recognizer.scores([np.zeros(SAMPLE_RATE, np.float32)])
    begin = time.perf_counter()
    timeline = recognize_timeline(recognizer, track, SegmentOptions(smoothing=smoothing))
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cost = {"seconds": seconds, "duration": timeline.duration, "megabytes": peak}
    sys.stdout.write(json.dumps({**cost, "segments": [one.to_dict() for one in timeline.segments]}))


def measured(model: str, track: Path, smoothing: str, threads: int) -> dict:
    command = [sys.executable, __file__, "--child", model, str(track), smoothing, str(threads)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def row(found: dict, truth: list[tuple], clipwise: float) -> dict[str, float]:
    segments = found["segments"]
    starts, ends = (np.array([one[side] for one in segments]) for side in ("start", "end"))
    begin, finish = (np.array([one[i] for one in truth]) for i in (2, 3))
    return {
        "UA by time": 100 * recall([(e, label_between(segments, start, end)) for _, e, start, end in truth]),
        "UA clip-wise": 100 * clipwise,
        "start error, median s": float(np.median(nearest(starts, begin))),
        "end error, median s": float(np.median(nearest(ends, finish))),
        "segments": len(segments),
        "clips": len(truth),
        "x real time": found["duration"] / found["seconds"],
        "MB": found["megabytes"],
    }


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:5], int(sys.argv[5]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--model", default="base")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--actors", default="5,8,10-11,13")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    recognizer = genser.load(args.model, threads=args.threads)
    with tempfile.TemporaryDirectory() as folder:
        track = Path(folder) / "track.wav"
        paths = chosen(args.corpus, args.actors, args.seed)
        truth = compose(paths, args.minutes, track, recognizer.labels, args.seed)
        known = {
            prediction.path: prediction.label for prediction in recognizer.predict_many({str(t[0]) for t in truth})
        }
        clipwise = recall([(emotion, known[str(path)]) for path, emotion, _, _ in truth])
        rows = {
            smoothing: row(measured(args.model, track, smoothing, args.threads), truth, clipwise)
            for smoothing in ("posterior", "none")
        }
    claim = Claim("long_recording", "UA within 5 points of clip-wise, boundaries within 0.3 s, 500 MB, 50 x real time")
    claim.settings |= {**vars(args), "corpus": "RAVDESS", "json": None}
    for smoothing, numbers in rows.items():
        claim.add(f"smoothing {smoothing}", **numbers)
    claim.report(args.json)


if __name__ == "__main__":
    main()
