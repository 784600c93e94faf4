"""Reads and writes tables: CSV, TSV, JSON, JSON lines, Parquet and Feather."""

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genser.data.text import LINE_END, decode_text, lines_of
from genser.errors import ManifestError, MissingExtraError, counted
from genser.files import atomic_write

MAX_FIELD = 1 << 24  # characters in one CSV field; the default, 131,072, is too short for long transcripts
HEAD = 1 << 20  # characters in which the header is
SEPARATOR_LINE = re.compile(r'"?sep=([^\w\s"]|\t)"?[,;\t]*', re.IGNORECASE)
"""First line of a table for Excel, such as ``sep=;``."""
PARQUET = (".parquet", ".pq")
WRITTEN = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", *PARQUET)


@dataclass(frozen=True)
class Table:
    """The content of a table file.

    Args:
        columns: Names of the columns in order; for JSON lines, the keys in the order of their first use.
        rows: Number (as an editor or a spreadsheet shows it) and fields of every row.
        problems: Number of every row that could not be split into fields, and the reason, such as ``"is not JSON."``.
        decimal_comma: Whether ``1,234`` in it is a number with a decimal comma, as its delimiter is no comma.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, Any]], ...]
    problems: tuple[tuple[int, str], ...] = ()
    decimal_comma: bool = False


def read_table(path: Path) -> Table:
    """Read a table; the ending of its name selects the format.

    A text table is separated by commas, semicolons, tabs or ``|``, whichever its header has most of, or by what Excel's
    first line ``sep=`` names. Quotes may follow a space. Empty rows are skipped, and so are lines that begin with ``#``
    above the header, or with fewer fields than the header. See :func:`genser.data.text.decode_text` for encodings.

    Args:
        path: File ending in ``.csv``, ``.tsv``, ``.jsonl``, ``.ndjson``, ``.json``, ``.parquet``, ``.pq`` or
            ``.feather``.

    Returns:
        The columns, the rows, and the broken rows.

    Raises:
        ManifestError: The file is missing, has another ending, an unknown encoding or no header.
        MissingExtraError: Parquet or Feather without pyarrow.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ManifestError(
            f"{path} does not have the ending of a table. Save it as CSV, or use one of {', '.join(_READERS)}."
        )
    if not path.is_file():
        raise ManifestError(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}. Name a table.")
    return reader(path)


def _read_csv(path: Path) -> Table:
    content = decode_text(path)
    csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD))
    delimiter, quote, skipped = find_dialect(content, path.suffix.lower())
    text = LINE_END.split(content, maxsplit=skipped)[-1] if skipped else content
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quotechar=quote, skipinitialspace=True)
    try:
        numbered = list(enumerate(reader, start=skipped + 1))
    except csv.Error as error:
        line = reader.line_num + skipped
        raise ManifestError(f"{path}, line {line}: {error}. Quote fields with quotes or line breaks.") from error
    records = [(number, fields) for number, fields in numbered if any(map(str.strip, fields))]
    if not records:
        raise ManifestError(f"{path} is empty. Its first line must name the columns, such as path,label,speaker.")
    (_, header), *records = records
    rows, problems = _rows(header, records)
    columns = _named(header, rows)
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise ManifestError(f"{path} has two columns {twice[0]!r}. Keep one.")
    kept = [place for place, name in enumerate(columns) if name]
    return Table(
        tuple(columns[place] for place in kept),
        tuple((number, {columns[place]: fields[place] for place in kept}) for number, fields in rows),
        tuple(problems),
        decimal_comma=delimiter != ",",
    )


def find_dialect(content: str, ending: str) -> tuple[str, str, int]:
    """Delimiter, quote, and number of lines before the header of a table: ``sep=;`` of Excel, comments, empty lines."""
    lines = lines_of(content[:HEAD])
    skipped, named = 0, None
    for line in lines[:-1]:
        if match := SEPARATOR_LINE.fullmatch(line.strip(" ")):
            named = match[1]
        elif line.strip(" \t,;|") and not line.startswith("#"):
            break
        skipped += 1
    quote = "'" if any(line.startswith("'") for line in lines[skipped : skipped + 2]) else '"'
    header, first = (re.sub(f"{quote}[^{quote}]*{quote}", "", line) for line in [*lines[skipped:], "", ""][:2])

    def evidence(delimiter: str) -> tuple[bool, int]:
        count = header.count(delimiter)
        return count == first.count(delimiter) > 0, count

    usual = "\t,;|" if ending == ".tsv" else ",;\t|"
    return named or max(usual, key=evidence), quote, skipped  # the usual one for a single column


def _rows(
    header: list[str], records: list[tuple[int, list[str]]]
) -> tuple[list[tuple[int, list[str]]], list[tuple[int, str]]]:
    """Rows with one field for each column of the header, and the others as problems."""
    width = len(header)
    firsts = [fields[0].strip() for _, fields in records if len(fields) == width + 1 and fields[-1].strip()]
    if len(firsts) == len(records) == len(set(firsts)) and all(map(str.isdecimal, firsts)):
        records = [(number, fields[1:]) for number, fields in records]  # the row numbers of R have no header
    rows, problems = [], []
    for number, fields in records:
        if len(fields) > width and not any(map(str.strip, fields[width:])):
            fields = fields[:width]  # a delimiter at the end of the line
        if len(fields) == width:
            rows.append((number, fields))
        elif not (fields[0].startswith("#") and len(fields) < width):  # a comment
            problems.append((number, f"has {counted(len(fields), 'field')}, but the header has {width}."))
    return rows, problems


def _named(header: list[str], rows: list[tuple[int, list[str]]]) -> list[str]:
    """Names of the columns; one without a name is ``Unnamed: 0`` as in pandas, or empty if it holds nothing."""
    names = [" ".join(name.split()) for name in header]
    for place, name in enumerate(names):
        if not name and any(fields[place].strip() for _, fields in rows):
            names[place] = f"Unnamed: {place}"
    return names


def _read_jsonl(path: Path) -> Table:
    records: list[tuple[int, Any]] = []
    problems: list[tuple[int, str]] = []
    for number, line in enumerate(lines_of(decode_text(path)), start=1):
        if not line.strip():
            continue
        try:
            records.append((number, json.loads(line)))
        except (ValueError, RecursionError) as error:
            problems.append((number, f"is not JSON: {error}."))
    return _json_table(records, problems)


def _read_json(path: Path) -> Table:
    try:
        records = json.loads(decode_text(path))
    except (ValueError, RecursionError) as error:
        lines = _read_jsonl(path)
        if lines.rows and not lines.problems:
            return lines
        raise ManifestError(f"{path} is not JSON: {error}. Check the file.") from error
    if not isinstance(records, list):
        raise ManifestError(f"{path} is not a table. It must be an array with one object per row.")
    return _json_table(list(enumerate(records, start=1)), [])


def _json_table(records: list[tuple[int, Any]], problems: list[tuple[int, str]]) -> Table:
    rows = []
    for number, record in records:
        if isinstance(record, dict):
            rows.append((number, record))
        else:
            problems.append((number, f"is a JSON {type(record).__name__}; each row must be an object."))
    columns = dict.fromkeys(name for _, record in rows for name in record)
    return Table(tuple(columns), tuple(rows), tuple(sorted(problems)))


def _read_arrow(path: Path) -> Table:
    parquet = import_parquet(f"Reading {path.suffix.lower()}")
    import pyarrow
    from pyarrow import feather

    try:
        table = parquet.read_table(path) if path.suffix.lower() in PARQUET else feather.read_table(path)
        for place, (name, kind) in enumerate(zip(table.column_names, table.schema.types, strict=True)):
            if pyarrow.types.is_duration(kind):  # Python's timedelta has no nanoseconds
                times = table.column(place).cast(pyarrow.duration("ns")).cast(pyarrow.int64()).to_numpy() / 1e9
                table = table.set_column(place, name, pyarrow.array(times, from_pandas=True))
        return Table(tuple(table.column_names), tuple(enumerate(table.to_pylist(), start=1)))
    except (OSError, ValueError, OverflowError, pyarrow.ArrowException) as error:  # text may be no UTF-8
        kind = "Parquet" if path.suffix.lower() in PARQUET else "Feather"
        raise ManifestError(f"{path} cannot be read as {kind}: {error}. Write it again.") from error


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
        ending: ``.csv``, ``.tsv``, ``.jsonl``, ``.ndjson``, ``.json``, ``.parquet`` or ``.pq``.

    Raises:
        ManifestError: The ending is unknown, or a value cannot be written in this format.
        MissingExtraError: Parquet without pyarrow.
    """
    if ending not in WRITTEN:
        raise ManifestError(f"A table cannot end in {ending or 'nothing'!r}. Use one of {', '.join(WRITTEN)}.")
    if ending in PARQUET:
        return _encode_parquet(columns, rows)
    text = _encode_csv(columns, rows, ending) if ending in (".csv", ".tsv") else _encode_json(columns, rows, ending)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        part = ascii(text[max(0, error.start - 40) : error.end + 10])
        raise ManifestError(f"{part} cannot be written as UTF-8. Rename the file that it names.") from error


def _encode_csv(columns: Sequence[str], rows: Iterable[dict[str, Any]], ending: str) -> str:
    buffer = io.StringIO(newline="")
    records = [{name: _cell(value) for name, value in row.items()} for row in rows]
    # The csv module does not quote a lone carriage return, which ends a row, or a space at the start, which is skipped.
    words = (value for record in records for value in record.values() if isinstance(value, str))
    is_fragile = any("\r" in word or word.startswith(" ") for word in words)
    writer = csv.DictWriter(
        buffer,
        columns,
        delimiter="\t" if ending == ".tsv" else ",",
        lineterminator="\n",
        quoting=csv.QUOTE_ALL if is_fragile else csv.QUOTE_MINIMAL,
    )
    writer.writeheader()
    writer.writerows(records)
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict | list) else value


def _encode_json(columns: Sequence[str], rows: Iterable[dict[str, Any]], ending: str) -> str:
    lines = [
        json.dumps({name: row[name] for name in columns if row.get(name) is not None}, ensure_ascii=False, default=str)
        for row in rows
    ]
    return "[" + ",\n".join(lines) + "]\n" if ending == ".json" else "".join(f"{line}\n" for line in lines)


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
    ".json": _read_json,
    ".parquet": _read_arrow,
    ".pq": _read_arrow,
    ".feather": _read_arrow,
}

TABLE_ENDINGS = tuple(_READERS)
