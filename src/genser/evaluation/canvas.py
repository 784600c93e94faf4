"""How every picture of genser looks: one theme for paper, one for the dark, one that follows the page it stands in.

Matplotlib is imported when the first picture is drawn, through its object interface alone: no window, no global state.
"""

import html
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from genser.errors import ConfigError, MissingExtraError

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
