"""EMNS, English narration by one woman (arXiv:2305.13137, openslr.org/136).

The clips are WebM recordings whose names say nothing; labels, words and the level of the emotion are in the table
``metadata.csv``, which is separated by bars. Columns: EmoBox (emo-box/EmoBox, preprocess/scripts/emns.py) and nkululeko
(felixbur/nkululeko, data/emns).
"""

from pathlib import Path

from genser.data.corpora.report import Collector, CorpusReport, sound_files
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
    """Read the clips of ``metadata.csv``; a clip may have been converted to another format."""
    collector = Collector(root, NAME, "en")
    table, rows = collector.table(("metadata.csv",), COLUMNS)
    sounds = {path.stem: path for path in reversed(sound_files(root))}
    missing = []
    for row in rows:
        clip, label = Path(row["audio_recording"]).stem, LABELS.get(row["emotion"].strip().lower())
        if label is None:
            collector.problem(table, f"{clip} has the unknown emotion {row['emotion']!r}, omitted")
        elif clip not in sounds:
            missing.append(clip)
        else:
            collector.add(
                clip,
                sounds[clip],
                label=label,
                speaker=row["user_id"].strip() or None,
                gender=GENDER_NAMES.get(row["gender"].strip().lower()),
                text=row["utterance"].strip() or None,
                intensity=row["level"].strip() or None,
            )
    return collector.report(missing)
