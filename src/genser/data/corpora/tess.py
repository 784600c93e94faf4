"""TESS, 200 English words by two women (Pichora-Fuller and Dupuis, 2020, doi:10.5683/SP2/E8H2MF)."""

import re
from pathlib import Path

from genser.data.corpora.report import Collector, CorpusReport, absent, sound_files

NAME = "tess"
LAYOUT = "OAF_back_angry.wav, in any folders"
LABELS = {
    "angry": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happiness",
    "neutral": "neutral",
    "ps": "surprise",
    "sad": "sadness",
}
SPEAKERS = {"OAF": "OAF", "YAF": "YAF", "OA": "OAF"}
ODD_NAMES = {"OA_bite_neutral": "OAF_bite_neutral"}  # the release itself lacks the F
WORDS = 200
PATTERN = re.compile(r"(OAF|YAF|OA)_([a-z]+)_([a-z]+)", re.IGNORECASE)


def read(root: Path) -> CorpusReport:
    """Read the 2800 clips ``SPEAKER_word_emotion``; ``ps`` is pleasant surprise, here plain surprise."""
    collector = Collector(root, NAME, "en")
    for path in sound_files(root):
        match = PATTERN.fullmatch(path.stem)
        if match and match[3].lower() in LABELS:
            speaker, word, emotion = SPEAKERS[match[1].upper()], match[2].lower(), match[3].lower()
            collector.add(
                _clip(path.stem),
                path,
                label=LABELS[emotion],
                speaker=speaker,
                gender="female",
                text=f"Say the word {word}.",
            )
        else:
            collector.problem(path, "is not named SPEAKER_word_emotion, such as OAF_back_angry")
    return collector.report(_missing(set(collector.utterances)))


def _clip(stem: str) -> str:
    speaker, word, emotion = ODD_NAMES.get(stem, stem).split("_")
    return f"{speaker.upper()}_{word.lower()}_{emotion.lower()}"


def _missing(found: set[str]) -> list[str]:
    """A word of one clip must exist in all voices and emotions. Words without any clip can only be counted."""
    words = sorted({clip.split("_")[1] for clip in found})
    expected = {
        f"{speaker} {emotion}": [f"{speaker}_{word}_{emotion}" for word in words]
        for speaker in ("OAF", "YAF")
        for emotion in LABELS
    }
    unknown = [f"{WORDS - len(words)} of the {WORDS} words in every voice and emotion"] if len(words) < WORDS else []
    return absent(expected, found) + unknown
