"""EmoDB, the Berlin database of German emotional speech (Burkhardt et al., Interspeech 2005)."""

import re
from pathlib import Path

from genser.data.corpora.report import Collector, CorpusReport, absent, genders, sound_files
from genser.data.splits import emobox_tests

NAME = "emodb"
LAYOUT = "wav/03a01Fa.wav"
LABELS = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "T": "sadness",
    "N": "neutral",
}
GENDERS = genders(female="08 09 13 14 16", male="03 10 11 12 15")
SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
PATTERN = re.compile(r"(\d\d)([ab]\d\d)([A-Z])([a-z]?)")


def read(root: Path) -> CorpusReport:
    """Read the 535 clips ``SSTTTEv``: speaker, text, emotion by its German initial, version."""
    collector = Collector(root, NAME)
    for path in sound_files(root):
        match = PATTERN.fullmatch(path.stem)
        speaker, sentence, emotion, _ = match.groups() if match else ("",) * 4
        if speaker in GENDERS and sentence in SENTENCES and emotion in LABELS:
            collector.add(
                path.stem,
                path,
                label=LABELS[emotion],
                speaker=speaker,
                gender=GENDERS[speaker],
                text=SENTENCES[sentence],
            )
        else:
            collector.problem(path, "is not named as EmoDB names its clips, such as 03a01Fa")
    return collector.report(absent(_official(), collector.utterances))


def _official() -> dict[str, list[str]]:
    clips = sorted(clip for fold in emobox_tests(NAME).values() for clip in fold)
    return {f"speaker {speaker}": [clip for clip in clips if clip.startswith(speaker)] for speaker in sorted(GENDERS)}
