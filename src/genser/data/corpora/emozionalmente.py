"""Emozionalmente, Italian by 431 people on their own devices (Catania et al., 2025, doi:10.1109/TASLPRO.2025.3540662).

File names are times of recording, so labels and speakers come from the tables. The label is the emotion that the
speaker meant to express. Three of the 18 sentences are also sentences of EMOVO. Tables and their columns: EmoBox
(emo-box/EmoBox, preprocess/scripts/emozionalmente.py) and nkululeko (felixbur/nkululeko, data/emozionalmente).
"""

from pathlib import Path

from genser.data.corpora.report import Collector, CorpusReport
from genser.data.utterance import GENDER_NAMES

NAME = "emozionalmente"
LAYOUT = "metadata/samples.csv and metadata/users.csv beside audio/1612872848291.wav"
LABELS = {
    "anger": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "joy": "happiness",
    "neutrality": "neutral",
    "sadness": "sadness",
    "surprise": "surprise",
}


def read(root: Path) -> CorpusReport:
    """Read the clips of ``samples.csv``, with the genders of ``users.csv``."""
    collector = Collector(root, NAME, "it")
    table, rows = collector.table(("samples.csv",), ("file_name", "actor", "sentence", "emotion_expressed"))
    _, people = collector.table(("users.csv",), ("username", "gender"))
    genders = {row["username"]: GENDER_NAMES.get(row["gender"].strip().lower()) for row in people}
    missing = collector.add_rows(
        table,
        rows,
        clip="file_name",
        label="emotion_expressed",
        labels=LABELS,
        fields=lambda _, row: {
            "speaker": row["actor"],
            "gender": genders.get(row["actor"]),
            "text": row["sentence"].strip() or None,
        },
    )
    return collector.report(missing)
