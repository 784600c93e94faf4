"""Which column of a table is which field of a clip, by its usual names."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from genser.data.times import seconds
from genser.data.utterance import SPLIT_NAMES
from genser.errors import ManifestError

COLUMNS = ("path", "label", "speaker", "gender", "split", "start", "end", "corpus", "text", "intensity")
"""Columns of a manifest."""

OTHER_NAMES = {
    "path": (
        *("file", "filename", "file_name", "filepath", "file_path", "file_id", "audiofile", "recording"),
        *("wav", "wav_file", "wav_path", "audio", "audio_file", "audio_path", "audio_filepath", "clip"),
    ),
    "label": ("emotion", "class", "category", "target", "emotion_label", "label_name"),
    "speaker": ("speaker_id", "speaker_name", "speakerid", "spk", "spk_id", "actor", "actor_id", "user"),
    "gender": ("sex",),
    "split": ("set", "fold", "partition", "subset"),
    "start": ("start_time", "starttime", "begin", "begin_time", "onset", "tmin", "xmin", "offset"),
    "end": ("end_time", "endtime", "stop", "tmax", "xmax", "offset"),
    "corpus": ("dataset", "database"),
    "text": ("transcript", "transcription", "sentence", "raw_text"),
    "intensity": ("strength",),
    "duration": ("dur", "length"),
}
"""Usual names of the columns in other tables. ``offset`` is an end beside an ``onset``, else a start."""

UNITS = {"ms": 1e-3, "msec": 1e-3, "milliseconds": 1e-3, "s": 1.0, "sec": 1.0, "seconds": 1.0, "secs": 1.0}
"""Units that a name may end with, as in ``start_ms`` and ``End (s)``, in seconds."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: Its name in the table.
        unit: Unit of its numbers in seconds; 1 for all columns but times in milliseconds.
    """

    name: str
    unit: float = 1.0

    def seconds(self, row: Mapping[str, Any], *, decimal_comma: bool = False) -> float | None:
        """The time in a row, None if it has none.

        Raises:
            ManifestError: The value is no time.
        """
        value = row.get(self.name)
        try:
            found = seconds(value, decimal_comma=decimal_comma)
        except ManifestError as error:
            raise ManifestError(f"{self.name} {error}") from error
        is_number = not isinstance(value, str) or re.fullmatch(r"[\d.,e+ -]+", value.strip().lower())
        return None if found is None else found * self.unit if is_number else found


def find_columns(columns: Sequence[str], rows: Iterable[Mapping[str, Any]] = ()) -> dict[str, Column]:
    """Find the columns of a manifest, and ``duration``, by their names.

    Capitals, spaces, hyphens and units make no difference. A column with the name of a field is that field. Otherwise
    the only column with one of its usual names is; two of them are ambiguous, and neither is taken. A duration without
    a start is not taken either.

    Args:
        columns: Names of the columns of the table.
        rows: Rows of the table. A column such as ``fold`` is the split only if all its values are names of splits.

    Returns:
        Column by field.
    """
    plain = {name: _plain(name) for name in columns}
    found = {}
    for field, others in OTHER_NAMES.items():
        exact = [name for name, (word, _) in plain.items() if word == field]
        if field in columns:
            exact = [field]
        usual = [name for name, (word, _) in plain.items() if word in others and _is_meant(field, word, plain)]
        named = exact or usual
        if len(named) == 1 and (exact or field != "split" or _holds_splits(named[0], rows)):
            found[field] = Column(named[0], plain[named[0]][1] if field in ("start", "end", "duration") else 1.0)
    if "start" not in found:
        found.pop("duration", None)  # of a whole file, in any unit
    return found


def _plain(name: str) -> tuple[str, float]:
    """A name in lower case with underscores and without its unit, and the unit in seconds."""
    words = re.findall(r"[^\W_]+", name.casefold())
    unit = 1.0
    if len(words) > 1 and words[-1] in UNITS:
        unit = UNITS[words.pop()]
    return "_".join(words), unit


def _is_meant(field: str, word: str, plain: Mapping[str, tuple[str, float]]) -> bool:
    has_onset = any(other == "onset" for other, _ in plain.values())
    return word != "offset" or (field == "end") == has_onset


def _holds_splits(name: str, rows: Iterable[Mapping[str, Any]]) -> bool:
    values = {str(row.get(name) or "").strip().lower() for row in rows} - {""}
    return bool(values) and values <= set(SPLIT_NAMES)


def refuse_misspelt(columns: Sequence[str], found: Mapping[str, Column], needed: Sequence[str], source: Any) -> None:
    """Refuse a table that lacks a needed column, or has a column that looks like a misspelt one.

    A misspelt column must not lose labels or speakers. All other columns are kept as they are.

    Args:
        columns: Names of the columns of the table.
        found: See :func:`find_columns`.
        needed: Fields that the table must have.
        source: Name of the table.

    Raises:
        ManifestError: Needed columns are missing, or names are nearly those of missing ones; all are named.
    """
    missing = [name for name in COLUMNS if name not in found]
    used = {column.name for column in found.values()}
    faults: dict[str, str] = {}
    for name in columns:
        meant = [] if name in used else get_close_matches(_plain(name)[0], missing, n=1, cutoff=0.8)
        for field in meant:
            faults[field] = f"no column {field!r}, but a column {name!r}. Rename it if it is meant."
    for field in ("path", "label"):
        usual = [name for name in columns if _plain(name)[0] in OTHER_NAMES[field]]
        if field in missing and len(usual) > 1:
            listed = " and ".join(map(repr, usual))
            faults[field] = f"no column {field!r}, but {listed}. Rename the one that is meant."
    absent = [name for name in needed if name in missing and name not in faults]
    if absent:
        wanted = dict.fromkeys((*absent, *(name for name in ("label", "speaker") if name in missing)))
        cures = " ".join(f"{name.capitalize()}: {', '.join((name, *OTHER_NAMES[name]))}." for name in wanted)
        faults[absent[0]] = (
            f"no column {' and no column '.join(map(repr, absent))}; its columns are {', '.join(columns) or 'none'}. "
            f"Give those that are meant one of the names that are known. {cures}"
        )
    if faults:
        raise ManifestError(f"{source} has {' It has '.join(faults.values())}")


def known_names(field: str) -> str:
    """A sentence with all names of a column that are known; those in other languages are not."""
    return f"Name it {field}, or one of: {', '.join(OTHER_NAMES[field])}."
