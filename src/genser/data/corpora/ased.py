"""ASED v1, Amharic emotional speech of 65 speakers (Retta et al., 2022, doi:10.1145/3529759).

The parts of a name are emotion and folder, sentence, repetition, gender and speaker. Sentences 01 and 02 are the same
for every emotion; **03 to 07 differ by emotion**, so that words there predict the label. Speakers have 4 to 70 clips.
Names: README of the corpus (github.com/Ethio2021/ASED_V1). One file has a capital initial (S4-04-02-01-29), and five
name the other gender than all other clips of their speaker; the gender here is that of the speaker.
"""

from genser.data.corpora.clip_names import ClipNames
from genser.data.corpora.report import genders

NAME = "ased"
LAYOUT = "05Angry/a5-03-01-02-50.wav"
LABELS = {"n1": "neutral", "f2": "fear", "h3": "happiness", "s4": "sadness", "a5": "anger"}
FEMALE = "01 03 05 07 09 11 13 15 17 19 21 23 25 27 29 31 33 35 37 43 47 48 49 58 62"
GENDERS = dict.fromkeys((f"{speaker:02d}" for speaker in range(1, 66)), "male") | genders(female=FEMALE)
OTHER_GENDER = ("f2-01-01-02-15", "f2-02-01-02-25", "f2-07-02-02-21", "s4-01-02-02-09", "s4-04-01-02-23")

read = ClipNames(
    NAME,
    LAYOUT,
    pattern=r"(?P<label>[A-Za-z]\d)-(?P<sentence>0[1-7])-0[12]-0[12]-(?P<speaker>\d\d)",
    codes={"label": LABELS},
    speakers=GENDERS,
    language="am",
    remarks=dict.fromkeys(OTHER_GENDER, "names the other gender than all other clips of its speaker; kept"),
).read
