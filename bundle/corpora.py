"""The seven corpora of the bundled models, and the speakers that are held out of training."""

from dataclasses import replace
from pathlib import Path

from genser.data.corpora import prepare
from genser.data.labels import NO_SPEECH
from genser.data.splits import validation_split
from genser.data.utterance import Utterance

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
