"""The three corpora of the bundled models, and the speakers that are held out of training."""

import io
from dataclasses import replace
from pathlib import Path

import soundfile

from genser.audio import SAMPLE_RATE, load_audio
from genser.data.corpora import prepare
from genser.data.features import decoding_threads
from genser.data.splits import validation_split
from genser.data.utterance import Utterance
from genser.files import atomic_write

CORPORA = ("ravdess", "emodb", "nemo")
LANGUAGES = {"ravdess": "English", "emodb": "German", "nemo": "Polish"}
LICENCES = {"ravdess": "CC BY-NC-SA 4.0", "emodb": "free, no formal text", "nemo": "CC BY-NC-SA 4.0"}
HELD_OUT_SHARE, HELD_OUT_SEED = 0.2, 2026


def read_corpora(folder: Path) -> list[Utterance]:
    """All utterances; the split test is a fifth of each corpus' speakers, drawn once and alternating in gender."""
    utterances = [item for name in CORPORA for item in prepare(name, folder / name).utterances]
    train, test = validation_split(utterances, HELD_OUT_SHARE, HELD_OUT_SEED)
    sides = dict.fromkeys(train.tolist(), "train") | dict.fromkeys(test.tolist(), "test")
    return [replace(item, split=sides[index]) for index, item in enumerate(utterances)]


def decoded(utterances: list[Utterance], folder: Path) -> list[Utterance]:
    """The same clips in files at 16 kHz that decode fast: a build reads every clip about forty times."""
    folder.mkdir(parents=True, exist_ok=True)
    with decoding_threads() as threads:
        paths = threads.map(lambda item: _decoded(item, folder), utterances)
        return [replace(item, path=path) for item, path in zip(utterances, paths, strict=True)]


def _decoded(item: Utterance, folder: Path) -> str:
    path = folder / f"{item.corpus}-{Path(item.path).stem}.au"  # a WAV file of floats contains the time of writing
    if not path.exists():
        buffer = io.BytesIO()
        soundfile.write(buffer, load_audio(item.path), SAMPLE_RATE, format="AU", subtype="FLOAT")
        atomic_write(path, buffer.getvalue())
    return str(path)
