"""Predictions as rows: text for people, JSON, JSON lines, CSV, TSV and Parquet for machines."""

import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from genser.errors import ConfigError, MissingExtraError
from genser.inference.prediction import FURTHER_OUTPUTS, Prediction

FORMATS = ("text", "json", "jsonl", "csv", "tsv", "parquet")
ENDINGS = {f".{name}": name for name in FORMATS[1:]} | {".txt": "text", ".ndjson": "jsonl", ".pq": "parquet"}
ROW_GROUP = 4096  # rows of Parquet held in memory


def format_of(output: Path | None, named: str | None = None) -> str:
    """Choose a format: the one named, else the one of the output's ending, else text.

    Raises:
        ConfigError: There is no such format, or nothing says which.
    """
    if named is not None:
        if named not in FORMATS:
            raise ConfigError(f"Unknown format {named!r}: use one of {', '.join(FORMATS)}.")
        format = named
    elif output is None:
        return "text"
    elif output.suffix.lower() in ENDINGS:
        format = ENDINGS[output.suffix.lower()]
    else:
        raise ConfigError(f"The ending of {output} names no format: use one of {', '.join(ENDINGS)}, or --format.")
    if format == "parquet" and output is None:
        raise ConfigError("Parquet is binary and not written to standard output. Name a file with -o.")
    return format


def write_predictions(
    predictions: Iterable[Prediction], output: Path | None, format: str, labels: Sequence[str]
) -> None:
    """Write predictions as they come.

    A row has the path, the label, the scores (class → probability; in tables one column a class) and the error. Names
    of files that are no UTF-8 keep their bytes in text and tables, and are escaped in JSON and Parquet.

    Args:
        predictions: In the order of the rows.
        output: File, which appears whole or not at all; None is standard output.
        format: One of `FORMATS`.
        labels: Class names.

    Raises:
        ConfigError: The output cannot be written.
        MissingExtraError: Parquet without pyarrow.
    """
    if format == "parquet":
        with _whole(output) as part:
            _write_parquet(predictions, part, labels)
        return
    if output is None:
        with _standard_output() as stream:
            _write_text(predictions, stream, format, labels)
        return
    with _whole(output) as part, part.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
        _write_text(predictions, stream, format, labels)


def columns_of(labels: Sequence[str]) -> list[str]:
    """Name the columns of a table; a class that is called as another column is marked as a score."""
    taken = {"path", "label", "error"}
    return ["path", "label", *(f"{label} (score)" if label in taken else label for label in labels), "error"]


@contextmanager
def _whole(output: Path) -> Iterator[Path]:
    """Give a temporary file beside the output, which takes its name once it is written."""
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        part.touch()
        if output.is_dir():
            raise ConfigError(f"{output} is a folder. Name a file with -o.")
        yield part
        part.replace(output)
    except OSError as error:
        raise ConfigError(f"{output} cannot be written: {error}. Choose another output.") from error
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _standard_output() -> Iterator[TextIO]:
    sys.stdout.flush()
    stream = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", errors="surrogateescape", newline="")
    try:
        yield stream
        stream.flush()
    finally:
        stream.detach()


def _write_text(predictions: Iterable[Prediction], stream: TextIO, format: str, labels: Sequence[str]) -> None:
    if format == "text":
        for prediction in predictions:
            stream.write(f"{line_of(prediction, labels)}\n")
            stream.flush()
    elif format == "json":
        separator = "["
        for prediction in predictions:
            stream.write(f"{separator}\n{_json(prediction)}")
            separator = ","
        stream.write("\n]\n" if separator == "," else "[]\n")
    elif format == "jsonl":
        stream.writelines(f"{_json(prediction)}\n" for prediction in predictions)
    else:
        writer = csv.writer(stream, delimiter="\t" if format == "tsv" else ",", lineterminator="\n")
        writer.writerow(columns_of(labels))
        writer.writerows(map(_cells, _rows(predictions, labels)))


def line_of(prediction: Prediction, labels: Sequence[str], shown: int = 3) -> str:
    """One line for people: label, its score, the next scores, path."""
    if prediction.error:
        return f"{'failed':{_width(labels)}}        {_printable(prediction.error)}"
    ranked = sorted(prediction.scores.items(), key=lambda item: -item[1])
    best = prediction.speech if prediction.label not in prediction.scores else ranked[0][1]
    others = [item for item in ranked if item[0] != prediction.label][: shown - 1]
    rest = ", ".join(f"{name} {score:.2f}" for name, score in others)
    return f"{prediction.label:{_width(labels)}}  {best:.2f}  {_printable(prediction.path)}  ({rest})"


def _width(labels: Sequence[str]) -> int:
    return max(map(len, (*labels, "no speech")))


def _printable(text: str) -> str:
    """Keep a hostile file name from steering the terminal or forging a line."""
    return "".join(char if char.isprintable() or "\udc80" <= char <= "\udcff" else repr(char)[1:-1] for char in text)


def _json(prediction: Prediction) -> str:
    row = prediction.to_dict()
    row["scores"] = {name: round(score, 6) for name, score in prediction.scores.items()}
    row |= {name: None if row[name] is None else round(row[name], 6) for name in FURTHER_OUTPUTS}
    text = json.dumps(row, ensure_ascii=False)
    return text if _is_unicode(text) else json.dumps(row)


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _rows(predictions: Iterable[Prediction], labels: Sequence[str]) -> Iterator[list[Any]]:
    for prediction in predictions:
        scores = [prediction.scores.get(label) for label in labels]
        yield [prediction.path, prediction.label, *scores, prediction.error]


def _cells(row: list[Any]) -> list[str]:
    return ["" if value is None else f"{value:.6f}" if isinstance(value, float) else value for value in row]


def _write_parquet(predictions: Iterable[Prediction], path: Path, labels: Sequence[str]) -> None:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("parquet", "Writing Parquet") from error
    names = columns_of(labels)
    kinds = [pa.string(), pa.string(), *[pa.float32()] * len(labels), pa.string()]
    schema = pa.schema(list(zip(names, kinds, strict=True)))
    rows = _rows(predictions, labels)
    with parquet.ParquetWriter(path, schema) as writer:
        while group := list(islice(rows, ROW_GROUP)):
            columns = [[_escaped(value) for value in column] for column in zip(*group, strict=True)]
            writer.write_table(pa.table(dict(zip(names, columns, strict=True)), schema))


def _escaped(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
