"""EMNS, English narration by one woman (arXiv:2305.13137, openslr.org/136).

The clips are WebM recordings whose names say nothing; labels, words and the level of the emotion are in the table
``metadata.csv``, which is separated by bars. Columns: EmoBox (emo-box/EmoBox, preprocess/scripts/emns.py) and nkululeko
(felixbur/nkululeko, data/emns).
"""

from pathlib import Path

from genser.data.corpora.report import Collector, CorpusReport
from genser.data.utterance import GENDER_NAMES

NAME = "emns"
LAYOUT = "metadata.csv beside cleaned_webm/*.webm"
COLUMNS = ("audio_recording", "emotion", "gender", "level", "user_id", "utterance")
LABELS = {
    "angry": "anger",
    "disgust": "disgust",
    "excited": "excitement",
    "happy": "happiness",
    "neutral": "neutral",
    "sad": "sadness",
    "sarcastic": "sarcastic",
    "surprised": "surprise",
}


def read(root: Path) -> CorpusReport:
    """Read the clips of ``metadata.csv``."""
    collector = Collector(root, NAME, "en")
    table, rows = collector.table(("metadata.csv",), COLUMNS)
    missing = collector.add_rows(
        table,
        rows,
        clip="audio_recording",
        label="emotion",
        labels=LABELS,
        fields=lambda _, row: {
            "speaker": row["user_id"].strip() or None,
            "gender": GENDER_NAMES.get(row["gender"].strip().lower()),
            "text": row["utterance"].strip() or None,
            "intensity": row["level"].strip() or None,
        },
    )
    return collector.report(missing)
