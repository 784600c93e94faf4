"""Reads and writes tables: CSV, TSV, JSON lines and Parquet."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genser.errors import ManifestError, MissingExtraError
from genser.files import atomic_write

MAX_FIELD = 1 << 24  # characters in one CSV field; the default, 131,072, is too short for long transcripts


@dataclass(frozen=True)
class Table:
    """The content of a table file.

    Args:
        columns: Names of the columns in order; for JSON lines, the keys in the order of their first use.
        rows: Number (as an editor or a spreadsheet shows it) and fields of every row.
        problems: Number of every row that could not be split into fields, and the reason, such as ``"is not JSON."``.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, Any]], ...]
    problems: tuple[tuple[int, str], ...] = ()


def read_table(path: Path) -> Table:
    """Read a table; the ending of its name selects the format.

    Args:
        path: File ending in ``.csv``, ``.tsv``, ``.jsonl``, ``.ndjson`` or ``.parquet``.

    Returns:
        The columns, the rows, and the broken rows.

    Raises:
        ManifestError: The file is missing, has another ending, an unknown encoding or no header.
        MissingExtraError: Parquet without pyarrow.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ManifestError(f"{path} does not have the ending of a table. Use one of {', '.join(_READERS)}.")
    if not path.is_file():
        raise ManifestError(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}. Name a table.")
    return reader(path)


def decode_text(path: Path, encodings: Sequence[str] = ("utf-8",)) -> str:
    """Read a text file in the encoding of its byte-order mark, else in the first encoding that fits.

    Raises:
        ManifestError: No encoding fits; the message names the first bad byte.
    """
    content = path.read_bytes()
    marked = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
    named = [encoding for mark, encoding in marked.items() if content.startswith(mark)]
    *first, last = named or encodings
    for encoding in first:
        with suppress(UnicodeDecodeError):
            return content.decode(encoding)
    try:
        return content.decode(last)
    except UnicodeDecodeError as error:
        where = f"byte 0x{content[error.start]:02x} at position {error.start}"
        raise ManifestError(f"{path} is not {error.encoding} text ({where}). Save it as UTF-8.") from error


def _read_csv(path: Path) -> Table:
    content = decode_text(path)
    csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD))
    header = content.split("\n", 1)[0]
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=header.count)  # a comma for a single column
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter)
    try:
        records = list(reader)
    except csv.Error as error:
        raise ManifestError(
            f"{path}, line {reader.line_num}: {error}. Quote fields with quotes or line breaks."
        ) from error
    if not records or not any(records[0]):
        raise ManifestError(f"{path} is empty. Its first line must name the columns, such as path,label,speaker.")
    columns = tuple(name.strip() for name in records[0])
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise ManifestError(f"{path} has two columns {twice[0]!r}. Keep one.")
    return _csv_rows(columns, records)


def _csv_rows(columns: tuple[str, ...], records: list[list[str]]) -> Table:
    rows, problems = [], []
    for number, fields in enumerate(records[1:], start=2):
        if len(fields) == len(columns):
            rows.append((number, dict(zip(columns, fields, strict=True))))
        elif fields:
            problems.append((number, f"has {len(fields)} fields, but the header has {len(columns)}."))
    return Table(columns, tuple(rows), tuple(problems))


def _read_jsonl(path: Path) -> Table:
    rows: list[tuple[int, dict[str, Any]]] = []
    problems: list[tuple[int, str]] = []
    for number, line in enumerate(decode_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            problems.append((number, f"is not JSON: {error}."))
            continue
        if isinstance(record, dict):
            rows.append((number, record))
        else:
            problems.append((number, f"is a JSON {type(record).__name__}; each line must be an object."))
    columns = dict.fromkeys(name for _, record in rows for name in record)
    return Table(tuple(columns), tuple(rows), tuple(problems))


def _read_parquet(path: Path) -> Table:
    pyarrow = import_parquet("Reading Parquet")
    try:
        table = pyarrow.read_table(path)
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise ManifestError(f"{path} cannot be read as Parquet: {error}. Write it again.") from error
    return Table(tuple(table.column_names), tuple(enumerate(table.to_pylist(), start=1)))


def import_parquet(purpose: str) -> Any:
    """Import pyarrow.parquet.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("parquet", purpose) from error
    return pyarrow.parquet


def write_table(path: Path, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    """Write a table in one step; the ending of its name selects the format.

    Args:
        path: File to create or replace.
        columns: Names of the columns, in order.
        rows: Fields of every row; None is an empty field.

    Raises:
        ManifestError: The ending is unknown, or a value cannot be written in this format.
        MissingExtraError: Parquet without pyarrow.
    """
    atomic_write(path, encode_table(columns, rows, path.suffix.lower()))


def encode_table(columns: Sequence[str], rows: Iterable[dict[str, Any]], ending: str) -> bytes:
    """Encode rows as the bytes of a table file.

    Args:
        columns: Names of the columns, in order.
        rows: Fields of every row; None is an empty field.
        ending: ``.csv``, ``.tsv``, ``.jsonl``, ``.ndjson`` or ``.parquet``.

    Raises:
        ManifestError: The ending is unknown, or a value cannot be written in this format.
        MissingExtraError: Parquet without pyarrow.
    """
    if ending not in _READERS:
        raise ManifestError(f"A table cannot end in {ending or 'nothing'!r}. Use one of {', '.join(_READERS)}.")
    if ending == ".parquet":
        return _encode_parquet(columns, rows)
    text = _encode_csv(columns, rows, ending) if ending in (".csv", ".tsv") else _encode_jsonl(columns, rows)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        part = ascii(text[max(0, error.start - 40) : error.end + 10])
        raise ManifestError(f"{part} cannot be written as UTF-8. Rename the file that it names.") from error


def _encode_csv(columns: Sequence[str], rows: Iterable[dict[str, Any]], ending: str) -> str:
    buffer = io.StringIO(newline="")
    records = list(rows)
    # the csv module does not quote a lone carriage return, and then reads it as the end of a row
    bare_return = any("\r" in value for record in records for value in record.values() if isinstance(value, str))
    writer = csv.DictWriter(
        buffer,
        columns,
        delimiter="\t" if ending == ".tsv" else ",",
        lineterminator="\n",
        quoting=csv.QUOTE_ALL if bare_return else csv.QUOTE_MINIMAL,
    )
    writer.writeheader()
    writer.writerows(records)
    return buffer.getvalue()


def _encode_jsonl(columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> str:
    return "".join(
        json.dumps({name: row[name] for name in columns if row.get(name) is not None}, ensure_ascii=False, default=str)
        + "\n"
        for row in rows
    )


def _encode_parquet(columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> bytes:
    parquet = import_parquet("Writing Parquet")
    import pyarrow

    records = list(rows)
    buffer = io.BytesIO()
    try:
        table = pyarrow.table({name: [row.get(name) for row in records] for name in columns})
    except (ValueError, TypeError) as error:  # values of several types in one column
        raise ManifestError(f"The rows cannot be written as Parquet: {error}. Use another format.") from error
    parquet.write_table(table, buffer)
    return buffer.getvalue()


_READERS = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
}
