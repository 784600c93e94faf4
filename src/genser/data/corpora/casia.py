"""CASIA, Mandarin emotional speech of four speakers, the public part with the same 50 sentences in six emotions.

Speaker and emotion are folders, the name is the number of the sentence; the release misspells one speaker. Names:
EmoBox (emo-box/EmoBox, preprocess/scripts/casia.py). No source states the genders.
"""

from genser.data.corpora.clip_names import ClipNames

NAME = "casia"
LAYOUT = "liuchanhg/angry/201.wav"
LABELS = {
    "angry": "anger",
    "fear": "fear",
    "happy": "happiness",
    "neutral": "neutral",
    "normal": "neutral",
    "sad": "sadness",
    "surprise": "surprise",
}

read = ClipNames(
    NAME,
    LAYOUT,
    pattern=r"(?P<speaker>[A-Za-z]+)/(?P<label>[a-z]+)/(?P<sentence>\d+)",
    codes={"label": LABELS},
    speakers=dict.fromkeys(("liuchanhg", "wangzhe", "zhaoquanyin", "ZhaoZuoxiang")),
    language="zh",
    clip="{speaker}/{label}/{sentence}",
).read
