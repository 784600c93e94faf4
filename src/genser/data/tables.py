"""Tables on disk as numbered rows of named fields: CSV, TSV, JSON lines, Parquet."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genser.errors import ManifestError, MissingExtraError

MAX_FIELD = 1 << 24  # characters in one CSV field; the csv module's own 131,072 is too short for long transcripts


@dataclass(frozen=True)
class Table:
    """What a table file says, before anything is checked.

    Args:
        columns: Names of the columns, in order; for JSON lines the keys in the order of their first use.
        rows: Number (as an editor or a spreadsheet shows it) and fields of every row.
        problems: Number and reason of every row that could not be split into fields.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, Any]], ...]
    problems: tuple[tuple[int, str], ...] = ()


def read_table(path: Path) -> Table:
    """Read a table by the ending of its name.

    Args:
        path: File ending in ``.csv``, ``.tsv``, ``.jsonl``, ``.ndjson`` or ``.parquet``.

    Returns:
        The columns and rows, and the rows that are broken.

    Raises:
        ManifestError: The file is missing, has another ending, an unknown encoding or no header.
        MissingExtraError: Parquet without pyarrow.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ManifestError(f"{path} ends in {path.suffix or 'nothing'!r}; a table ends in {', '.join(_READERS)}")
    if not path.is_file():
        raise ManifestError(f"{path} is {'a folder' if path.is_dir() else 'not there'}; give the path of a table")
    return reader(path)


def decode_text(path: Path, encodings: Sequence[str] = ("utf-8",)) -> str:
    """Read a text file: with a byte-order mark as that says, else in the first encoding that fits.

    Raises:
        ManifestError: No encoding fits; the message names the first bad byte.
    """
    content = path.read_bytes()
    marked = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
    named = [encoding for mark, encoding in marked.items() if content.startswith(mark)]
    for encoding in named or encodings:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError as error:
            failure = error
    where = f"byte 0x{content[failure.start]:02x} at position {failure.start}"
    raise ManifestError(f"{path} is not {failure.encoding} text ({where}). Save it as UTF-8.")


def _delimiter(header: str, path: Path) -> str:
    if path.suffix.lower() == ".tsv":
        return "\t"
    return max(",;\t", key=header.count)  # the first of them where the header has one column


def _read_csv(path: Path) -> Table:
    content = decode_text(path)
    csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD))
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=_delimiter(content.split("\n", 1)[0], path))
    try:
        records = list(reader)
    except csv.Error as error:
        raise ManifestError(f"{path}, line {reader.line_num}: {error}. Quote fields with quotes or lines.") from error
    if not records or not any(records[0]):
        raise ManifestError(f"{path} is empty; its first line must name the columns, such as path,label,speaker")
    columns = tuple(name.strip() for name in records[0])
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise ManifestError(f"{path} names the column {twice[0]!r} twice; keep one")
    return _csv_rows(columns, records)


def _csv_rows(columns: tuple[str, ...], records: list[list[str]]) -> Table:
    rows, problems = [], []
    for number, fields in enumerate(records[1:], start=2):
        if len(fields) == len(columns):
            rows.append((number, dict(zip(columns, fields, strict=True))))
        elif fields:
            problems.append((number, f"has {len(fields)} fields where the header has {len(columns)}"))
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
            problems.append((number, f"is not JSON: {error}"))
            continue
        if isinstance(record, dict):
            rows.append((number, record))
        else:
            problems.append((number, f"is a JSON {type(record).__name__}; each line must be an object"))
    columns = dict.fromkeys(name for _, record in rows for name in record)
    return Table(tuple(columns), tuple(rows), tuple(problems))


def _read_parquet(path: Path) -> Table:
    pyarrow = import_parquet("Reading Parquet")
    try:
        table = pyarrow.read_table(path)
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise ManifestError(f"{path} cannot be read as Parquet: {error}") from error
    return Table(tuple(table.column_names), tuple(enumerate(table.to_pylist(), start=1)))


def import_parquet(purpose: str) -> Any:
    """The module pyarrow.parquet, imported only when it is needed.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("parquet", purpose) from error
    return pyarrow.parquet


def encode_table(columns: Sequence[str], rows: Iterator[dict[str, Any]], ending: str) -> bytes:
    """Turn rows into the bytes of a table file.

    Args:
        columns: Names of the columns, in order.
        rows: Fields of every row; None is an empty field.
        ending: ``.csv``, ``.tsv``, ``.jsonl``, ``.ndjson`` or ``.parquet``.

    Raises:
        ManifestError: The ending is another, or a text cannot be written as UTF-8.
        MissingExtraError: Parquet without pyarrow.
    """
    if ending not in _READERS:
        raise ManifestError(f"a table cannot end in {ending or 'nothing'!r}; choose {', '.join(_READERS)}")
    if ending == ".parquet":
        return _encode_parquet(columns, rows)
    text = _encode_csv(columns, rows, ending) if ending in (".csv", ".tsv") else _encode_jsonl(rows)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        part = ascii(text[max(0, error.start - 40) : error.end + 10])
        raise ManifestError(f"{part} cannot be written as UTF-8; rename the file it names") from error


def _encode_csv(columns: Sequence[str], rows: Iterator[dict[str, Any]], ending: str) -> str:
    buffer = io.StringIO(newline="")
    records = list(rows)
    # The csv module leaves a lone carriage return unquoted, and then reads it back as the end of a row.
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


def _encode_jsonl(rows: Iterator[dict[str, Any]]) -> str:
    return "".join(
        json.dumps({name: value for name, value in row.items() if value is not None}, ensure_ascii=False) + "\n"
        for row in rows
    )


def _encode_parquet(columns: Sequence[str], rows: Iterator[dict[str, Any]]) -> bytes:
    parquet = import_parquet("Writing Parquet")
    import pyarrow

    records = list(rows)
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table({name: [row[name] for row in records] for name in columns}), buffer)
    return buffer.getvalue()


_READERS = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
}
