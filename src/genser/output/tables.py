"""Writes rows as CSV, TSV, JSON, JSON lines and Parquet, each row as soon as it comes."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, BinaryIO

ROW_GROUP = 4096  # rows of Parquet held in memory


@dataclass(frozen=True)
class Rows:
    """Rows of a table.

    Attributes:
        columns: Name → type (str, int, float or bool) of the columns, without those of the classes.
        labels: Class names. In JSON the scores are an object, in tables one column per class after `score_position`.
        rows: One mapping per row, with a value for each column, and "scores" (class → probability, or None).
        score_position: Number of columns before those of the classes.
    """

    columns: dict[str, type]
    labels: Sequence[str]
    rows: Iterator[dict[str, Any]]
    score_position: int

    def header(self) -> dict[str, type]:
        """Name → type of all columns; a class with the name of another column gets the suffix " (score)"."""
        classes = {f"{label} (score)" if label in self.columns else label: float for label in self.labels}
        columns = list(self.columns.items())
        return dict([*columns[: self.score_position], *classes.items(), *columns[self.score_position :]])

    def cells(self) -> Iterator[list[Any]]:
        """The values of each row in the order of the header."""
        for row in self.rows:
            plain = [row[name] for name in self.columns]
            scores = [(row["scores"] or {}).get(label) for label in self.labels]
            yield [*plain[: self.score_position], *scores, *plain[self.score_position :]]


def write_csv(rows: Rows, file: BinaryIO, delimiter: str = ",") -> None:
    """Write a header and one line per row; file names that are not UTF-8 keep their bytes."""
    for record in chain([list(rows.header())], rows.cells()):
        buffer = io.StringIO(newline="")
        # The csv module leaves a lone carriage return unquoted, and then reads it as the end of a row.
        has_return = any(isinstance(cell, str) and "\r" in cell for cell in record)
        quoting = csv.QUOTE_ALL if has_return else csv.QUOTE_MINIMAL
        words = [str(cell).lower() if isinstance(cell, bool) else cell for cell in record]
        csv.writer(buffer, delimiter=delimiter, lineterminator="\n", quoting=quoting).writerow(words)
        file.write(buffer.getvalue().encode("utf-8", "surrogateescape"))
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


def write_parquet(rows: Rows, file: BinaryIO) -> None:
    """Write a Parquet table in row groups; bytes of file names that are not UTF-8 are escaped.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    from genser.data.tables import import_parquet

    parquet = import_parquet("Writing Parquet")
    import pyarrow as pa

    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in rows.header().items()])
    cells = rows.cells()
    with parquet.ParquetWriter(file, schema) as writer:
        while group := list(islice(cells, ROW_GROUP)):
            columns = [[_escaped(value) for value in column] for column in zip(*group, strict=True)]
            writer.write_table(pa.table(dict(zip(schema.names, columns, strict=True)), schema))


def _escaped(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
