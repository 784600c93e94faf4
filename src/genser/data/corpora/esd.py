"""ESD, ten Mandarin and ten English speakers (Zhou et al., 2022, doi:10.1016/j.specom.2021.11.006)."""

import re
from pathlib import Path

from genser.data.corpora.report import Collector, CorpusReport, absent, genders, sound_files

NAME = "esd"
LAYOUT = "0001/Angry/train/0001_000351.wav or 0001/Angry/0001_000351.wav"
LABELS = {"Neutral": "neutral", "Angry": "anger", "Happy": "happiness", "Sad": "sadness", "Surprise": "surprise"}
GENDERS = genders(
    female="0001 0002 0003 0007 0009 0015 0016 0017 0018 0019",
    male="0004 0005 0006 0008 0010 0011 0012 0013 0014 0020",
)
LAST_MANDARIN = "0010"
TAKES = 350  # numbers of one emotion; 1 to 350 are Neutral, and so on in the order of LABELS
VALIDATION_TAKES = 20  # the first of them are the folder evaluation, the next 30 test
TEST_TAKES = 50
PATTERN = re.compile(r"(\d{4})_(\d{6})")
TEXT_ENCODINGS = ("utf-8", "gb18030")  # the tables differ by speaker; some are UTF-16 with a byte-order mark


def read(root: Path) -> CorpusReport:
    """Read the 35 000 clips ``SPEAKER_NUMBER``; emotion and official split follow from the number.

    A clip in the folder of another emotion than its number's is reported and omitted.
    """
    collector = Collector(root, NAME)
    words = _words(root, collector)
    for path in sound_files(root):
        match = PATTERN.fullmatch(path.stem)
        number = int(match[2]) if match else 0
        if match is None or match[1] not in GENDERS or not 1 <= number <= TAKES * len(LABELS):
            collector.problem(path, "is not named SPEAKER_NUMBER, such as 0001_000351")
            continue
        emotion = list(LABELS)[(number - 1) // TAKES]
        folders = {part for part in path.relative_to(root).parts if part in LABELS}
        if folders - {emotion}:
            collector.problem(
                path, f"is in the folder {min(folders - {emotion})}, but its number is of {emotion}, omitted"
            )
        else:
            collector.add(
                path.stem,
                path,
                label=LABELS[emotion],
                speaker=match[1],
                gender=GENDERS[match[1]],
                split=_split(number),
                text=words.get(path.stem) or None,
                extra={"language": "zh" if match[1] <= LAST_MANDARIN else "en"},
            )
    return collector.report(absent(_official(), collector.utterances))


def _split(number: int) -> str:
    take = (number - 1) % TAKES + 1
    return "validation" if take <= VALIDATION_TAKES else "test" if take <= TEST_TAKES else "train"


def _words(root: Path, collector: Collector) -> dict[str, str]:
    words = {}
    for path in sorted(path for path in root.rglob("*.txt") if path.stem in GENDERS):
        lines = [line.split("\t") for line in (collector.words(path, TEXT_ENCODINGS) or "").splitlines()]
        words.update((fields[0].strip(), fields[1].strip()) for fields in lines if len(fields) > 1)
    return words


def _official() -> dict[str, list[str]]:
    numbers = range(1, TAKES * len(LABELS) + 1)
    return {f"speaker {speaker}": [f"{speaker}_{number:06d}" for number in numbers] for speaker in sorted(GENDERS)}
