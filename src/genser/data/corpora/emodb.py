"""EmoDB, the Berlin database of German emotional speech: 535 clips of ten actors (Burkhardt et al., Interspeech 2005).

The parts of a name are speaker, sentence, the German initial of the emotion and the version.
"""

from collections.abc import Collection

from genser.data.corpora.clip_names import ClipNames
from genser.data.corpora.report import absent, genders
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


def _missing(found: Collection[str]) -> list[str]:
    clips = sorted(clip for fold in emobox_tests(NAME).values() for clip in fold)
    official = {f"speaker {name}": [clip for clip in clips if clip.startswith(name)] for name in sorted(GENDERS)}
    return absent(official, found)


read = ClipNames(
    NAME,
    LAYOUT,
    pattern=r"(?P<speaker>\d\d)(?P<text>[ab]\d\d)(?P<label>[A-Z])[a-z]?",
    codes={"label": LABELS, "text": SENTENCES},
    speakers=GENDERS,
    language="de",
    missing=_missing,
).read
