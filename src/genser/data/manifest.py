"""Manifests: lists of utterances that are checked row by row when read and appear whole when written."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from genser.data.tables import encode_table, read_table
from genser.data.utterance import GENDER_NAMES, SPLIT_NAMES, TIME_FIELDS, Utterance
from genser.errors import ManifestError, suggestion
from genser.files import atomic_write

COLUMNS = ("path", "label", "speaker", "gender", "split", "start", "end", "corpus", "text", "intensity")
MAX_LISTED = 20  # problems that one error message spells out
FOREIGN_NAMES = {
    "path": ("file", "filename", "file_name", "filepath", "wav", "audio", "clip", "file_id"),
    "label": ("emotion", "class", "category", "target"),
    "speaker": ("speaker_id", "actor", "spk", "user"),
    "gender": ("sex",),
    "split": ("set", "fold", "partition", "subset"),
    "start": ("start_time", "begin", "onset", "offset"),
    "end": ("end_time", "stop"),
    "corpus": ("dataset", "database", "source"),
    "text": ("transcript", "transcription", "sentence", "raw_text", "utterance"),
    "intensity": ("level", "strength"),
}

__all__ = ["COLUMNS", "Utterance", "read_manifest", "write_manifest"]


def read_manifest(
    path: str | os.PathLike[str], *, labels: Collection[str] | None = None, check_files: bool = True
) -> list[Utterance]:
    """Read a manifest and check every row; all problems are reported together.

    Columns are ``path`` (the only one that must be there), ``label``, ``speaker``, ``gender``, ``split``, ``start`` and
    ``end`` in seconds, ``corpus``, ``text`` and ``intensity``. Relative paths start at the folder of the manifest.

    Args:
        path: CSV (commas or semicolons), TSV, JSON lines or Parquet, by its ending.
        labels: Where given, every row must carry one of these labels.
        check_files: Whether every sound file must exist.

    Returns:
        Utterances in the order of the rows, their paths absolute.

    Raises:
        ManifestError: Something is wrong; up to 20 rows are listed, each with its number (of the spreadsheet row, the
            header being row 1, or of the line in JSON lines) and reason.
        MissingExtraError: Parquet without pyarrow.
    """
    path = Path(path)
    table = read_table(path)
    _check_columns(table.columns, path, labels is not None)
    folder = path.parent.absolute()
    problems = list(table.problems)
    utterances: list[Utterance] = []
    seen: dict[tuple[str, float | None, float | None], int] = {}
    for number, record in table.rows:
        utterance, reasons = parse_row(record, folder)
        if utterance is not None:
            reasons += _fit(utterance, number, labels, check_files, seen)
            utterances.append(utterance)
        problems.extend((number, reason) for reason in reasons)
    if problems:
        raise ManifestError(_listing(path, sorted(problems)))
    if not utterances:
        raise ManifestError(f"{path} has no rows; each row names a sound file and, to train, its label")
    return utterances


def _check_columns(columns: Sequence[str], path: Path, need_label: bool) -> None:
    for name in columns:
        if name not in COLUMNS:
            meant = [ours for ours, theirs in FOREIGN_NAMES.items() if name.lower() in (ours, *theirs)]
            hint = f"Did you mean {meant[0]!r}?" if meant else suggestion(name, COLUMNS)
            raise ManifestError(f"{path} has an unknown column {name!r}. {hint}")
    needed = ("path", "label") if need_label else ("path",)
    absent = [name for name in needed if name not in columns]
    if absent and columns:
        raise ManifestError(f"{path} has no column {absent[0]!r}; its columns are {', '.join(columns)}")


def parse_row(record: dict[str, Any], folder: Path) -> tuple[Utterance | None, list[str]]:
    """One row of named fields as an utterance.

    Args:
        record: Fields by our names of columns.
        folder: Where relative paths start.

    Returns:
        The utterance (None where the row makes none) and all that is wrong with the row.
    """
    fields: dict[str, Any] = {}
    reasons = []
    for name, value in record.items():
        convert = _number if name in TIME_FIELDS else _text
        try:
            fields[name] = convert(name, value)
        except ManifestError as error:
            reasons.append(str(error))
    fields["path"] = fields.get("path") or ""
    if fields["path"]:
        fields["path"] = os.path.normpath(folder / fields["path"])
    if fields.get("gender"):
        fields["gender"] = GENDER_NAMES.get(fields["gender"].lower(), fields["gender"])
    if fields.get("split"):
        fields["split"] = SPLIT_NAMES.get(fields["split"].lower(), fields["split"])
    try:
        return Utterance(**fields), reasons
    except ManifestError as error:
        return None, [*reasons, str(error)]


def _text(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise ManifestError(f"{name} is {value!r}; it must be text")
    value = value if name in ("path", "text") else value.strip()
    return value or None


def _number(name: str, value: Any) -> float | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ManifestError(f"{name} is {value!r}; it must be a number of seconds")
    try:
        return float(value)
    except (ValueError, OverflowError) as error:
        raise ManifestError(f"{name} is {value!r}; it must be a number of seconds, such as 1.5") from error


def _fit(
    utterance: Utterance,
    number: int,
    labels: Collection[str] | None,
    check_files: bool,
    seen: dict[tuple[str, float | None, float | None], int],
) -> list[str]:
    reasons = []
    if labels is not None and utterance.label is None:
        reasons.append("has no label")
    elif labels is not None and utterance.label not in labels:
        reasons.append(f"has the unknown label {utterance.label!r}. {suggestion(utterance.label, labels)}")
    if check_files and not (file := Path(utterance.path)).is_file():
        reasons.append(f"{file} {'is a folder' if file.is_dir() else 'does not exist'}")
    first = seen.setdefault((utterance.path, utterance.start, utterance.end), number)
    if first != number:
        reasons.append(f"repeats row {first} ({utterance.key})")
    return reasons


def _listing(path: Path, problems: Sequence[tuple[int, str]]) -> str:
    rows = len({number for number, _ in problems})
    lines = [f"  row {number}: {reason}" for number, reason in problems[:MAX_LISTED]]
    if len(problems) > MAX_LISTED:
        lines.append(f"  … and {len(problems) - MAX_LISTED} more")
    return "\n".join([f"{path}: {rows} {'row' if rows == 1 else 'rows'} cannot be used", *lines])


def write_manifest(utterances: Sequence[Utterance], path: str | os.PathLike[str], *, relative: bool = True) -> None:
    """Write a manifest, whole or not at all, with the columns that any utterance fills.

    Args:
        utterances: At least one.
        path: File to write; its ending says whether CSV, TSV, JSON lines or Parquet.
        relative: Write paths from the folder of the manifest, so that both can move together; else absolute ones.

    Raises:
        ManifestError: There are no utterances, the folder is missing or the ending is unknown.
        MissingExtraError: Parquet without pyarrow.
    """
    path = Path(path)
    if not utterances:
        raise ManifestError(f"there is nothing to write to {path}: no utterances")
    if not path.parent.is_dir():
        raise ManifestError(f"the folder {path.parent} does not exist; make it first")
    columns = [name for name in COLUMNS if any(getattr(utterance, name) is not None for utterance in utterances)]
    folder = os.path.normpath(path.parent.absolute()) if relative else None
    rows = ({name: getattr(item, name) for name in columns} for item in utterances)
    placed = (row | {"path": _place(row["path"], folder)} for row in rows)
    atomic_write(path, encode_table(columns, placed, path.suffix.lower()))


def _place(path: str, folder: str | None) -> str:
    absolute = os.path.normpath(Path(path).absolute())
    if folder is None or os.path.splitdrive(absolute)[0] != os.path.splitdrive(folder)[0]:
        return absolute
    return os.path.relpath(absolute, folder).replace(os.sep, "/")
