"""Any table with a column of audio files."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genser.audio.endings import AUDIO_ENDINGS
from genser.data.columns import COLUMNS, Column, find_columns, refuse_misspelt
from genser.data.corpora.report import Collector, CorpusReport
from genser.data.manifest import found_file, parse_row
from genser.data.tables import TABLE_ENDINGS, Table, read_table
from genser.errors import ManifestError, suggestion
from genser.files import is_file

NAME = "csv"
LAYOUT = "a table (.csv, .tsv, .json, .jsonl, .parquet) with a column of audio files, such as file,emotion,speaker_id"


def read(root: Path, columns: Mapping[str, str] | None = None) -> CorpusReport:
    """Read a table, such as one whose columns have other names than those of a manifest; omit its bad rows.

    Args:
        root: The table, or a folder with just one table; relative paths start at its folder. A file may be named
            without its ending, or with another one.
        columns: Column of the table for each column of a manifest, such as ``{"path": "clip"}``; usual names are known.

    Returns:
        The good rows, with the other columns as extra ones; bad rows are problems; audio files that do not exist are
        missing.

    Raises:
        ManifestError: The table cannot be read, or no column names audio files.
    """
    path = _table_in(root)
    table = read_table(path)
    found = _columns(table, path, dict(columns or {}))
    collector = Collector(path.parent)
    missing = []
    for number, reason in table.problems:
        collector.problem(path, f"row {number} {reason} It is omitted.")
    for number, row in table.rows:
        row = _with_ending(row, found["path"].name, path.parent)
        utterance, reasons = parse_row(row, found, path.parent.absolute(), decimal_comma=table.decimal_comma)
        if reasons or utterance is None:
            collector.problem(path, f"row {number}: {' '.join(reasons)} It is omitted.")
        elif not is_file(utterance.path):
            missing.append(utterance.path)
        else:
            collector.add_utterance(utterance.key, utterance)
    return collector.report(missing)


def _table_in(root: Path) -> Path:
    if root.is_file():
        return root
    files = sorted(path for path in root.iterdir() if not path.name.startswith("."))
    tables = [path for path in files if path.suffix.lower() in TABLE_ENDINGS]
    if len(tables) != 1:
        raise ManifestError(f"{root} has {len(tables)} tables. Name one of them.")
    return tables[0]


def _columns(table: Table, path: Path, given: dict[str, str]) -> dict[str, Column]:
    """Column of the table for each column of a manifest that it has."""
    for ours, theirs in given.items():
        if ours not in COLUMNS:
            raise ManifestError(f"A manifest has no column {ours!r}. {suggestion(ours, COLUMNS)}")
        if theirs not in table.columns:
            raise ManifestError(f"{path} has no column {theirs!r}. {suggestion(theirs, table.columns)}")
    found = find_columns(table.columns, [row for _, row in table.rows])
    found |= {ours: Column(theirs) for ours, theirs in given.items()}
    refuse_misspelt(table.columns, found, ("path",), path)
    return found


def _with_ending(row: Mapping[str, Any], column: str, folder: Path) -> Mapping[str, Any]:
    """The row with the name of the file that exists, which may have another audio ending than the table says."""
    name = row.get(column)
    if not isinstance(name, str) or not name.strip():
        return row
    path = _existing(Path(found_file(folder.absolute(), name)))
    return {**row, column: os.fspath(path)}


def _existing(path: Path) -> Path:
    """The file, or a file beside it with the same name and another audio ending."""
    if is_file(path):
        return path
    stem = path.stem if path.suffix.lower() in AUDIO_ENDINGS else path.name
    alike = [path.with_name(stem + ending) for ending in sorted(AUDIO_ENDINGS)]
    return next((other for other in alike if is_file(other)), path)
