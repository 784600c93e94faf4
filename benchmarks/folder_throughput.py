"""Measures the recognition of a folder of clips, against one thread and against the pipeline of transformers.

    python benchmarks/folder_throughput.py [--folder RAVDESS] [--clips 1440] [--json FILE]

Without a folder the clips are synthetic, in the format of RAVDESS: 48 kHz, 16 bit, 3 to 5 s. Compared in turn on the
same files: `predict_many`; the same model with one thread that decodes and computes alternately; the
audio-classification pipeline of transformers with a Whisper of the same size (random weights, on which its time does
not depend) and a linear head, on all cores, in batches of 8, its clips decoded beforehand. The floor is the model
alone, on decoded clips. Memory is that of a process that recognises the folder once, after 200 clips and at the end.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from _common import Claim, alternated, parser
from _model import add_model_option, clip_of, model_for

import genser
from genser.audio import load_audio

MEMORY = """
import json, sys, genser
from pathlib import Path
def resident():
    text = Path("/proc/self/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024
paths = json.loads(sys.stdin.read())
seen = []
for number, prediction in enumerate(genser.load({model!r}).predict_many(paths), start=1):
    assert prediction.error is None, prediction.error
    if number in ({early}, len(paths)):
        seen.append(resident())
print(json.dumps(seen))
"""


def synthetic_clips(folder: Path, count: int) -> list[str]:
    """Shifted copies of one noise at 48 kHz, of 3 to 5 s."""
    lengths = np.random.default_rng(0).uniform(3.0, 5.0, count)
    noise = clip_of(6.0, rate=48_000)
    paths = [str(folder / f"{index:04}.wav") for index in range(count)]
    for index, (path, length) in enumerate(zip(paths, lengths, strict=True)):
        soundfile.write(path, np.roll(noise, 997 * index)[: round(length * 48_000)], 48_000)
    return paths


def found_clips(folder: Path, count: int) -> list[str]:
    endings = {".wav", ".flac", ".ogg", ".mp3"}
    return sorted(str(path) for path in folder.rglob("*") if path.suffix.lower() in endings)[:count]


def whisper_pipeline(toy: bool):
    """The pipeline of transformers around a Whisper of the size of base."""
    import torch
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForAudioClassification, pipeline

    layers = {"encoder_layers": 1 if toy else 6, "encoder_attention_heads": 1 if toy else 8, "decoder_layers": 1}
    size = {"d_model": 64 if toy else 512, "encoder_ffn_dim": 64 if toy else 2048, "num_mel_bins": 80, "num_labels": 7}
    torch.manual_seed(0)
    model = WhisperForAudioClassification(WhisperConfig(**layers, **size)).eval()
    return pipeline("audio-classification", model=model, feature_extractor=WhisperFeatureExtractor())


def memory(model: str, paths: list[str], early: int) -> list[float]:
    code = MEMORY.format(model=model, early=early)
    answer = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(paths), capture_output=True, text=True, check=True
    )
    return json.loads(answer.stdout)


def measure(claim: Claim, arguments: argparse.Namespace, folder: Path) -> None:
    model = model_for(arguments, folder)
    paths = (
        found_clips(arguments.folder, arguments.clips) if arguments.folder else synthetic_clips(folder, arguments.clips)
    )
    clips = [load_audio(path) for path in paths]
    total = sum(map(len, clips)) / 16_000
    many, single = genser.load(model), genser.load(model, threads=1)
    peer = whisper_pipeline(arguments.toy)
    part = max(len(clips) // arguments.peer_share, 1)
    inputs = [{"raw": clip, "sampling_rate": 16_000} for clip in clips[:part]]
    works = {
        "predict_many": lambda: [p.label for p in many.predict_many(paths)],
        "one thread": lambda: [single.predict(path).label for path in paths],
        "floor: the model alone": lambda: many.scores(clips),
        "transformers' pipeline": lambda: list(peer(inputs, batch_size=8)),
    }
    shares = dict.fromkeys(works, 1.0) | {"transformers' pipeline": sum(map(len, clips[:part])) / 16_000 / total}
    taken = dict(zip(works, alternated(list(works.values()), arguments.repeats), strict=True))
    fastest = taken["predict_many"].seconds
    for name, one in taken.items():
        whole = one.seconds / shares[name]
        claim.add(
            name,
            **{"clips/s": len(paths) / whole, "x real time": total / whole, "predict_many is faster": whole / fastest},
            **{"processor ms a clip": 1e3 * one.processor / shares[name] / len(paths)},
        )
    early, end = memory(model, paths, min(200, len(paths) // 2))
    claim.add("resident MB, early and at the end", **{"MB": early, "MB at the end": end})


def main() -> None:
    options = parser(__doc__, toy="a tiny model and 12 clips")
    add_model_option(options)
    options.set_defaults(repeats=3)
    options.add_argument("--folder", type=Path, help="clips to recognise (default: synthetic ones)")
    options.add_argument("--clips", type=int, default=1440)
    options.add_argument("--peer-share", type=int, default=12, help="the pipeline recognises one clip in so many")
    arguments = options.parse_args()
    if arguments.toy:
        arguments.clips, arguments.peer_share = 12, 3
    claim = Claim("folder_throughput", "1.8 x one thread and 5 x transformers' pipeline on two cores, memory flat")
    claim.settings |= {"clips": arguments.clips, "folder": str(arguments.folder), "toy": arguments.toy}
    with tempfile.TemporaryDirectory() as folder:
        measure(claim, arguments, Path(folder))
    claim.report(arguments.json)


if __name__ == "__main__":
    main()
