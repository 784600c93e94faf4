"""Plots of scores: confusion, calibration, classes, steps, and systems with their intervals.

Each function takes plain numbers and returns a matplotlib figure; :func:`to_png` renders it. Shares are given in [0, 1]
and drawn in percent. Plots have a white background of their own, so they also read on a dark page.
"""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from genser.metrics.bootstrap import Interval
from genser.metrics.reliability import ReliabilityBin
from genser.output.figures import import_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#1B7FC4", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6BB1", "#7F7F7F", "#A6761D")
"""Okabe and Ito's palette for all kinds of colour vision, without black and yellow, and with a lighter blue."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "h")
"""One marker per colour, so that no meaning depends on colour alone."""

INK, PAPER, GRID = "#1b1f24", "#ffffff", "#d5d9de"
"""Colours of text and axes, of the background, and of the grid."""

DPI = 160
"""Pixels per inch of a PNG picture."""

_FILL = COLORS[0]
_STYLE = {
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.titlecolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
    ),
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.titlesize": "medium",
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "legend.frameon": False,
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "lines.linewidth": 1.8,
}


@contextmanager
def canvas(width: float, height: float) -> Iterator["Figure"]:
    """Open a figure of `width` × `height` inches in the style of the reports; draw inside the block.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure_class = import_figure("Drawing")
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        figure = figure_class(figsize=(width, height), layout="constrained")
        yield figure
        figure.draw_without_rendering()


def axes(figure: "Figure", *, x: str = "", y: str = "", grid: Literal["x", "y", "both"] | None = None) -> "Axes":
    """Add the only axes of a figure, with a grid along ``"x"``, ``"y"``, ``"both"`` or none."""
    ax = figure.add_subplot()
    ax.set(xlabel=x, ylabel=y)
    if grid:
        ax.grid(axis=grid, linewidth=0.6)
    return ax


def to_png(figure: "Figure") -> bytes:
    """Render a figure as a PNG with an opaque background."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def confusion(counts: np.ndarray, classes: Sequence[str]) -> "Figure":
    """Draw a confusion matrix, each row in percent of its class with its count; the diagonal is the recall.

    Args:
        counts: Shape (classes, classes + 1), as from :func:`genser.metrics.classification.confusion_matrix`. The last
            column (no answer) is drawn only if it holds any utterance.
        classes: Class names.
    """
    from matplotlib.patches import Rectangle

    counts = np.asarray(counts)
    columns = [*classes, "no answer"] if counts[:, -1].any() else list(classes)
    counts = counts[:, : len(columns)]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max(3.6, 0.62 * len(classes) + 1.5)
    with canvas(side + 0.62 * (len(columns) - len(classes)), side - 0.4) as figure:
        ax = axes(figure, x="decided", y="true, with the count")
        for (row, column), share in np.ndenumerate(shares):
            corner, opacity = (column - 0.48, row - 0.48), 0.04 + 0.92 * float(share)
            ax.add_patch(Rectangle(corner, 0.96, 0.96, color=_FILL, alpha=opacity, linewidth=0))
            if share > 0:
                text = f"{100 * share:.0f}" if share >= 0.005 else "<1"
                ax.text(column, row, text, ha="center", va="center", color="#ffffff" if share > 0.5 else INK)
        ax.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(classes) - 0.5, -0.5), aspect="equal")
        ax.set_xticks(range(len(columns)), columns, rotation=35, ha="right", rotation_mode="anchor")
        ax.set_yticks(range(len(classes)), _counted(classes, counts.sum(axis=1)))
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    return figure


def reliability(curves: Mapping[str, Sequence[ReliabilityBin]]) -> "Figure":
    """Draw accuracy against confidence; on the diagonal 80 % of the clips with confidence 0.8 are correct.

    A line through each point is the 95 % interval of its accuracy, which is long where a point stands for few answers.
    It takes them for independent, which those of several seeds are not.
    """
    counts = [one.count for bins in curves.values() for one in bins]
    few, many = (f"{count:,}" for count in (min(counts), max(counts)))
    answers = few if few == many else f"{few} to {many}"
    with canvas(4.6, 4.4) as figure:
        ax = axes(figure, x=f"confidence, % ({answers} answers in a point)", y="accuracy, %", grid="both")
        ax.plot([0, 100], [0, 100], linestyle="--", linewidth=1.2, color=INK, alpha=0.6)
        ax.annotate("calibrated", (6, 8), rotation=45, rotation_mode="anchor", fontsize="small", alpha=0.8)
        for index, (name, bins) in enumerate(curves.items()):
            points = 100 * np.array([(one.confidence, one.accuracy) for one in bins])
            ax.plot(*points.T, label=name, markersize=5, **mark(index))
            low, high = 100 * np.transpose([_share_interval(one.accuracy, one.count) for one in bins])
            ax.vlines(points[:, 0], low, high, color=mark(index)["color"], linewidth=1, alpha=0.6)
        ax.set(xlim=(0, 101), ylim=(0, 101), aspect="equal")
        if len(curves) > 1:
            ax.legend(loc="upper left", fontsize="small")
    return figure


def _share_interval(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share of so many (Wilson 1927)."""
    z = 1.96
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    reach = z / (1 + z * z / count) * (share * (1 - share) / count + z * z / (4 * count * count)) ** 0.5
    return middle - reach, middle + reach


def _counted(names: Sequence[str], counts: Iterable[float]) -> list[str]:
    return [f"{name} ({count:,.0f})" for name, count in zip(names, counts, strict=True)]


def per_class(
    scores: Mapping[str, Mapping[str, float]], counts: Mapping[str, float], *, score: str = "recall"
) -> "Figure":
    """Draw one bar for each class and series.

    Args:
        scores: Series → class → share; a series is a system, or a score of one system. NaN is drawn as a dash.
        counts: Class → number of utterances, which stands beside its name.
        score: Label of the axis.
    """
    classes = list(dict.fromkeys(name for series in scores.values() for name in series))
    thickness = 0.8 / len(scores)
    with canvas(6.2, 0.9 + len(classes) * max(0.34, 0.17 * len(scores))) as figure:
        ax = axes(figure, x=f"{score}, %", grid="x")
        for index, (name, series) in enumerate(scores.items()):
            positions = np.arange(len(classes)) + (index - (len(scores) - 1) / 2) * thickness
            shares = 100 * np.array([series.get(one, np.nan) for one in classes])
            color = COLORS[index % len(COLORS)]
            bars = ax.barh(positions, np.nan_to_num(shares), 0.9 * thickness, color=color, label=name)
            figures = ["–" if np.isnan(share) else f"{share:.0f}" for share in shares]
            ax.bar_label(bars, figures, padding=3, fontsize=7.5)
        ax.set_yticks(range(len(classes)), _counted(classes, (counts[one] for one in classes)))
        ax.set(xlim=(0, 106), ylim=(len(classes) - 0.5, -0.5))
        ax.tick_params(axis="y", length=0)
        if len(scores) > 1:
            figure.legend(loc="outside upper left", ncols=min(4, len(scores)), fontsize="small")
    return figure


def over_steps(series: Mapping[str, Mapping[int, Interval]]) -> "Figure":
    """Draw UA over the number of transport steps N with its interval as a band; N = 0 is the direct estimate."""
    counts = sorted({count for points in series.values() for count in points})
    with canvas(5.4, 3.6) as figure:
        ax = axes(figure, x="transport steps N", y="UA, %", grid="y")
        for index, (name, points) in enumerate(series.items()):
            positions = [counts.index(count) for count in sorted(points)]
            rows = 100 * np.array([(one.low, one.estimate, one.high) for _, one in sorted(points.items())])
            ax.fill_between(positions, rows[:, 0], rows[:, 2], color=mark(index)["color"], alpha=0.15, linewidth=0)
            ax.plot(positions, rows[:, 1], label=name, **mark(index))
        ax.set_xticks(range(len(counts)), ["direct" if count == 0 else str(count) for count in counts])
        ax.margins(x=0.05)
        if len(series) > 1:
            figure.legend(loc="outside upper left", ncols=2, fontsize="small")
    return figure


def forest(
    rows: Mapping[str, Interval], *, published: Mapping[str, float] | None = None, floor: float | None = None
) -> "Figure":
    """Draw the UA of systems with intervals, and below them published scores as hollow marks without intervals.

    Args:
        rows: System → score with its interval.
        published: Published system → share.
        floor: Share that a constant answer reaches: drawn as a line, or as a note if it lies far outside.
    """
    published = published or {}
    names = [*rows, *(f"{name} (published)" for name in published)]
    with canvas(6.6, 1.0 + 0.3 * len(names)) as figure:
        ax = axes(figure, x="UA, %", grid="x")
        for position, row in enumerate(rows.values()):
            ax.plot(
                [100 * row.low, 100 * row.high], [position, position], color=_FILL, linewidth=2.4, solid_capstyle="butt"
            )
            ax.plot(100 * row.estimate, position, "o", color=_FILL, markersize=6)
        hollow = 100 * np.array(list(published.values()))
        ax.plot(hollow, np.arange(len(rows), len(names)), "D", markersize=5.5, markerfacecolor="none", color=COLORS[1])
        if floor is not None:
            _draw_floor(ax, 100 * floor)
        ax.set_yticks(range(len(names)), names)
        ax.set_ylim(len(names) - 0.2, -0.6)
        ax.tick_params(axis="y", length=0)
    return figure


def mark(index: int) -> dict[str, Any]:
    """Colour and marker of the series with the given number."""
    return {"color": COLORS[index % len(COLORS)], "marker": MARKERS[index % len(MARKERS)]}


def _draw_floor(ax: "Axes", floor: float) -> None:
    """Mark the floor without widening the axis for a floor that is far below the systems."""
    low, high = ax.get_xlim()
    where = {"xytext": (4, 4), "textcoords": "offset points", "fontsize": "small", "alpha": 0.8}
    if floor > low - (high - low) / 2:
        ax.axvline(floor, linestyle="--", linewidth=1.2, color=INK, alpha=0.7)
        ax.annotate(f"floor {floor:.1f}", (floor, 0), xycoords=ax.get_xaxis_transform(), **where)
    else:
        ax.annotate(f"← floor {floor:.1f}", (0, 0), xycoords="axes fraction", **where)
