"""MELD, utterances from the series Friends with the official split (Poria et al., ACL 2019)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from genser.data.corpora.report import Collector, CorpusReport, genders, sound_files
from genser.data.tables import read_table
from genser.errors import ManifestError

NAME = "meld"
LAYOUT = "train_sent_emo.csv beside train_splits/dia0_utt0.mp4 (also dev_splits_complete, output_repeated_splits_test)"
LABELS = {
    "anger": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "joy": "happiness",
    "neutral": "neutral",
    "sadness": "sadness",
    "surprise": "surprise",
}
GENDERS = genders(female="Monica Phoebe Rachel", male="Chandler Joey Ross")
SPLITS = {"train": "train", "dev": "validation", "test": "test"}
BROKEN = {("train", "dia125_utt3"): "is broken in the release, omitted"}
NEVER_RELEASED = {("dev", "dia110_utt7")}
"""In the tables, but not in the archive."""

CLIP = re.compile(r"dia\d+_utt\d+")
TABLE = re.compile(r"(?:.*_)?(train|dev|test)_sent_emo\.csv", re.IGNORECASE)
FOLDER = re.compile(r"(?:.*[_-])?(train|dev|test)(?:[_-].*)?", re.IGNORECASE)
COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")


@dataclass(frozen=True)
class _Line:
    """The entry of one clip in the tables."""

    label: str
    speaker: str
    text: str


def read(root: Path) -> CorpusReport:
    """Read the clips of the three tables; audio may be in the videos, or extracted beside or instead of them."""
    collector = Collector(root, NAME, "en")
    lines = dict(_lines(root, collector))
    for path in sound_files(root):
        split = _split(path.relative_to(root))
        clip = (split, path.stem)
        if split is None or CLIP.fullmatch(path.stem) is None:
            collector.problem(path, "is not a clip of MELD, such as train_splits/dia0_utt0.mp4, omitted")
        elif clip in BROKEN:
            collector.problem(path, BROKEN[clip])
        elif clip not in lines:
            collector.problem(path, f"is not in the table of {split}, omitted")
        else:
            line = lines[clip]
            collector.add(
                f"{split}/{path.stem}",
                path,
                label=line.label,
                speaker=line.speaker,
                gender=GENDERS.get(line.speaker),
                split=SPLITS[split],
                text=line.text or None,
            )
    return collector.report(_missing(lines, collector))


def _lines(root: Path, collector: Collector) -> Iterator[tuple[tuple[str, str], _Line]]:
    tables = {match[1].lower(): path for path in sorted(root.rglob("*.csv")) if (match := TABLE.fullmatch(path.name))}
    if not tables:
        raise ManifestError(f"{root} has none of the tables of MELD, such as train_sent_emo.csv. Expected: {LAYOUT}.")
    for split, path in tables.items():
        table = read_table(path)
        lost = [name for name in COLUMNS if name not in table.columns]
        if lost:
            raise ManifestError(f"{path} has no column {lost[0]!r}, so it is not a table of MELD. Use the original.")
        for number, row in table.rows:
            if row["Emotion"].strip().lower() not in LABELS:
                collector.problem(path, f"row {number} has the unknown emotion {row['Emotion']!r}, omitted")
                continue
            line = _Line(LABELS[row["Emotion"].strip().lower()], row["Speaker"].strip(), row["Utterance"].strip())
            yield (split, f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"), line


def _split(path: Path) -> str | None:
    """Split by the nearest folder that names one."""
    found = (FOLDER.fullmatch(name) for name in reversed(path.parts[:-1]))
    return next((match[1].lower() for match in found if match), None)


def _missing(lines: dict[tuple[str, str], _Line], collector: Collector) -> Iterator[str]:
    there = {split for split, _ in lines}
    yield from (f"{split}_sent_emo.csv (nothing of {split} can be used)" for split in SPLITS if split not in there)
    for clip in lines:
        if "/".join(clip) not in collector.utterances and clip not in BROKEN and clip not in NEVER_RELEASED:
            yield "/".join(clip)
