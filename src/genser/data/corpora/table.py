"""Any table with a column of audio files."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genser.audio.endings import AUDIO_ENDINGS
from genser.data.corpora.report import Collector, CorpusReport
from genser.data.manifest import COLUMNS, OTHER_NAMES, parse_row
from genser.data.tables import Table, read_table
from genser.errors import ManifestError, suggestion

NAME = "csv"
LAYOUT = "a table (.csv, .tsv, .jsonl, .parquet) with a column of audio files, such as file,emotion,speaker_id"


def read(root: Path, columns: Mapping[str, str] | None = None) -> CorpusReport:
    """Read a table whose columns have other names than those of a manifest.

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
    names = _names(table, path, dict(columns or {}))
    collector = Collector(path.parent)
    missing = []
    for number, reason in table.problems:
        collector.problem(path, f"row {number} {reason} It is omitted.")
    for number, row in table.rows:
        utterance, reasons = parse_row(_translated(row, names, path.parent), path.parent.absolute())
        if reasons or utterance is None:
            collector.problem(path, f"row {number}: {' '.join(reasons)} It is omitted.")
        elif not Path(utterance.path).is_file():
            missing.append(utterance.path)
        else:
            collector.add_utterance(utterance.key, utterance)
    return collector.report(missing)


def _table_in(root: Path) -> Path:
    if root.is_file():
        return root
    tables = sorted(path for path in root.iterdir() if path.suffix.lower() in (".csv", ".tsv", ".jsonl", ".parquet"))
    if len(tables) != 1:
        raise ManifestError(f"{root} has {len(tables)} tables. Name one of them.")
    return tables[0]


def _names(table: Table, path: Path, given: dict[str, str]) -> dict[str, str]:
    """Column of the table for each column of a manifest that it has."""
    for ours, theirs in given.items():
        if ours not in COLUMNS:
            raise ManifestError(f"A manifest has no column {ours!r}. {suggestion(ours, COLUMNS)}")
        if theirs not in table.columns:
            raise ManifestError(f"{path} has no column {theirs!r}. {suggestion(theirs, table.columns)}")
    spelled = {name.lower(): name for name in reversed(table.columns)}
    usual = {ours: (ours, *OTHER_NAMES.get(ours, ())) for ours in COLUMNS}
    found = {ours: next((spelled[name] for name in names if name in spelled), None) for ours, names in usual.items()}
    names = {ours: name for ours, name in found.items() if name is not None} | given
    if "path" not in names:
        raise ManifestError(f"{path} has no column of audio files; its columns are {', '.join(table.columns)}.")
    return names


def _translated(row: Mapping[str, Any], names: Mapping[str, str], folder: Path) -> dict[str, Any]:
    used = {*COLUMNS, *names.values()}
    fields = {name: value for name, value in row.items() if name not in used}
    fields |= {ours: row.get(theirs) for ours, theirs in names.items()}
    if isinstance(fields["path"], str) and fields["path"].strip():
        fields["path"] = os.fspath(_existing(folder / fields["path"].strip()))
    return fields


def _existing(path: Path) -> Path:
    """The file, or a file beside it with the same name and another audio ending."""
    if path.is_file():
        return path
    stem = path.stem if path.suffix.lower() in AUDIO_ENDINGS else path.name
    alike = [path.with_name(stem + ending) for ending in sorted(AUDIO_ENDINGS)]
    return next((other for other in alike if other.is_file()), path)
