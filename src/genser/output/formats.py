"""The table of output formats: their names, their endings, and the functions that write them.

To add a format, write one function that takes predictions or timelines, a binary file and the class names, and add one
line to :data:`FORMATS`. The command line and HTTP read this table.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, Literal

from genser.errors import ConfigError, MissingExtraError, suggestion
from genser.output.plot import draw_timelines
from genser.output.predictions import prediction_lines, prediction_rows
from genser.output.summaries import summary_lines, summary_rows
from genser.output.tables import Rows, write_csv, write_json, write_json_lines, write_parquet
from genser.output.timelines import (
    audacity_lines,
    rttm_lines,
    srt_lines,
    textgrid_lines,
    timeline_lines,
    timeline_rows,
    vtt_lines,
)
from genser.storage import StoredFile

Writer = Callable[[Iterable[Any], BinaryIO, Sequence[str]], None]
"""Writes predictions or timelines to a binary file, each as soon as it comes; the last argument is the class names."""

Kind = Literal["predictions", "timelines", "summaries"]

_PLAIN = "text/plain"
_PLOT = ("matplotlib", "plot")


@dataclass(frozen=True)
class Format:
    """A format of output files.

    Attributes:
        name: Name for ``--format`` and for HTTP.
        endings: Endings that stand for the format, unless an earlier format has them; the first one is used in folders.
        media_type: Content type for HTTP.
        predictions: Writes predictions; None if the format cannot hold them.
        timelines: Writes timelines; None if the format cannot hold them.
        summaries: Writes the summaries of timelines; None if the format cannot hold them.
        holds_many: Whether one file can hold the timelines of several recordings.
        is_binary: Whether the format is unfit for standard output.
        needs_end: Whether writing can only begin after the end of a recording, so that it is unfit for live audio.
        requires: Module and extra that the format needs, if any.
    """

    name: str
    endings: tuple[str, ...]
    media_type: str
    predictions: Writer | None = None
    timelines: Writer | None = None
    summaries: Writer | None = None
    holds_many: bool = False
    is_binary: bool = False
    needs_end: bool = False
    requires: tuple[str, str] | None = None

    def check(self, kind: Kind) -> None:
        """Refuse what the format cannot hold.

        Raises:
            ConfigError: It cannot hold this kind of result.
        """
        if getattr(self, kind) is None:
            over_time = ", or add --segments for emotion over time" if kind == "predictions" else ""
            known = ", ".join(names_of(kind))
            raise ConfigError(f"The format {self.name} cannot hold {kind}. Use one of {known}{over_time}.")

    def write(self, kind: Kind, results: Iterable[Any], file: BinaryIO, labels: Sequence[str]) -> None:
        """Write predictions, timelines or summaries of timelines, each as soon as it comes.

        Raises:
            ConfigError: The format cannot hold them.
        """
        self.check(kind)
        getattr(self, kind)(results, file, labels)


def _lines(lines: Callable[[Iterable[Any], Sequence[str]], Iterable[str]]) -> Writer:
    """A writer from a generator of lines."""

    def write(items: Iterable[Any], file: BinaryIO, labels: Sequence[str]) -> None:
        for line in lines(items, labels):
            file.write(f"{line}\n".encode("utf-8", "backslashreplace"))
            file.flush()

    return write


def _annotation(lines: Callable[[Iterable[Any]], Iterable[str]]) -> Writer:
    """A writer from a generator of lines that does not need the class names."""
    return _lines(lambda timelines, _: lines(timelines))


def _tables(name: str, endings: tuple[str, ...], media_type: str, write: Callable[[Rows, BinaryIO], None]) -> Format:
    """A format that holds rows, of predictions, timelines and summaries alike."""
    return Format(
        name,
        endings,
        media_type,
        predictions=lambda items, file, labels: write(prediction_rows(items, labels), file),
        timelines=lambda items, file, labels: write(timeline_rows(items, labels), file),
        summaries=lambda items, file, labels: write(summary_rows(items, labels), file),
        holds_many=True,
        is_binary=name == "parquet",
        needs_end=name == "parquet",
        requires=("pyarrow", "parquet") if name == "parquet" else None,
    )


def _picture(name: str, media_type: str) -> Format:
    writer = partial(draw_timelines, format=name)
    return Format(name, (f".{name}",), media_type, timelines=writer, is_binary=True, needs_end=True, requires=_PLOT)


FORMATS: dict[str, Format] = {
    format.name: format
    for format in (
        Format(
            "text",
            (".txt",),
            _PLAIN,
            predictions=_lines(prediction_lines),
            timelines=_lines(timeline_lines),
            summaries=_lines(summary_lines),
            holds_many=True,
        ),
        _tables("json", (".json",), "application/json", write_json),
        _tables("jsonl", (".jsonl", ".ndjson"), "application/jsonl", write_json_lines),
        _tables("csv", (".csv",), "text/csv", write_csv),
        _tables("tsv", (".tsv",), "text/tab-separated-values", partial(write_csv, delimiter="\t")),
        _tables("parquet", (".parquet", ".pq"), "application/vnd.apache.parquet", write_parquet),
        Format("labels", (".txt",), _PLAIN, timelines=_annotation(audacity_lines)),  # Audacity looks for .txt
        Format("textgrid", (".TextGrid",), _PLAIN, timelines=_annotation(textgrid_lines), needs_end=True),
        Format("rttm", (".rttm",), _PLAIN, timelines=_annotation(rttm_lines), holds_many=True),
        Format("srt", (".srt",), "application/x-subrip", timelines=_annotation(srt_lines)),
        Format("vtt", (".vtt",), "text/vtt", timelines=_annotation(vtt_lines)),
        _picture("png", "image/png"),
        _picture("svg", "image/svg+xml"),
        _picture("pdf", "application/pdf"),
    )
}
ENDINGS: dict[str, str] = {}
for _format in FORMATS.values():
    for _ending in _format.endings:
        ENDINGS.setdefault(_ending.lower(), _format.name)


def names_of(kind: Kind) -> list[str]:
    """Names of the formats that hold predictions, timelines or summaries."""
    return [name for name, format in FORMATS.items() if getattr(format, kind)]


def find_format(kind: Kind, output: Path | StoredFile | None, name: str | None, default: str) -> Format:
    """Choose a format by its name, else by the ending of the output, else the default for standard output.

    Args:
        kind: What is written.
        output: File; None is standard output.
        name: Name of a format, if one was given.
        default: Name of the format for standard output.

    Raises:
        ConfigError: There is no such format, it cannot hold this kind of result, or it is binary and has no file.
        MissingExtraError: An optional package for the format is not installed.
    """
    known = names_of(kind)
    if name is None and output is not None:
        name = ENDINGS.get(output.suffix.lower())
        if name is None:
            endings = ", ".join(ending for ending, format in ENDINGS.items() if format in known)
            folder = "" if kind == "predictions" else f" For a folder write {output}/."
            raise ConfigError(
                f"The ending of {output} is not that of a format. Use --format, or one of {endings}.{folder}"
            )
    name = name or default
    if name not in FORMATS:
        raise ConfigError(f"Unknown format {name!r}. {suggestion(name, known)}")
    format = FORMATS[name]
    format.check(kind)
    if format.is_binary and output is None:
        raise ConfigError(f"{name} is a binary format. Name a file with -o.")
    if format.requires and find_spec(format.requires[0]) is None:
        raise MissingExtraError(format.requires[1], f"Writing {name}")
    return format
