"""ASVP-ESD, speech and other sounds of emotion from films and the web (zenodo.org/records/7132783).

The parts of a name are modality, vocal channel, emotion, intensity, statement, actor, age, source and language. Odd
actors are women. Clips without words (channel 02: laughter, crying, screams) are omitted. Readers contradict each other
about the codes of languages, so the language stays empty. Names: EmoBox (emo-box/EmoBox,
preprocess/scripts/asvpesd.py) and nkululeko (felixbur/nkululeko, data/asvp-esd).
"""

from pathlib import Path

from genser.data.corpora.report import Collector, CorpusReport, sound_files

NAME = "asvp-esd"
LAYOUT = "Audio/actor_01/03-01-06-01-02-01-02-01-01.wav"
LABELS = {
    "01": "boredom",
    "02": "neutral",
    "03": "happiness",
    "04": "sadness",
    "05": "anger",
    "06": "fear",
    "07": "disgust",
    "08": "surprise",
    "09": "excitement",
    "10": "pleasure",
    "11": "pain",
    "12": "disappointment",
    "13": "breath",
}
INTENSITIES = {"01": "normal", "02": "high"}


def read(root: Path) -> CorpusReport:
    """Read the clips with speech; others are reported."""
    collector = Collector(root, NAME)
    for path in sound_files(root):
        codes = path.stem.split("-")
        if len(codes) < 6 or codes[0] != "03" or codes[2] not in LABELS or not codes[5].isdecimal():
            collector.problem(path, f"is not named like {LAYOUT}")
        elif codes[1] != "01":
            collector.problem(path, "has no words (vocal channel 02), omitted")
        else:
            collector.add(
                path.stem,
                path,
                label=LABELS[codes[2]],
                speaker=codes[5],
                gender="female" if int(codes[5]) % 2 else "male",
                intensity=INTENSITIES.get(codes[3]),
            )
    return collector.report()
