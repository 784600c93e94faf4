"""One clip of speech with its labels and metadata."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from genser.errors import ManifestError

GENDERS = ("female", "male", "other")
SPLITS = ("train", "validation", "test")
GENDER_NAMES = {"f": "female", "m": "male", "woman": "female", "man": "male"} | {name: name for name in GENDERS}
SPLIT_NAMES = {"dev": "validation", "valid": "validation", "val": "validation"} | {name: name for name in SPLITS}
TIME_FIELDS = ("start", "end")


@dataclass(frozen=True)
class Utterance:
    """One clip of speech: an audio file or a part of it, with its labels and metadata.

    Args:
        path: Audio file.
        label: Class of the main task, such as ``"anger"``.
        speaker: Name of the speaker, unique within the corpus.
        gender: One of ``female``, ``male``, ``other``.
        split: Official split, one of ``train``, ``validation``, ``test``.
        start: Start within the file in seconds.
        end: End within the file in seconds.
        corpus: Name of the corpus.
        text: Transcript.
        intensity: Strength of the emotion as the corpus names it, such as ``"strong"``.
        extra: Other columns of the manifest, kept as they are; they do not count in comparisons.

    Raises:
        ManifestError: The path is empty, a time is impossible, or the gender or split is unknown.
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
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        faults = list(_faults(self))
        if faults:
            raise ManifestError("; ".join(faults) + ".")

    @property
    def key(self) -> str:
        """Name of the clip: the path, followed by ``#t=start,end`` if it is a part of the file."""
        if self.start is None and self.end is None:
            return self.path
        return f"{self.path}#t={self.start or 0.0:g},{'' if self.end is None else format(self.end, 'g')}"

    @property
    def speaker_key(self) -> tuple[str, str] | None:
        """Corpus and speaker, because the same name in two corpora means two people."""
        return None if self.speaker is None else (self.corpus or "", self.speaker)

    @property
    def speaker_digest(self) -> str | None:
        """First 16 digits of the SHA-256 of corpus and speaker: a model records it instead of a person's name."""
        if self.speaker_key is None:
            return None
        return hashlib.sha256("/".join(self.speaker_key).encode()).hexdigest()[:16]


def _faults(utterance: Utterance) -> Iterator[str]:
    if not utterance.path:
        yield "path is empty"
    for name in TIME_FIELDS:
        value = getattr(utterance, name)
        if value is not None and not (math.isfinite(value) and value >= 0):
            yield f"{name} is {value:g}, but must be a time in seconds from 0 on"
    if utterance.end is not None and utterance.end <= (utterance.start or 0.0):
        yield f"end {utterance.end:g} s is not after start {utterance.start or 0.0:g} s"
    for name, known in (("gender", GENDERS), ("split", SPLITS)):
        value = getattr(utterance, name)
        if value is not None and value not in known:
            yield f"{name} {value!r} is not one of {', '.join(known)}; leave it empty where unknown"
