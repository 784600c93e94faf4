"""Reads and writes manifests: tables with one clip per row."""

import math
import os
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from genser.data.columns import COLUMNS, Column, find_columns, refuse_misspelt
from genser.data.labels import NO_SPEECH, is_no_speech
from genser.data.tables import read_table, write_table
from genser.data.text import unescaped
from genser.data.utterance import GENDER_NAMES, SPLIT_NAMES, Utterance
from genser.errors import ManifestError, suggestion
from genser.files import is_file, is_folder
from genser.storage import path_of

TIMES = ("start", "end", "duration")
INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200e\u200f\ufeff"))  # signs without width and order marks
MAX_LISTED = 20  # problems in one error message


def read_manifest(
    path: str | os.PathLike[str], *, labels: Collection[str] | None = None, check_files: bool = True
) -> list[Utterance]:
    """Read a manifest and check every row; all problems are reported together.

    Columns are ``path`` (required), ``label``, ``speaker``, ``gender``, ``split``, ``start`` and ``end``, ``corpus``,
    ``text`` and ``intensity``; usual other names, such as ``file`` and ``emotion``, are known, see
    :func:`genser.data.columns.find_columns`. Other columns are kept in ``Utterance.extra``. Times may have any notation
    of :func:`genser.data.times.seconds`; ``duration`` beside ``start`` stands for ``end``. Relative paths start at the
    folder of the manifest. A file is found if its name on the disk has another Unicode form, or if the table writes it
    with backslashes. Labels and names are compared in the form NFC, without spaces around them; ``no speech`` is known
    in any case, and with an underscore.

    Args:
        path: CSV, TSV, JSON, JSON lines, Parquet or Feather, by its ending.
        labels: If given, every row must have one of these labels.
        check_files: Whether every audio file must exist.

    Returns:
        Utterances in the order of the rows, with absolute paths.

    Raises:
        ManifestError: Some rows cannot be used, a needed column is missing, or a column has a misspelt name of one
            that is missing. Up to 20 rows are listed, with their number (row of a spreadsheet whose header is row 1, or
            line of a JSON-lines file) and the reason.
        MissingExtraError: Parquet or Feather without pyarrow.
    """
    path = Path(path)
    table = read_table(path)
    found = find_columns(table.columns, [row for _, row in table.rows])
    if table.columns:
        refuse_misspelt(table.columns, found, ("path",) if labels is None else ("path", "label"), path)
    folder = path.parent.absolute()
    problems = list(table.problems)
    utterances: list[Utterance] = []
    seen: dict[tuple[str, float, float | None], int] = {}
    for number, record in table.rows:
        utterance, reasons = parse_row(record, found, folder, decimal_comma=table.decimal_comma)
        if utterance is not None:
            reasons += _fit(utterance, number, labels, check_files, seen)
            utterances.append(utterance)
        problems.extend((number, reason) for reason in reasons)
    if problems:
        raise ManifestError(_listing(path, sorted(problems)))
    if not utterances:
        raise ManifestError(f"{path} has no rows. Each row names an audio file and, for training, its label.")
    return utterances


def parse_row(
    record: Mapping[str, Any], columns: Mapping[str, Column], folder: Path, *, decimal_comma: bool = False
) -> tuple[Utterance | None, list[str]]:
    """Make an utterance from a row.

    Args:
        record: Values by column of the table.
        columns: Column by field, see :func:`genser.data.columns.find_columns`; the others are kept as extra ones.
        folder: Folder at which relative paths start.
        decimal_comma: See :func:`genser.data.times.seconds`.

    Returns:
        The utterance (None if the row cannot be used), and all problems of the row.
    """
    used = {column.name for field, column in columns.items() if field in COLUMNS}
    extra = {name: value for name, value in record.items() if name not in used and not _is_empty(value)}
    fields: dict[str, Any] = {"extra": extra}
    reasons = []
    for field, column in columns.items():
        if field == "duration" and "end" in columns:
            continue
        try:
            if field in TIMES:
                fields[field] = column.seconds(record, decimal_comma=decimal_comma)
            else:
                fields[field] = _text(field, record.get(column.name))
        except ManifestError as error:
            reasons.append(str(error))
    duration = fields.pop("duration", None)
    if duration is not None:
        fields["end"] = (fields.get("start") or 0.0) + duration
    fields["path"] = found_file(folder, fields["path"]) if fields.get("path") else ""
    if fields.get("label") and is_no_speech(fields["label"]):
        fields["label"] = NO_SPEECH
    if fields.get("gender"):
        fields["gender"] = GENDER_NAMES.get(fields["gender"].lower(), fields["gender"])
    if fields.get("split"):
        fields["split"] = SPLIT_NAMES.get(fields["split"].lower(), fields["split"])
    try:
        return Utterance(**fields), reasons
    except ManifestError as error:
        return None, [*reasons, str(error)]


def found_file(folder: Path, name: str) -> str:
    """Absolute path of a file.

    If there is none of this name, it is looked for without spaces around the name, with slashes for backslashes, and in
    both Unicode forms, in which systems differ, and with the characters that genser's own tables escape.
    """
    if name.lower().startswith("file:"):
        name = path_of(name)
    path = os.path.normpath(os.path.join(folder, name))  # noqa: PTH118 - 50,000 paths take seconds as a Path
    plain = name.strip()
    spellings = (plain, plain.replace("\\", "/"))
    others = {unicodedata.normalize(form, spelling) for spelling in spellings for form in ("NFC", "NFD")} - {name}
    others |= {unescaped(name)} if "\\" in name else set()
    if not others or os.path.exists(path):  # noqa: PTH110 - a Path raises if a name is too long
        return path
    found = (os.path.normpath(os.path.join(folder, other)) for other in sorted(others))  # noqa: PTH118
    return next((other for other in found if os.path.exists(other)), path)  # noqa: PTH110


def _is_empty(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))  # pandas writes NaN


def _text(field: str, value: Any) -> str | None:
    if _is_empty(value):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # pandas makes floats of whole numbers if one is missing
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise ManifestError(f"{field} is {value!r}, but must be text.")
    if field not in ("path", "text"):
        value = " ".join(unicodedata.normalize("NFC", value.translate(INVISIBLE)).split())
    return value or None


def _fit(
    utterance: Utterance,
    number: int,
    labels: Collection[str] | None,
    check_files: bool,
    seen: dict[tuple[str, float, float | None], int],
) -> list[str]:
    reasons = []
    if labels is not None:
        if utterance.label is None:
            reasons.append("has no label.")
        elif utterance.label not in labels:
            reasons.append(f"has the unknown label {utterance.label!r}. {suggestion(utterance.label, labels)}")
    if check_files and not is_file(utterance.path):
        reasons.append(f"{utterance.path} {'is a folder' if is_folder(utterance.path) else 'does not exist'}.")
    first = seen.setdefault((utterance.path, utterance.start or 0.0, utterance.end), number)
    if first != number:
        reasons.append(f"repeats row {first} ({utterance.key}).")
    return reasons


def _listing(path: Path, problems: Sequence[tuple[int, str]]) -> str:
    rows = len({number for number, _ in problems})
    lines = [f"  row {number}: {reason}" for number, reason in problems[:MAX_LISTED]]
    if len(problems) > MAX_LISTED:
        lines.append(f"  … and {len(problems) - MAX_LISTED} more")
    if any(reason.endswith("does not exist.") for _, reason in problems):
        lines.append(f"Relative paths start at the folder of the table, {path.parent.absolute()}.")
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
