"""CaFE, Canadian French speech: 936 clips of 12 actors (Lahaie and Gournay, 2017; zenodo.org/records/1478765).

The parts of a name are actor, emotion (initial of its French word), intensity (1 in the folder Faible, 2 in Fort;
neutral has only 1) and sentence. Odd actors are men. Names and sentences: EmoBox (emo-box/EmoBox,
preprocess/scripts/cafe.py).
"""

from genser.data.corpora.clip_names import ClipNames, all_of
from genser.data.corpora.report import genders

NAME = "cafe"
LAYOUT = "Colère/Fort/01-C-2-1.wav"
LABELS = {
    "C": "anger",
    "D": "disgust",
    "J": "happiness",
    "N": "neutral",
    "P": "fear",
    "S": "surprise",
    "T": "sadness",
}
SENTENCES = {
    "1": "Un cheval fou dans mon jardin",
    "2": "Deux ânes aigris au pelage brun",
    "3": "Trois cygnes aveugles au bord du lac",
    "4": "Quatre vieilles truies éléphantesques",
    "5": "Cinq pumas fiers et passionnés",
    "6": "Six ours aimants domestiqués",
}

read = ClipNames(
    NAME,
    LAYOUT,
    pattern=r"(?P<speaker>\d\d)-(?P<label>[A-Z])-(?P<intensity>[12])-(?P<text>[1-6])",
    codes={"label": LABELS, "intensity": {"1": "low", "2": "high"}, "text": SENTENCES},
    speakers=genders(male="01 03 05 07 09 11", female="02 04 06 08 10 12"),
    language="fr",
    missing=all_of(936),
).read
