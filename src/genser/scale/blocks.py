"""The input of a job as numbered blocks of rows, in an order that repeats, and in memory that does not grow."""

import csv
import glob
import hashlib
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from genser.audio.endings import AUDIO_ENDINGS
from genser.audio.folders import find_matches, walk_audio
from genser.data.columns import Column, find_columns, refuse_misspelt
from genser.data.manifest import found_file
from genser.data.tables import MAX_FIELD, PARQUET, find_dialect, import_parquet
from genser.data.text import encoding_of
from genser.errors import ConfigError, ManifestError, cause
from genser.files import is_file, is_folder
from genser.storage import ending_of, is_url, local_name, open_stored, storage_errors, walk_stored

TEXT = (".csv", ".tsv")
LINES = (".jsonl", ".ndjson")
MANIFESTS = (*TEXT, *LINES, *PARQUET)
HEAD = 1 << 20  # bytes in which the header is
FIELDS = ("path", "start", "end", "duration")


@dataclass(frozen=True)
class Row:
    """An utterance of the input.

    Attributes:
        number: Its place in the input, from 0.
        path: Absolute path, or URL.
        start: Start in seconds; None is that of the file.
        end: End in seconds; None is that of the file.
        error: Why it cannot be used.
    """

    number: int
    path: str
    start: float | None = None
    end: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Block:
    """Consecutive rows, which become one shard.

    Attributes:
        number: Its place, from 0.
        rows: At least one.
    """

    number: int
    rows: tuple[Row, ...]

    def digest(self, job: str) -> str:
        """Start of the SHA-256 of the rows and of the digest of the job."""
        values = [[row.path, row.start, row.end, row.error] for row in self.rows]
        return hashlib.sha256(json.dumps([job, values]).encode()).hexdigest()[:16]


def read_blocks(inputs: Sequence[str], size: int) -> Iterator[Block]:
    """The blocks of an input.

    Args:
        inputs: Manifests (CSV, TSV, JSON lines or Parquet), folders, audio files, patterns, or URLs of them.
        size: Rows in a block.

    Raises:
        ConfigError: An input does not exist.
        ManifestError: A manifest cannot be read; single rows that cannot be used have an error instead.
    """
    rows = read_rows(inputs)
    number = 0
    while some := tuple(islice(rows, size)):
        yield Block(number, some)
        number += 1


def read_rows(inputs: Iterable[str]) -> Iterator[Row]:
    """The rows of an input, see :func:`read_blocks`."""
    number = 0
    for name in inputs:
        name = local_name(name)
        for row in _manifest(name) if ending_of(name).lower() in MANIFESTS else map(_of_file, _files(name)):
            yield Row(number, *row)
            number += 1


Fields = tuple[str, float | None, float | None, str | None]
"""Path, start, end and error of a row."""


def _of_file(path: str) -> Fields:
    return path, None, None, None


def _files(name: str) -> Iterator[str]:
    """Absolute paths or URLs of the audio files below a folder, or that match a pattern; else the file itself."""
    if is_url(name):
        yield from walk_stored(name, AUDIO_ENDINGS)
    elif is_folder(name):
        unreadable: list[str] = []
        yield from walk_audio(os.path.abspath(name), unreadable)  # noqa: PTH100
        yield from unreadable  # each becomes a row that says so
    elif glob.has_magic(name) and not is_file(name):
        yield from sorted(os.path.abspath(one) for one in find_matches(name) if is_file(one))  # noqa: PTH100
    elif is_file(name):
        yield os.path.abspath(name)  # noqa: PTH100
    else:
        raise ConfigError(f"The input {name} does not exist. Check the path.")


def _manifest(name: str) -> Iterator[Fields]:
    """The rows of a manifest, read as they are needed."""
    ending = ending_of(name).lower()
    found: dict[tuple[str, ...], dict[str, Column]] = {}
    base = re.split(r"[?#]", name)[0].rpartition("/")[0] if is_url(name) else Path(name).absolute().parent
    with storage_errors(name, "read"), closing(_opened(name)) as file:
        if ending in PARQUET:
            records, decimal_comma = _parquet_records(file, name), False
        elif ending in LINES:
            records, decimal_comma = _json_records(file, name), False
        else:
            records, decimal_comma = _csv_records(file, name, ending)
        for record in records:
            if isinstance(record, str):
                yield name, None, None, record
                continue
            columns = tuple(record)
            try:
                if columns not in found:
                    found[columns] = _columns(columns, name)
            except ManifestError as error:
                if not found:
                    raise
                yield name, None, None, str(error)  # one object of JSON lines
                continue
            yield _fields(record, found[columns], base, name, decimal_comma)


def _opened(name: str) -> BinaryIO:
    if is_url(name):
        return open_stored(name)
    try:
        return open(name, "rb")  # noqa: PTH123
    except OSError as error:
        raise ManifestError(f"{name} cannot be read: {cause(error)}. Check the path.") from error


def _columns(columns: Sequence[str], name: str) -> dict[str, Column]:
    found = find_columns(columns)
    refuse_misspelt(columns, found, ("path",), name)
    return {field: column for field, column in found.items() if field in FIELDS}


def _fields(
    record: Mapping[str, Any], columns: Mapping[str, Column], base: str | Path, name: str, decimal_comma: bool
) -> Fields:
    path = record.get(columns["path"].name)
    if not isinstance(path, str) or not path.strip():
        return name, None, None, f"A row of {name} names no audio file. Fill its column {columns['path'].name!r}."
    if not is_url(path) or path.lower().startswith("file:"):
        path = f"{base}/{path}" if isinstance(base, str) else found_file(base, path)
    try:
        times = {
            field: column.seconds(record, decimal_comma=decimal_comma)
            for field, column in columns.items()
            if field != "path" and not (field == "duration" and "end" in columns)
        }
    except ManifestError as error:
        return path, None, None, f"{path}: {error}"
    start, end, duration = times.get("start"), times.get("end"), times.get("duration")
    if duration is not None:
        end = (start or 0.0) + duration
    return path, start, end, None


def _text(file: BinaryIO) -> tuple[io.TextIOWrapper, str]:
    """The file as text, and its beginning, which decides the encoding."""
    head = file.read(HEAD)
    file.seek(0)
    encoding = encoding_of(head)
    return io.TextIOWrapper(file, encoding, newline=""), head.decode(encoding, "ignore")


def _csv_records(file: BinaryIO, name: str, ending: str) -> tuple[Iterator[dict[str, str] | str], bool]:
    """Records of a text table, or why a row is none; and whether it has decimal commas."""
    text, head = _text(file)
    csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD))
    delimiter, quote, skipped = find_dialect(head, ending)

    def records() -> Iterator[dict[str, str] | str]:
        try:
            for _ in islice(text, skipped):
                pass
            reader = csv.reader(text, delimiter=delimiter, quotechar=quote, skipinitialspace=True)
            header: list[str] | None = None
            for fields in reader:
                if not any(map(str.strip, fields)):
                    continue
                if header is None:
                    header = [" ".join(field.split()) for field in fields]
                    if twice := [one for place, one in enumerate(header) if one and one in header[:place]]:
                        raise ManifestError(f"{name} has two columns {twice[0]!r}. Keep one.")
                elif len(fields) < len(header) or any(map(str.strip, fields[len(header) :])):
                    line = reader.line_num + skipped
                    yield f"Line {line} of {name} has {len(fields)} fields, its header {len(header)}. Correct it."
                else:
                    yield dict(zip(header, fields, strict=False))
        except (UnicodeDecodeError, csv.Error) as error:
            raise ManifestError(f"{name} cannot be read as a table: {error}. Save it as CSV in UTF-8.") from error

    return records(), delimiter != ","


def _json_records(file: BinaryIO, name: str) -> Iterator[dict[str, Any] | str]:
    text, _ = _text(file)
    try:
        for number, line in enumerate(text, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            yield record if isinstance(record, dict) else f"Line {number} of {name} is no JSON object. Correct it."
    except UnicodeDecodeError as error:
        raise ManifestError(f"{name} is not UTF-8 text: {error}. Save it as UTF-8.") from error


def _parquet_records(file: BinaryIO, name: str) -> Iterator[dict[str, Any]]:
    parquet = import_parquet(f"Reading {name}")
    import pyarrow

    try:
        table = parquet.ParquetFile(file)
        wanted = [column.name for column in _columns(table.schema_arrow.names, name).values()]
        for batch in table.iter_batches(1024, columns=wanted):
            yield from batch.to_pylist()
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise ManifestError(f"{name} cannot be read as Parquet: {error}. Write it again.") from error
