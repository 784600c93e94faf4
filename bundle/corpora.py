"""The seven corpora of the bundled models, and the speakers that are held out of training."""

import io
from dataclasses import replace
from pathlib import Path

import soundfile

from genser.audio import SAMPLE_RATE, load_audio
from genser.data.corpora import prepare
from genser.data.features import decoding_threads
from genser.data.labels import NO_SPEECH
from genser.data.splits import validation_split
from genser.data.utterance import Utterance
from genser.files import atomic_write

FOLDERS = {
    "ravdess": "ravdess",
    "emodb": "emodb",
    "nemo": "nemo",
    "emovo": "emovo",
    "ased": "ased",
    "emotiontts": "emotiontts_ko",
    "emospeech": "emospeech_in",
}
CORPORA = tuple(FOLDERS)
LANGUAGES = {
    "ravdess": "English",
    "emodb": "German",
    "nemo": "Polish",
    "emovo": "Italian",
    "ased": "Amharic",
    "emotiontts": "Korean",
    "emospeech": "Indian English and Hindi",
}
LICENCES = {
    "ravdess": "CC BY-NC-SA 4.0",
    "emodb": "free, no formal text",
    "nemo": "CC BY-NC-SA 4.0",
    "emovo": "for research, no formal text",
    "ased": "freely available, no formal text",
    "emotiontts": "CC BY-NC-SA 4.0",
    "emospeech": "CC BY-NC-SA 4.0",
}
HELD_OUT_SHARE, HELD_OUT_SEED = 0.2, 2026


def read_corpora(folder: Path) -> list[Utterance]:
    """All utterances with their split.

    The split test is a fifth of each corpus' speakers, drawn once and alternating in gender, and of the recordings
    without speech every other one of each place. The first three corpora are drawn by themselves, so that their
    held-out speakers are those of earlier releases.
    """
    found = [item for name in CORPORA for item in prepare(name, folder / FOLDERS[name]).utterances]
    chosen: set[str] = set()
    for names in (CORPORA[:3], CORPORA[3:]):
        spoken = [item for item in found if item.corpus in names and item.label != NO_SPEECH]
        train, _ = validation_split(spoken, HELD_OUT_SHARE, HELD_OUT_SEED)
        chosen |= {spoken[index].path for index in train}
    silent = sorted(item.path for item in found if item.label == NO_SPEECH)
    chosen |= set(silent[::2])
    return [replace(item, split="train" if item.path in chosen else "test") for item in found]


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
