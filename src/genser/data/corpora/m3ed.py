"""M3ED, Mandarin dialogues from 56 TV series with the official split (Zhao et al., ACL 2022).

The labels are in ``annotation.json``: series → dialogue → utterance; the split lists series, so no speaker is on two
sides. Layout and keys: EmoBox (emo-box/EmoBox, preprocess/scripts/m3ed.py); lists of the split:
github.com/AIM3-RUC/RUCM3ED.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from genser.data.corpora.report import Collector, CorpusReport, sound_files
from genser.data.tables import decode_text
from genser.errors import ManifestError

NAME = "m3ed"
LAYOUT = "annotation.json and splitInfo/movie_list_train.txt beside modality_speech/A_SERIES_1_1.wav"
ANNOTATION = "annotation.json"
LABELS = {
    "Anger": "anger",
    "Disgust": "disgust",
    "Fear": "fear",
    "Happy": "happiness",
    "Neutral": "neutral",
    "Sad": "sadness",
    "Surprise": "surprise",
}
SPLITS = {"train": "train", "val": "validation", "test": "test"}


def read(root: Path) -> CorpusReport:
    """Read the utterances of ``annotation.json``; a clip is named by the speaker's letter and the utterance."""
    collector = Collector(root, NAME, "zh")
    sounds = {path.stem: path for path in reversed(sound_files(root))}
    splits = {
        series.strip(): split
        for part, split in SPLITS.items()
        for path in root.rglob(f"movie_list_{part}.txt")
        for series in decode_text(path).splitlines()
    }
    missing = []
    for series, speaker, name, line in _lines(root):
        clip = f"{speaker}_{name}"
        if clip not in sounds:
            missing.append(clip)
        elif line["label"] not in LABELS:
            collector.problem(sounds[clip], f"has the unknown emotion {line['label']!r}, omitted")
        else:
            collector.add(
                clip,
                sounds[clip],
                label=LABELS[line["label"]],
                speaker=f"{series}/{line['person']}",
                split=splits.get(series),
                text=line["text"] or None,
            )
    return collector.report(missing)


def _lines(root: Path) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Series, letter of the speaker, name, and label, text and person of every utterance."""
    path = next(iter(sorted(root.rglob(ANNOTATION))), None)
    if path is None:
        raise ManifestError(f"{root} has no {ANNOTATION}. Expected: {LAYOUT}.")
    try:
        for series, dialogues in json.loads(decode_text(path)).items():
            for dialogue in dialogues.values():
                people = dialogue["SpeakerInfo"]
                for name, item in dialogue["Dialog"].items():
                    speaker = item["Speaker"]
                    label, text = item["EmoAnnotation"]["final_main_emo"], item.get("Text", "").strip()
                    yield series, speaker, name, {"label": label, "text": text, "person": people[speaker]["Name"]}
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ManifestError(f"{path} is not the annotation of M3ED: {error!r}. Use the original.") from error
