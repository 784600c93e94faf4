"""Reads and writes manifests: tables with one clip per row."""

import os
import unicodedata
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from genser.data.tables import read_table, write_table
from genser.data.utterance import GENDER_NAMES, SPLIT_NAMES, TIME_FIELDS, Utterance
from genser.errors import ManifestError, suggestion

COLUMNS = ("path", "label", "speaker", "gender", "split", "start", "end", "corpus", "text", "intensity")
MAX_LISTED = 20  # problems in one error message
OTHER_NAMES = {
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
"""Usual names of the columns in other tables."""


def read_manifest(
    path: str | os.PathLike[str], *, labels: Collection[str] | None = None, check_files: bool = True
) -> list[Utterance]:
    """Read a manifest and check every row; all problems are reported together.

    Columns are ``path`` (required), ``label``, ``speaker``, ``gender``, ``split``, ``start`` and ``end`` in seconds,
    ``corpus``, ``text`` and ``intensity``. Other columns are kept in ``Utterance.extra``. Relative paths start
    at the folder of the manifest. Spaces around labels and names are removed. Labels and names are compared in the
    Unicode form NFC, and a file is found if its name on the disk has another form.

    Args:
        path: CSV (commas or semicolons), TSV, JSON lines or Parquet, by its ending.
        labels: If given, every row must have one of these labels.
        check_files: Whether every audio file must exist.

    Returns:
        Utterances in the order of the rows, with absolute paths.

    Raises:
        ManifestError: Some rows cannot be used, or a column has the usual name or a misspelt name of one that is
            missing. Up to 20 rows are listed, with their number (row of a spreadsheet whose header is row 1, or line of
            a JSON-lines file) and the reason.
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
        raise ManifestError(f"{path} has no rows. Each row names an audio file and, for training, its label.")
    return utterances


def _check_columns(columns: Sequence[str], path: Path, need_label: bool) -> None:
    missing = [name for name in COLUMNS if name not in columns]
    for name in set(columns) - set(COLUMNS):
        # a misspelt column must not lose labels or speakers; all other columns are kept as they are
        meant = [ours for ours in ("path", "label") if ours in missing and name.lower() in OTHER_NAMES[ours]]
        meant += get_close_matches(name.lower(), missing, n=1, cutoff=0.8)
        if meant:
            raise ManifestError(f"{path} has no column {meant[0]!r}, but a column {name!r}. Rename it if it is meant.")
    needed = ("path", "label") if need_label else ("path",)
    absent = [name for name in needed if name in missing]
    if absent and columns:
        raise ManifestError(f"{path} has no column {absent[0]!r}; its columns are {', '.join(columns)}.")


def parse_row(record: dict[str, Any], folder: Path) -> tuple[Utterance | None, list[str]]:
    """Make an utterance from a row.

    Args:
        record: Fields by column of a manifest; other columns are kept as extra ones.
        folder: Folder at which relative paths start.

    Returns:
        The utterance (None if the row cannot be used), and all problems of the row.
    """
    extra = {name: value for name, value in record.items() if name not in COLUMNS and value not in (None, "")}
    fields: dict[str, Any] = {"extra": extra}
    reasons = []
    for name, value in record.items():
        if name not in COLUMNS:
            continue
        convert = _number if name in TIME_FIELDS else _text
        try:
            fields[name] = convert(name, value)
        except ManifestError as error:
            reasons.append(str(error))
    fields["path"] = fields.get("path") or ""
    if fields["path"]:
        fields["path"] = _found(folder, fields["path"])
    if fields.get("gender"):
        fields["gender"] = GENDER_NAMES.get(fields["gender"].lower(), fields["gender"])
    if fields.get("split"):
        fields["split"] = SPLIT_NAMES.get(fields["split"].lower(), fields["split"])
    try:
        return Utterance(**fields), reasons
    except ManifestError as error:
        return None, [*reasons, str(error)]


def _found(folder: Path, name: str) -> str:
    """Absolute path of a file; systems differ in the Unicode form of file names, so all forms are tried."""
    path = os.path.normpath(folder / name)
    if path.isascii() or os.path.exists(path):  # noqa: PTH110 - a Path raises if a name is too long
        return path
    others = (os.path.normpath(folder / unicodedata.normalize(form, name)) for form in ("NFC", "NFD"))
    return next((other for other in others if os.path.exists(other)), path)  # noqa: PTH110


def _text(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise ManifestError(f"{name} is {value!r}, but must be text.")
    value = value if name in ("path", "text") else unicodedata.normalize("NFC", value.strip())
    return value or None


def _number(name: str, value: Any) -> float | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ManifestError(f"{name} is {value!r}, but must be a number of seconds.")
    try:
        return float(value)
    except (ValueError, OverflowError) as error:
        raise ManifestError(f"{name} is {value!r}, but must be a number of seconds, such as 1.5.") from error


def _fit(
    utterance: Utterance,
    number: int,
    labels: Collection[str] | None,
    check_files: bool,
    seen: dict[tuple[str, float | None, float | None], int],
) -> list[str]:
    reasons = []
    if labels is not None:
        if utterance.label is None:
            reasons.append("has no label.")
        elif utterance.label not in labels:
            reasons.append(f"has the unknown label {utterance.label!r}. {suggestion(utterance.label, labels)}")
    if check_files and not (file := Path(utterance.path)).is_file():
        reasons.append(f"{file} {'is a folder' if file.is_dir() else 'does not exist'}.")
    first = seen.setdefault((utterance.path, utterance.start, utterance.end), number)
    if first != number:
        reasons.append(f"repeats row {first} ({utterance.key}).")
    return reasons


def _listing(path: Path, problems: Sequence[tuple[int, str]]) -> str:
    rows = len({number for number, _ in problems})
    lines = [f"  row {number}: {reason}" for number, reason in problems[:MAX_LISTED]]
    if len(problems) > MAX_LISTED:
        lines.append(f"  … and {len(problems) - MAX_LISTED} more")
    return "\n".join([f"In {path} {rows} {'row' if rows == 1 else 'rows'} cannot be used:", *lines])


def write_manifest(utterances: Sequence[Utterance], path: str | os.PathLike[str], *, relative: bool = True) -> None:
    """Write a manifest with the columns that any utterance fills, in one step.

    Args:
        utterances: At least one.
        path: File to write; its ending selects CSV, TSV, JSON lines or Parquet.
        relative: Whether paths start at the folder of the manifest, so that both can be moved; else they are absolute.

    Raises:
        ManifestError: There are no utterances, the folder is missing or the ending is unknown.
        MissingExtraError: Parquet without pyarrow.
    """
    path = Path(path)
    if not utterances:
        raise ManifestError(f"There are no utterances to write to {path}.")
    if not path.parent.is_dir():
        raise ManifestError(f"The folder {path.parent} does not exist. Create it first.")
    columns = [name for name in COLUMNS if any(getattr(utterance, name) is not None for utterance in utterances)]
    folder = os.path.normpath(path.parent.absolute()) if relative else None
    extra = list(dict.fromkeys(name for item in utterances for name in item.extra))
    rows = [
        {name: item.extra.get(name) for name in extra}
        | {name: getattr(item, name) for name in columns}
        | {"path": _written(item.path, folder)}
        for item in utterances
    ]
    write_table(path, [*columns, *extra], rows)


def _written(path: str, folder: str | None) -> str:
    absolute = os.path.normpath(Path(path).absolute())
    if folder is None or os.path.splitdrive(absolute)[0] != os.path.splitdrive(folder)[0]:
        return absolute
    return os.path.relpath(absolute, folder).replace(os.sep, "/")
