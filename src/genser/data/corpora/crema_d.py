"""CREMA-D, English emotional speech: 7442 clips of 91 actors (Cao et al., 2014, doi:10.1109/TAFFC.2014.2336244).

The parts of a name are actor, sentence, acted emotion and its intensity.
"""

from genser.data.corpora.clip_names import ClipNames
from genser.data.corpora.report import absent, genders

NAME = "crema-d"
LAYOUT = "AudioWAV/1001_DFA_ANG_XX.wav"
LABELS = {"ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happiness", "NEU": "neutral", "SAD": "sadness"}
INTENSITIES = {"LO": "low", "MD": "medium", "HI": "high", "XX": None}
SENTENCES = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
FEMALE = (
    "1002 1003 1004 1006 1007 1008 1009 1010 1012 1013 1018 1020 1021 1024 1025 1028 1029 1030 1037 1043 1046 1047 "
    "1049 1052 1053 1054 1055 1056 1058 1060 1061 1063 1072 1073 1074 1075 1076 1078 1079 1082 1084 1089 1091"
)
ACTORS = tuple(str(actor) for actor in range(1001, 1092))
GENDERS = dict.fromkeys(ACTORS, "male") | genders(female=FEMALE)  # as in VideoDemographics.csv of the corpus
NEVER_RECORDED = {("1008", "WSI"), ("1009", "MTI"), ("1019", "ITH")}
NEVER_RECORDED_CLIPS = {"1002_TIE_NEU_XX", "1076_ITS_NEU_XX"}
SILENT = "1076_MTI_SAD_XX"


def official() -> dict[str, list[str]]:
    """The official clips of every actor, as in SentenceFilenames.csv of the corpus."""
    return {f"actor {actor}": [clip for clip in _clips(actor) if clip not in NEVER_RECORDED_CLIPS] for actor in ACTORS}


def _clips(actor: str) -> list[str]:
    return [
        f"{actor}_{sentence}_{emotion}_{level}"
        for sentence in SENTENCES
        if (actor, sentence) not in NEVER_RECORDED
        for emotion in LABELS
        for level in (("LO", "MD", "HI") if sentence == "IEO" and emotion != "NEU" else ("XX",))
    ]


read = ClipNames(
    NAME,
    LAYOUT,
    pattern=r"(?P<speaker>\d{4})_(?P<text>[A-Z]{3})_(?P<label>[A-Z]{3})_(?P<intensity>LO|MD|HI|XX)",
    codes={"label": LABELS, "text": SENTENCES, "intensity": INTENSITIES},
    speakers=GENDERS,
    language="en",
    remarks={SILENT: "is silent in the release; kept, because published test lists contain it"},
    missing=lambda found: absent(official(), found),
).read
