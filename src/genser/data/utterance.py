"""One stretch of speech and what is known of it."""

import math
from dataclasses import dataclass

from genser.errors import ManifestError

GENDERS = ("female", "male", "other")
SPLITS = ("train", "validation", "test")
GENDER_NAMES = {"f": "female", "m": "male", "woman": "female", "man": "male"} | {name: name for name in GENDERS}
SPLIT_NAMES = {"dev": "validation", "valid": "validation", "val": "validation"} | {name: name for name in SPLITS}
TIME_FIELDS = ("start", "end")


@dataclass(frozen=True)
class Utterance:
    """One stretch of speech: a sound file or a part of it, with its labels.

    Args:
        path: Sound file.
        label: Class of the main task, such as ``"anger"``.
        speaker: Name of the speaker, unique inside the corpus.
        gender: One of ``female``, ``male``, ``other``.
        split: Official side, one of ``train``, ``validation``, ``test``.
        start: Beginning in the file in seconds.
        end: End in the file in seconds.
        corpus: Corpus that the utterance comes from.
        text: Words that are spoken.
        intensity: Strength of the emotion in the words of the corpus, such as ``"strong"``.

    Raises:
        ManifestError: The path is empty, a time is impossible, or gender or split is no known name.
    """

    path: str
    label: str | None = None
    speaker: str | None = None
    gender: str | None = None
    split: str | None = None
    start: float | None = None
    end: float | None = None
    corpus: str | None = None
    text: str | None = None
    intensity: str | None = None

    def __post_init__(self) -> None:
        faults = list(_faults(self))
        if faults:
            raise ManifestError("; ".join(faults))

    @property
    def key(self) -> str:
        """Name of the stretch: the path, and ``#t=start,end`` where it is a part of the file."""
        if self.start is None and self.end is None:
            return self.path
        return f"{self.path}#t={self.start or 0.0:g},{'' if self.end is None else format(self.end, 'g')}"

    @property
    def speaker_key(self) -> tuple[str, str] | None:
        """Speaker with the corpus, as the same name in two corpora means two people."""
        return None if self.speaker is None else (self.corpus or "", self.speaker)


def _faults(utterance: Utterance):
    if not utterance.path:
        yield "the path is empty"
    for name in TIME_FIELDS:
        value = getattr(utterance, name)
        if value is not None and not (math.isfinite(value) and value >= 0):
            yield f"{name} is {value:g}; it must be a time in seconds from 0 on"
    if utterance.end is not None and utterance.end <= (utterance.start or 0.0):
        yield f"end {utterance.end:g} s is not after start {utterance.start or 0.0:g} s"
    for name, known in (("gender", GENDERS), ("split", SPLITS)):
        value = getattr(utterance, name)
        if value is not None and value not in known:
            yield f"{name} {value!r} is not one of {', '.join(known)}; leave it empty where unknown"
