"""SAVEE, English emotional speech of four men (Haq and Jackson, 2009)."""

import re
from pathlib import Path

from genser.data.corpora.report import Collector, CorpusReport, absent, sound_files

NAME = "savee"
LAYOUT = "DC_a01.wav or AudioData/DC/a01.wav"
LABELS = {
    "a": "anger",
    "d": "disgust",
    "f": "fear",
    "h": "happiness",
    "n": "neutral",
    "sa": "sadness",
    "su": "surprise",
}
SPEAKERS = ("DC", "JE", "JK", "KL")
PATTERN = re.compile(r"(?:(DC|JE|JK|KL)_)?(a|d|f|h|n|sa|su)(\d\d)")


def read(root: Path) -> CorpusReport:
    """Read the 480 clips, named ``SPEAKER_emotionNN`` or in one folder per speaker."""
    collector = Collector(root, NAME)
    for path in sound_files(root):
        match = PATTERN.fullmatch(path.stem)
        speaker = match and (match[1] or path.parent.name)
        if match and speaker in SPEAKERS and 1 <= int(match[3]) <= _takes(match[2]):
            clip = f"{speaker}_{match[2]}{match[3]}"
            collector.add(clip, path, label=LABELS[match[2]], speaker=speaker, gender="male")
        else:
            collector.problem(path, "is not named as SAVEE names its clips, such as DC_a01 or DC/a01")
    return collector.report(absent(_official(), collector.utterances))


def _takes(emotion: str) -> int:
    return 30 if emotion == "n" else 15


def _official() -> dict[str, list[str]]:
    return {
        f"speaker {speaker}": [
            f"{speaker}_{emotion}{take:02d}" for emotion in LABELS for take in range(1, _takes(emotion) + 1)
        ]
        for speaker in SPEAKERS
    }
