"""AESDD, Greek emotional speech of actors (Vryzas et al., 2018, doi:10.17743/jaes.2018.0036).

The parts of a name are the initial of the emotion, sentence (one of 20 is improvised) and speaker. Names: README of the
corpus (m3c.web.auth.gr) and EmoBox (emo-box/EmoBox, preprocess/scripts/aesdd.py). No source states which speakers are
women; their number contradicts "odd is male", as some readers take it.
"""

from genser.data.corpora.clip_names import ClipNames

NAME = "aesdd"
LAYOUT = "anger/a01 (1).wav"
LABELS = {"a": "anger", "d": "disgust", "f": "fear", "h": "happiness", "s": "sadness"}

read = ClipNames(
    NAME,
    LAYOUT,
    pattern=r"(?P<label>[adfhs])(?P<sentence>\d\d) ?\(0?(?P<speaker>\d+)\)\w?",
    codes={"label": LABELS},
    language="el",
    broken={"s05 (3)": "has no audio data in the release"},
).read
