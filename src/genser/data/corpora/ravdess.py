"""RAVDESS, the English speech of 24 actors (Livingstone and Russo, 2018, doi:10.1371/journal.pone.0196391)."""

from itertools import product
from pathlib import Path

from genser.data.corpora.report import Collector, CorpusReport, absent, sound_files

NAME = "ravdess"
LAYOUT = "Actor_01/03-01-05-01-02-01-12.wav, with or without Audio_Speech_Actors_01-24 above"
LABELS = {
    "01": "neutral",
    "02": "calm",
    "03": "happiness",
    "04": "sadness",
    "05": "anger",
    "06": "fear",
    "07": "disgust",
    "08": "surprise",
}
INTENSITIES = {"01": "normal", "02": "strong"}
SENTENCES = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}
ACTORS = tuple(f"{actor:02d}" for actor in range(1, 25))


def read(root: Path) -> CorpusReport:
    """Read the 1440 speech clips ``MM-VC-EMO-INT-ST-REP-ACTOR``; songs are reported and omitted."""
    collector = Collector(root, NAME, "en")
    for path in sound_files(root):
        fields = path.stem.split("-")
        reason = _refusal(fields)
        if reason:
            collector.problem(path, reason)
            continue
        _, _, emotion, intensity, sentence, _, actor = fields
        collector.add(
            "-".join(["03", *fields[1:]]),
            path,
            label=LABELS[emotion],
            speaker=actor,
            gender="male" if int(actor) % 2 else "female",
            text=SENTENCES[sentence],
            intensity=INTENSITIES[intensity],
        )
    return collector.report(absent(_official(), collector.utterances))


def _refusal(fields: list[str]) -> str | None:
    if len(fields) != 7:
        return "is not named MM-VC-EMO-INT-ST-REP-ACTOR, such as 03-01-05-01-02-01-12"
    modality, channel, emotion, intensity, sentence, repetition, actor = fields
    if channel == "02":
        return "is a song (vocal channel 02), omitted"
    if modality == "02":
        return "is a video without audio (modality 02), omitted"
    known = (modality in ("01", "03"), channel == "01", emotion in LABELS, intensity in INTENSITIES)
    if not all(known) or sentence not in SENTENCES or repetition not in ("01", "02") or actor not in ACTORS:
        return "has a code in its name that RAVDESS does not define"
    if emotion == "01" and intensity == "02":
        return "names a strong neutral, which RAVDESS does not have"
    return None


def _official() -> dict[str, list[str]]:
    codes = [
        f"03-01-{emotion}-{intensity}-{sentence}-{repetition}"
        for emotion, intensity, sentence, repetition in product(LABELS, INTENSITIES, SENTENCES, ("01", "02"))
        if (emotion, intensity) != ("01", "02")
    ]
    return {f"Actor_{actor}": [f"{code}-{actor}" for code in codes] for actor in ACTORS}
