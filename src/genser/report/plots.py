"""Pictures of scores: confusion, calibration, classes, steps, and systems with their intervals.

Each function takes plain numbers and returns a matplotlib figure; :mod:`genser.report.document` renders it. Shares
are given in [0, 1] and drawn in percent. `theme` is ``"light"``, ``"dark"`` or ``"page"``.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from genser.metrics.bootstrap import Interval
from genser.metrics.reliability import ReliabilityBin
from genser.report.document import COLORS, MARKERS, THEMES, axes, canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FILL = COLORS[0]


def confusion(counts: np.ndarray, classes: Sequence[str], *, theme: str = "light") -> "Figure":
    """Draw a confusion matrix: each row in percent of its class, with the diagonal as recall.

    Args:
        counts: Shape (classes, classes + 1), as of :func:`genser.metrics.classification.confusion_matrix`; the column of
            utterances without an answer is drawn only if there are any.
        classes: Class names.
        theme: Colours.
    """  # noqa: E501
    counts = np.asarray(counts)
    columns = [*classes, "no answer"] if counts[:, -1].any() else list(classes)
    counts = counts[:, : len(columns)]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max(3.6, 0.62 * len(classes) + 1.5)
    with canvas(theme, side + 0.62 * (len(columns) - len(classes)), side - 0.4) as figure:
        ax = axes(figure, x="decided", y="true")
        _cells(ax, shares, THEMES[theme].ink)
        ax.set_xticks(range(len(columns)), columns, rotation=35, ha="right", rotation_mode="anchor")
        ax.set_yticks(range(len(classes)), classes)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    return figure


def reliability(curves: Mapping[str, Sequence[ReliabilityBin]], *, theme: str = "light") -> "Figure":
    """Draw accuracy against confidence; on the diagonal a score of 0.8 is right 80 % of the time."""
    with canvas(theme, 4.6, 4.4) as figure:
        ax = axes(figure, x="confidence, %", y="accuracy, %", grid="both")
        ax.plot([0, 100], [0, 100], linestyle="--", linewidth=1.2, color=THEMES[theme].ink, alpha=0.6)
        ax.annotate("calibrated", (6, 8), rotation=45, rotation_mode="anchor", fontsize="small", alpha=0.8)
        for index, (name, bins) in enumerate(curves.items()):
            points = 100 * np.array([(one.confidence, one.accuracy) for one in bins])
            ax.plot(*points.T, label=name, markersize=5, **_mark(index))
        ax.set(xlim=(0, 101), ylim=(0, 101), aspect="equal")
        if len(curves) > 1:
            ax.legend(loc="upper left", fontsize="small")
    return figure


def per_class(scores: Mapping[str, Mapping[str, float]], *, score: str = "recall", theme: str = "light") -> "Figure":
    """Draw one bar a class and series.

    Args:
        scores: Series → class → share; a series is a system, or a score of one system. NaN draws a dash.
        score: What the axis says.
        theme: Colours.
    """
    classes = list(dict.fromkeys(name for series in scores.values() for name in series))
    thickness = 0.8 / len(scores)
    with canvas(theme, 6.2, 0.9 + len(classes) * max(0.34, 0.17 * len(scores))) as figure:
        ax = axes(figure, x=f"{score}, %", grid="x")
        for index, (name, series) in enumerate(scores.items()):
            places = np.arange(len(classes)) + (index - (len(scores) - 1) / 2) * thickness
            shares = 100 * np.array([series.get(one, np.nan) for one in classes])
            bars = ax.barh(
                places, np.nan_to_num(shares), 0.9 * thickness, color=COLORS[index % len(COLORS)], label=name
            )
            figures = ["–" if np.isnan(share) else f"{share:.0f}" for share in shares]
            ax.bar_label(bars, figures, padding=3, fontsize=7.5)
        ax.set_yticks(range(len(classes)), classes)
        ax.set(xlim=(0, 106), ylim=(len(classes) - 0.5, -0.5))
        ax.tick_params(axis="y", length=0)
        if len(scores) > 1:
            figure.legend(loc="outside upper left", ncols=min(4, len(scores)), fontsize="small")
    return figure


def over_steps(series: Mapping[str, Mapping[int, Interval]], *, score: str = "UA", theme: str = "light") -> "Figure":
    """Draw a score over the number of transport steps N, with its interval as a band; N = 0 is the direct estimate."""
    counts = sorted({count for points in series.values() for count in points})
    with canvas(theme, 5.4, 3.6) as figure:
        ax = axes(figure, x="transport steps N", y=f"{score}, %", grid="y")
        for index, (name, points) in enumerate(series.items()):
            places = [counts.index(count) for count in sorted(points)]
            rows = 100 * np.array([(one.low, one.estimate, one.high) for _, one in sorted(points.items())])
            mark = _mark(index)
            ax.fill_between(places, rows[:, 0], rows[:, 2], color=mark["color"], alpha=0.15, linewidth=0)
            ax.plot(places, rows[:, 1], label=name, **mark)
        ax.set_xticks(range(len(counts)), ["direct" if count == 0 else str(count) for count in counts])
        ax.margins(x=0.05)
        if len(series) > 1:
            figure.legend(loc="outside upper left", ncols=2, fontsize="small")
    return figure


def forest(
    rows: Mapping[str, Interval],
    *,
    published: Mapping[str, float] | None = None,
    floor: float | None = None,
    score: str = "UA",
    theme: str = "light",
) -> "Figure":
    """Draw systems with their intervals, published scores beneath them as hollow marks without one.

    Args:
        rows: System → score with its interval.
        published: Published system → share.
        floor: Share that always answering one class reaches: a line, or a note where it lies far outside.
        score: What the axis says.
        theme: Colours.
    """
    published = published or {}
    names = [*rows, *(f"{name} (published)" for name in published)]
    ink = THEMES[theme].ink
    with canvas(theme, 6.6, 1.0 + 0.3 * len(names)) as figure:
        ax = axes(figure, x=f"{score}, %", grid="x")
        for place, row in enumerate(rows.values()):
            ax.plot([100 * row.low, 100 * row.high], [place, place], color=_FILL, linewidth=2.4, solid_capstyle="butt")
            ax.plot(100 * row.estimate, place, "o", color=_FILL, markersize=6)
        hollow = 100 * np.array(list(published.values()))
        ax.plot(hollow, np.arange(len(rows), len(names)), "D", markersize=5.5, markerfacecolor="none", color=COLORS[1])
        if floor is not None:
            _floor(ax, 100 * floor, ink)
        ax.set_yticks(range(len(names)), names)
        ax.set_ylim(len(names) - 0.2, -0.6)
        ax.tick_params(axis="y", length=0)
    return figure


def _floor(ax: "Axes", floor: float, ink: str) -> None:
    """Mark the floor, but do not squeeze the systems together to show one that is far off."""
    low, high = ax.get_xlim()
    where = {"xytext": (4, 4), "textcoords": "offset points", "fontsize": "small", "alpha": 0.8}
    if floor > low - (high - low) / 2:
        ax.axvline(floor, linestyle="--", linewidth=1.2, color=ink, alpha=0.7)
        ax.annotate(f"floor {floor:.1f}", (floor, 0), xycoords=ax.get_xaxis_transform(), **where)
    else:
        ax.annotate(f"← floor {floor:.1f}", (0, 0), xycoords="axes fraction", **where)


def _cells(ax: "Axes", shares: np.ndarray, ink: str) -> None:
    """Rectangles whose opacity is the share, so that they fit every background; white figures on the strong ones."""
    from matplotlib.patches import Rectangle

    for (row, column), share in np.ndenumerate(shares):
        alpha = 0.04 + 0.92 * float(share)
        ax.add_patch(Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, color=_FILL, alpha=alpha, linewidth=0))
        if share > 0:
            text = f"{100 * share:.0f}" if share >= 0.005 else "<1"
            ax.text(column, row, text, ha="center", va="center", color="#ffffff" if share > 0.5 else ink)
    ax.set(xlim=(-0.5, shares.shape[1] - 0.5), ylim=(shares.shape[0] - 0.5, -0.5), aspect="equal")


def _mark(index: int) -> dict[str, str]:
    return {"color": COLORS[index % len(COLORS)], "marker": MARKERS[index % len(MARKERS)]}
