"""The three corpora of the bundled model, and which of their speakers are never trained on."""

from dataclasses import replace
from pathlib import Path

from genser.data.corpora import prepare
from genser.data.splits import validation_split
from genser.data.utterance import Utterance

CORPORA = ("ravdess", "emodb", "nemo")
LANGUAGES = {"ravdess": "English", "emodb": "German", "nemo": "Polish"}
LICENCES = {"ravdess": "CC BY-NC-SA 4.0", "emodb": "free, no formal text", "nemo": "CC BY-NC-SA 4.0"}
HELD_OUT_SHARE, HELD_OUT_SEED = 0.2, 2026


def read_corpora(folder: Path) -> list[Utterance]:
    """All utterances; the split ``test`` marks a fifth of each corpus' speakers, drawn once, alternating in gender."""
    utterances = [item for name in CORPORA for item in prepare(name, folder / name).utterances]
    train, test = validation_split(utterances, HELD_OUT_SHARE, HELD_OUT_SEED)
    sides = dict.fromkeys(train.tolist(), "train") | dict.fromkeys(test.tolist(), "test")
    return [replace(item, split=sides[place]) for place, item in enumerate(utterances)]
