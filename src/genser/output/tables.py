"""Writes rows as CSV, TSV, JSON, JSON lines and Parquet, each row as soon as it comes."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, BinaryIO

ROW_GROUP = 4096  # rows of Parquet held in memory


@dataclass(frozen=True)
class PerClass:
    """Numbers of the classes: an object in JSON, and in tables one column per class, named by it after a prefix."""

    prefix: str = ""


@dataclass(frozen=True)
class Rows:
    """Rows of a table.

    Attributes:
        columns: Name → type (str, int, float, bool, or numbers per class) of the columns.
        labels: Class names.
        rows: One mapping per row, with a value for each column; numbers per class are a mapping, or None.
    """

    columns: Mapping[str, type | PerClass]
    labels: Sequence[str]
    rows: Iterator[dict[str, Any]]

    def header(self) -> dict[str, type]:
        """Name → type of all columns; one of a class with the name of another column gets the suffix " (score)"."""
        header: dict[str, type] = {}
        for name, kind in self.columns.items():
            names = [f"{kind.prefix}{label}" for label in self.labels] if isinstance(kind, PerClass) else []
            header |= {f"{one} (score)" if one in self.columns else one: float for one in names}
            header |= {} if isinstance(kind, PerClass) else {name: kind}
        return header

    def cells(self) -> Iterator[list[Any]]:
        """The values of each row in the order of the header."""
        for row in self.rows:
            cells: list[Any] = []
            for name, kind in self.columns.items():
                is_plain = not isinstance(kind, PerClass)
                cells += [row[name]] if is_plain else [(row[name] or {}).get(label) for label in self.labels]
            yield cells


def write_csv(rows: Rows, file: BinaryIO, delimiter: str = ",") -> None:
    """Write a header and one line per row; bytes of file names that are not UTF-8 are escaped."""
    for record in chain([list(rows.header())], rows.cells()):
        buffer = io.StringIO(newline="")
        # The csv module leaves a lone carriage return unquoted, and then reads it as the end of a row.
        has_return = any(isinstance(cell, str) and "\r" in cell for cell in record)
        quoting = csv.QUOTE_ALL if has_return else csv.QUOTE_MINIMAL
        words = [str(cell).lower() if isinstance(cell, bool) else cell for cell in record]
        csv.writer(buffer, delimiter=delimiter, lineterminator="\n", quoting=quoting).writerow(words)
        file.write(buffer.getvalue().encode("utf-8", "backslashreplace"))
        file.flush()


def write_json(rows: Rows, file: BinaryIO) -> None:
    """Write one JSON array with an object per row."""
    separator = b"["
    for row in rows.rows:
        file.write(separator + b"\n" + _json(row))
        file.flush()
        separator = b","
    file.write(b"\n]\n" if separator == b"," else b"[]\n")


def write_json_lines(rows: Rows, file: BinaryIO) -> None:
    """Write one JSON object per line."""
    for row in rows.rows:
        file.write(_json(row) + b"\n")
        file.flush()


def _json(row: dict[str, Any]) -> bytes:
    try:
        return json.dumps(row, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:  # a file name that is not UTF-8 is escaped
        return json.dumps(row).encode("ascii")


def write_parquet(rows: Rows, file: BinaryIO, metadata: Mapping[str, str] | None = None) -> None:
    """Write a Parquet table in row groups; bytes of file names that are not UTF-8 are escaped.

    Args:
        rows: The rows.
        file: A binary file.
        metadata: Keys and values for the footer.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    from genser.data.tables import import_parquet

    parquet = import_parquet("Writing Parquet")
    import pyarrow as pa

    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in rows.header().items()], metadata)
    cells = rows.cells()
    with parquet.ParquetWriter(file, schema) as writer:
        while group := list(islice(cells, ROW_GROUP)):
            columns = [[_escaped(value) for value in column] for column in zip(*group, strict=True)]
            writer.write_table(pa.table(dict(zip(schema.names, columns, strict=True)), schema))


def _escaped(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
