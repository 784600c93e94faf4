"""A report as a list of blocks, and its files: JSON, Markdown, one self-contained HTML page, PNG pictures."""

import base64
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genser.errors import ConfigError, MissingExtraError
from genser.files import atomic_write
from genser.metrics.bootstrap import FEW_SPEAKERS, Interval, PairedDifference
from genser.metrics.few import FEW_CLIPS, FEW_CLIPS_OF_A_CLASS
from genser.output.figures import import_figure
from genser.report.plots import DPI, to_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("json", "md", "html", "png")
PICTURES = "pictures"
"""Folder of the PNG pictures inside the folder of a report."""

SCORE_NAMES = {"wa": "WA", "ua": "UA", "macro_f1": "macro F1", "weighted_f1": "weighted F1"}

READING = (
    "WA is the accuracy. UA is the mean recall over the classes that occur, so frequent classes do not hide rare ones. "
    "F1 is averaged over the classes (macro) or weighted by the number of utterances of each class. Intervals are "
    f"bootstrap percentile intervals. From {FEW_SPEAKERS} speakers on, whole speakers are resampled, as the errors of "
    "one speaker are not independent, and the interval is expanded as for Student's t; with fewer, clips are resampled "
    "within each class. The expected calibration error (ECE) is the mean gap between confidence and accuracy "
    "over 15 bins of equal count, over 15 bins of equal width, or over as many bins of equal count as keep the "
    "accuracies increasing (adaptive). Brier is the Brier score (0 to 2), NLL the negative log-likelihood in nats."
)
"""How to read the scores of every report."""


@dataclass(frozen=True)
class Heading:
    """A heading of a part of the report."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """A paragraph; `kind` is ``"plain"``, or ``"warning"`` for what a reader must not miss."""

    text: str
    kind: str = "plain"


@dataclass(frozen=True)
class Table:
    """A table whose first column names the row.

    Attributes:
        caption: What the table shows.
        head: Column names.
        rows: Cells as text.
        marked: Indices of the rows in italics: published scores and the floor.
        words: Indices of the columns with words instead of figures.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marked: frozenset[int] = frozenset()
    words: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Picture:
    """A picture, drawn when the report is written.

    Attributes:
        name: File name without ending, unique in the document.
        caption: What the picture shows; also its alternative text.
        draw: Draws it.
    """

    name: str
    caption: str
    draw: Callable[[], "Figure"] = field(compare=False)


Block = Heading | Paragraph | Table | Picture


@dataclass(frozen=True)
class Document:
    """A report.

    Attributes:
        title: Headline.
        blocks: The contents in order.
        data: The numbers behind the report, plain JSON values.
    """

    title: str
    blocks: tuple[Block, ...]
    data: dict[str, Any]


def check_formats(formats: tuple[str, ...] = FORMATS) -> None:
    """Refuse formats of a report that cannot be written, before hours of work for it.

    Raises:
        ConfigError: A format is unknown.
        MissingExtraError: A format needs an extra that is not installed.
    """
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown:
        raise ConfigError(f"There is no report format {', '.join(unknown)}. Choose from {', '.join(FORMATS)}.")
    if {"html", "png"} & set(formats):
        import_figure("A report with pictures")
    if "html" in formats and not find_spec("jinja2"):
        raise MissingExtraError("plot", "Writing a report as HTML")


def write_report(
    document: Document, folder: str | os.PathLike[str], *, formats: tuple[str, ...] = FORMATS
) -> list[Path]:
    """Write a report into a folder as report.json, report.md, report.html and pictures/*.png.

    Args:
        document: The report.
        folder: Created if missing; files of the same name are replaced.
        formats: Any of ``json``, ``md``, ``html``, ``png``; the last two need the extra [plot].

    Returns:
        The written files.

    Raises:
        ConfigError: A format is unknown.
        MissingExtraError: A format needs an extra that is not installed.
    """
    check_formats(formats)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {}
    if {"html", "png"} & set(formats):
        pictures = {block.name: to_png(block.draw()) for block in document.blocks if isinstance(block, Picture)}
    contents: dict[str, str | bytes] = {}
    if "json" in formats:
        text = json.dumps(document.data, indent=2, ensure_ascii=False, allow_nan=False)
        contents["report.json"] = text + "\n"
    if "md" in formats:
        contents["report.md"] = to_markdown(document, with_pictures="png" in formats)
    if "html" in formats:
        contents["report.html"] = to_html(document, pictures)
    if "png" in formats:
        (folder / PICTURES).mkdir(exist_ok=True)
        contents |= {f"{PICTURES}/{name}.png": png for name, png in pictures.items()}
    for name, content in contents.items():
        atomic_write(folder / name, content.encode() if isinstance(content, str) else content)
    return [folder / name for name in contents]


def to_markdown(document: Document, *, with_pictures: bool = False) -> str:
    """Render as Markdown, with links to the PNG pictures if requested."""
    parts = [f"# {document.title}"]
    for block in document.blocks:
        if isinstance(block, Heading):
            parts.append(f"## {block.text}")
        elif isinstance(block, Paragraph):
            parts.append(f"> **Note:** {block.text}" if block.kind == "warning" else block.text)
        elif isinstance(block, Table):
            rule = tuple("---" if column in block.words | {0} else "---:" for column in range(len(block.head)))
            lines = [block.head, rule]
            for index, row in enumerate(block.rows):
                lines.append(tuple(f"*{cell}*" if cell and index in block.marked else cell for cell in row))
            rows = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
            parts.append(f"**{block.caption}**\n\n" + "\n".join(rows))
        elif with_pictures:
            parts.append(f"![{block.caption}]({PICTURES}/{block.name}.png)\n\n*{block.caption}*")
    return "\n\n".join(parts) + "\n"


def to_html(document: Document, pictures: Mapping[str, bytes]) -> str:
    """Render as one HTML page without scripts or other files; it follows the reader's light or dark mode.

    Args:
        document: The report.
        pictures: PNG of each picture by name.

    Raises:
        MissingExtraError: Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, StrictUndefined
        from markupsafe import Markup, escape
    except ImportError:
        raise MissingExtraError("plot", "Writing a report as HTML") from None
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    filters: dict[str, Callable[..., Any]] = {
        "slug": slug,
        "kind": lambda block: type(block).__name__,
        "figures": lambda text: re.sub(r" (?!\()", "\u00a0", text),  # a line break only before the interval
        "breakable": lambda text: escape(text).replace("+", Markup("+<wbr>")),  # of joined corpora, on a phone
        "base64": lambda png: base64.b64encode(png).decode(),
        "width": lambda png: int.from_bytes(png[16:20], "big") * 96 // DPI,  # CSS pixels, from the header of the PNG
    }
    environment.filters.update(filters)
    template = resources.files("genser.report").joinpath("templates/report.html").read_text(encoding="utf-8")
    return environment.from_string(template).render(document=document, pictures=pictures)


def slug(text: str) -> str:
    """Text as an identifier of lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def percent(share: float | None, digits: int = 1) -> str:
    """A share in percent; a dash if it is undefined."""
    return "–" if share is None or share != share else f"{100 * share:.{digits}f}"


def range_cell(interval: Interval) -> str:
    """Both ends of an interval in percent, such as ``73.1 to 77.4``; a dash if it has none."""
    return "–" if not interval.has_ends else f"{percent(interval.low)} to {percent(interval.high)}"


def difference_cell(pair: PairedDifference | None) -> str:
    """A difference in points with its interval and win probability; a star if the interval excludes 0."""
    if pair is None:
        return "–"
    one = pair.interval
    if not one.has_ends:
        return f"{100 * one.estimate:+.1f} (–)".replace("-", "−")
    estimate, low, high = (f"{100 * end:+.1f}".replace("-", "−") for end in (one.estimate, one.low, one.high))
    star = "*" if one.low > 0 or one.high < 0 else ""
    return f"{estimate}{star} ({low} to {high}), {100 * pair.win_probability:.0f} %"


def few_speakers(counts: Mapping[str, int]) -> list[Block]:
    """A warning on parts of a report, such as folds, whose intervals are over clips; by their numbers of speakers."""
    few = [f"{name} ({count or 'unknown'})" for name, count in counts.items() if count < FEW_SPEAKERS]
    text = (
        f"Intervals are over clips and say nothing about other speakers where fewer than {FEW_SPEAKERS} speakers are "
        f"known. Number of speakers: {', '.join(few)}."
    )
    return [Paragraph(text, "warning")] if few else []


def few_clips(intervals: Mapping[str, Interval]) -> list[Block]:
    """A warning on parts of a report, such as folds, of which one has no interval, by their intervals of UA."""
    few = [name for name, interval in intervals.items() if not interval.has_ends]
    text = (
        f"UA has no interval where fewer than {FEW_CLIPS} clips, or fewer than {FEW_CLIPS_OF_A_CLASS} of a class, are "
        f"tested, or where all answers are right or all are wrong: {', '.join(few)}."
    )
    return [Paragraph(text, "warning")] if few else []


def speaker_dependent_warning() -> Paragraph:
    """The warning of every report whose test speakers are also training speakers."""
    return Paragraph(
        "Speaker-dependent: speakers of the test clips are also in the training data. These scores say little about "
        "unseen speakers.",
        "warning",
    )


def plain(value: object) -> Any:
    """Turn dataclasses, mappings, arrays and undefined numbers into values of JSON."""
    if is_dataclass(value):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
