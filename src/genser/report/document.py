"""A report as plain blocks, rendered to Markdown, to one self-contained HTML page, and to PNG pictures."""

import html
import io
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from genser.errors import ConfigError, MissingExtraError
from genser.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#1B7FC4", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6BB1", "#7F7F7F", "#A6761D")
"""Okabe and Ito's palette for every kind of colour vision; black and yellow, which a background would swallow, left out
and the blue lightened to stand at least 4 : 1 against both backgrounds."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "h")
"""One shape a colour: no meaning rests on colour alone."""


@dataclass(frozen=True)
class Theme:
    """Colours of what is not data: text and axes, background, grid."""

    ink: str
    paper: str
    grid: str


LIGHT = Theme(ink="#1b1f24", paper="#ffffff", grid="#d5d9de")
DARK = Theme(ink="#e8eaed", paper="#14171a", grid="#3a4048")
_PAGE = Theme(ink="#010203", paper="#010204", grid="#010205")  # stand-ins that to_svg() turns into CSS variables
THEMES = {"light": LIGHT, "dark": DARK, "page": _PAGE}
"""``"page"`` is for :func:`to_svg`: its colours become the CSS variables --ink, --paper and --grid of the page."""


@contextmanager
def canvas(theme: str, width: float, height: float) -> Iterator["Figure"]:
    """Open a figure of `width` × `height` inches in a theme; drawing and layout belong inside the block.

    Raises:
        ConfigError: If there is no such theme.
        MissingExtraError: If matplotlib is not installed.
    """
    if theme not in THEMES:
        raise ConfigError(f"there is no theme {theme!r}: choose from {', '.join(THEMES)}")
    if find_spec("matplotlib") is None:
        raise MissingExtraError("plot", "Drawing")
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_style(THEMES[theme])):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        figure.draw_without_rendering()


def axes(figure: "Figure", *, title: str = "", x: str = "", y: str = "", grid: str = "") -> "Axes":
    """Add the only axes of a figure, with a grid along ``"x"``, ``"y"``, ``"both"`` or none."""
    ax = figure.add_subplot()
    ax.set(title=title, xlabel=x, ylabel=y)
    if grid:
        ax.grid(axis=grid, linewidth=0.6)
    return ax


def to_svg(figure: "Figure", *, name: str, label: str) -> str:
    """Render as an inline SVG element for HTML.

    The text stays text, and colours of the theme ``"page"`` follow the page between light and dark.

    Args:
        figure: What to render.
        name: Unique in the page; ids inside the picture begin with it.
        label: Says what is seen, for those who cannot see it.
    """
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = re.sub(r"\s*<(metadata)>.*?</\1>", "", buffer.getvalue()[buffer.getvalue().index("<svg") :], flags=re.DOTALL)
    for role in ("ink", "paper", "grid"):
        svg = svg.replace(getattr(_PAGE, role), f"var(--{role}, {getattr(LIGHT, role)})")
    svg = re.sub(r'(\bid="|url\(#|href="#)', lambda match: f"{match.group(1)}{name}-", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(label, quote=True)}"', 1)


def to_png(figure: "Figure", path: str | os.PathLike[str] | None = None, *, dpi: int = 160) -> bytes:
    """Render as a PNG with an opaque background, and write it to `path` if given."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    if path is not None:
        Path(path).write_bytes(buffer.getvalue())
    return buffer.getvalue()


def _style(theme: Theme) -> dict[str, object]:
    ink = dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.titlecolor", "axes.edgecolor", "xtick.color", "ytick.color"), theme.ink
    )
    return ink | {
        "figure.facecolor": theme.paper,
        "savefig.facecolor": theme.paper,
        "axes.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.titlesize": "medium",
        "axes.titlelocation": "left",
        "grid.color": theme.grid,
        "legend.frameon": False,
        "font.family": "DejaVu Sans",
        "font.size": 9.5,
        "lines.linewidth": 1.8,
    }


@dataclass(frozen=True)
class Heading:
    """A heading; level 2 opens a part, level 3 a section."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """Words; `kind` is ``"plain"``, or ``"warning"`` for what a reader must not miss."""

    text: str
    kind: str = "plain"


@dataclass(frozen=True)
class Table:
    """A table whose first column names the row.

    Attributes:
        caption: What it shows; every table has one.
        head: Column names.
        rows: Cells as text.
        marked: Rows that are not ours (published, or the floor), printed in italics.
        words: Columns of words rather than figures.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marked: frozenset[int] = frozenset()
    words: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Picture:
    """A picture that is drawn when it is needed.

    Attributes:
        name: File name without ending, unique in the document.
        caption: What it shows; it is also the text for those who cannot see it.
        draw: Draws it in the theme of that name.
    """

    name: str
    caption: str
    draw: Callable[[str], "Figure"] = field(compare=False)


Block = Heading | Paragraph | Table | Picture


@dataclass(frozen=True)
class Document:
    """A report.

    Attributes:
        title: Headline.
        blocks: What it says, in order.
        data: The numbers behind it, plain JSON values.
    """

    title: str
    blocks: tuple[Block, ...]
    data: dict[str, object]

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All pictures in order."""
        return tuple(block for block in self.blocks if isinstance(block, Picture))


def to_markdown(document: Document, *, pictures: str | None = None) -> str:
    """Render as Markdown; pictures are linked in the folder `pictures`, or left out where that is None."""
    parts = [f"# {document.title}"]
    for block in document.blocks:
        if isinstance(block, Heading):
            parts.append(f"{'#' * block.level} {block.text}")
        elif isinstance(block, Paragraph):
            parts.append(f"> **Note:** {block.text}" if block.kind == "warning" else block.text)
        elif isinstance(block, Table):
            parts.append(_markdown_table(block))
        elif pictures is not None:
            parts.append(f"![{block.caption}]({pictures}/{block.name}.png)\n\n*{block.caption}*")
    return "\n\n".join(parts) + "\n"


def to_html(document: Document) -> str:
    """Render as one HTML page that needs nothing else: inline SVG, no script, light and dark, printable.

    Raises:
        MissingExtraError: If the document has pictures and matplotlib is not installed.
    """
    template = Template(resources.files(__package__).joinpath("templates/report.html").read_text(encoding="utf-8"))
    body = "\n".join(_html_block(block) for block in document.blocks)
    return template.substitute(title=html.escape(document.title), contents=_contents(document), body=body)


def write_pictures(document: Document, folder: str | os.PathLike[str]) -> list[Path]:
    """Write every picture as PNG on a white background.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    paths = []
    for picture in document.pictures:
        paths.append(Path(folder) / f"{picture.name}.png")
        atomic_write(paths[-1], to_png(picture.draw("light")))
    return paths


def slug(text: str) -> str:
    """Text as an identifier of lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _markdown_table(table: Table) -> str:
    rule = ["---" if column in table.words | {0} else "---:" for column in range(len(table.head))]
    lines = [table.head, tuple(rule)]
    for index, row in enumerate(table.rows):
        lines.append(tuple(f"*{cell}*" if cell and index in table.marked else cell for cell in row))
    rows = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    return f"**{table.caption}**\n\n" + "\n".join(rows)


def _html_block(block: Block) -> str:
    if isinstance(block, Heading):
        name = f' id="{slug(block.text)}"' if block.level == 2 else ""
        return f"<h{block.level}{name}>{html.escape(block.text)}</h{block.level}>"
    if isinstance(block, Paragraph):
        return f'<p class="{block.kind}">{html.escape(block.text)}</p>'
    if isinstance(block, Table):
        return _html_table(block)
    svg = to_svg(block.draw("page"), name=block.name, label=block.caption)
    return f"<figure>{svg}<figcaption>{html.escape(block.caption)}</figcaption></figure>"


def _html_table(table: Table) -> str:
    head = "".join(
        f'<th scope="col"{_words(index, table)}>{html.escape(name)}</th>' for index, name in enumerate(table.head)
    )
    rows = "\n".join(_html_row(index, table) for index in range(len(table.rows)))
    caption = html.escape(table.caption)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(table.caption, quote=True)}">'
        f"<table><caption><span>{caption}</span></caption><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table></div>"
    )


def _html_row(index: int, table: Table) -> str:
    first, *rest = table.rows[index]
    cells = "".join(f"<td{_words(column, table)}>{html.escape(cell)}</td>" for column, cell in enumerate(rest, 1))
    mark = ' class="marked"' if index in table.marked else ""
    return f'<tr{mark}><th scope="row">{html.escape(first)}</th>{cells}</tr>'


def _words(column: int, table: Table) -> str:
    return ' class="words"' if column in table.words else ""


def _contents(document: Document) -> str:
    parts = [block.text for block in document.blocks if isinstance(block, Heading) and block.level == 2]
    return "".join(f'<li><a href="#{slug(text)}">{html.escape(text)}</a></li>' for text in parts)
