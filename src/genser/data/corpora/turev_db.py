"""TurEV-DB, single Turkish words: 1735 clips of six actors (Canpolat et al., SLTU 2020).

The folder is the emotion; the parts of a name are speaker, emotion (first letters of its Turkish word) and word,
without its diacritics. Calm is the corpus' only baseline, so it is neutral here. Genders are in no public file. Names:
files of the corpus (github.com/Xeonen/TurEV-DB).
"""

from genser.data.corpora.clip_names import ClipNames, all_of

NAME = "turev-db"
LAYOUT = "Sound Source/Angry/1157_kz_acik.wav"
LABELS = {"Angry": "anger", "Calm": "neutral", "Happy": "happiness", "Sad": "sadness"}

read = ClipNames(
    NAME,
    LAYOUT,
    pattern=r"(?P<label>[A-Z][a-z]+)/(?P<speaker>\d{4})_[a-z]+_(?P<text>\w+)",
    codes={"label": LABELS},
    language="tr",
    missing=all_of(1735),
).read
