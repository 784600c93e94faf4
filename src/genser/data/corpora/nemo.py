"""nEMO, Polish emotional speech of nine actors (Christop, LREC-COLING 2024)."""

import re
from pathlib import Path

from genser.data.corpora.report import Collector, CorpusReport, genders, sound_files
from genser.data.tables import read_table
from genser.errors import ManifestError

NAME = "nemo"
LAYOUT = "samples/EB0_anger_1.wav beside data.tsv"
LABELS = {
    "anger": "anger",
    "fear": "fear",
    "happiness": "happiness",
    "neutral": "neutral",
    "sadness": "sadness",
    "surprised": "surprise",
}
GENDERS = genders(female="EB0 IC0 KD0 MK0", male="KS0 MP0 SM0 TP0 WR0")
PATTERN = re.compile(r"([A-Z]{2}\d)_([a-z]+)_(\d+)")
TABLE = "data.tsv"


def read(root: Path) -> CorpusReport:
    """Read the clips ``SPEAKER_emotion_sentence``, with the words of ``data.tsv``.

    The table names every clip ``.wav``, whatever its ending, and pads the speakers with spaces.
    """
    collector = Collector(root, NAME, "pl")
    table = _table(root)
    for path in sound_files(root):
        match = PATTERN.fullmatch(path.stem)
        if match is None or match[1] not in GENDERS or match[2] not in LABELS:
            collector.problem(path, "is not named SPEAKER_emotion_sentence, such as EB0_anger_1")
        elif table and path.stem not in table:
            collector.problem(path, f"is not in {TABLE}, omitted")
        else:
            text = table.get(path.stem, {}).get("raw_text", "").strip()
            collector.add(
                path.stem, path, label=LABELS[match[2]], speaker=match[1], gender=GENDERS[match[1]], text=text or None
            )
    missing = [clip for clip in table if clip not in collector.utterances]
    return collector.report(missing if table else [f"{TABLE} (no words, and no list of the clips)"])


def _table(root: Path) -> dict[str, dict[str, str]]:
    found = sorted(root.rglob(TABLE))
    if not found:
        return {}
    table = read_table(found[0])
    if "file_id" not in table.columns:
        raise ManifestError(f"{found[0]} has no column 'file_id', so it is not the table of nEMO. Use the original.")
    return {Path(row["file_id"].strip()).stem: row for _, row in table.rows}
