"""The paper's Figure 1: states along the transport from speech to class, as curves and as a plane."""

from typing import TYPE_CHECKING

import numpy as np

from genser.bench.trace import Trace
from genser.errors import ConfigError
from genser.report.document import COLORS, MARKERS, THEMES, canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DRAWN = 400  # utterances in a plane: more only cover one another, and swell a page's SVG


def curves(trace: Trace, utterance: int = 0, *, theme: str = "light") -> "Figure":
    """Draw one utterance's way as curves over the dimensions (the paper's Figure 1): x_1, x̂_t, x_0.

    Args:
        trace: The states.
        utterance: Which utterance.
        theme: Colours.
    """
    label = trace.labels[utterance]
    code = trace.codes[label]
    panels = [(title, states[utterance]) for title, states in _panels(trace, 4)]
    rows, columns = _layout(len(panels) + 1)
    with canvas(theme, 2.8 * columns, 0.3 + 2.05 * rows) as figure:
        grid = list(figure.subplots(rows, columns, sharex=True, squeeze=False).flat)
        for ax, (title, values) in zip(grid, panels, strict=False):
            ax.plot(values, color=COLORS[0], linewidth=0.8)
            ax.plot(code, color=COLORS[1], linewidth=1, alpha=0.7)
            ax.set_title(title)
        last = grid[len(panels)]
        last.plot(code, color=COLORS[1])
        last.set_title(f"x₀, {trace.classes[label]}")
        _trim(grid, len(panels) + 1)
        figure.supxlabel("dimension l", fontsize="medium")
    return figure


def plane(trace: Trace, *, projection: str = "circle", theme: str = "light") -> "Figure":
    """Draw utterances on a plane, one panel a time; class codes are crosses.

    At most 400 utterances are drawn, evenly chosen. Both projections are linear and the same at every time:

    - ``"circle"``: the coordinates along the class codes, laid out so that the codes stand on a circle. As codes are
      orthogonal, this is the plane in which every class has a place of its own.
    - ``"pca"``: the first two principal components of the last states, chosen without looking at labels.

    Args:
        trace: The states.
        projection: ``"circle"`` or ``"pca"``.
        theme: Colours.

    Raises:
        ConfigError: If there is no such projection.
    """
    mean, directions = _projection(trace, projection)
    chosen = np.linspace(0, len(trace.labels) - 1, min(_DRAWN, len(trace.labels))).round().astype(int)
    crosses = (trace.codes - mean) @ directions.T
    panels = _panels(trace, 5)
    rows, columns = _layout(len(panels))
    with canvas(theme, 2.8 * columns, 0.6 + 2.8 * rows) as figure:
        grid = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
        for ax, (title, states) in zip(grid, panels, strict=False):
            _scatter(ax, (states[chosen] - mean) @ directions.T, crosses, trace.labels[chosen], trace.classes, theme)
            ax.set_title(title)
        _trim(grid, len(panels))
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize="small", markerscale=1.6)
    return figure


def _layout(panels: int) -> tuple[int, int]:
    """Rows and columns: three columns, but two where that leaves no hole."""
    columns = 2 if panels in (2, 4) else 3
    return -(-panels // columns), columns


def _trim(grid: list["Axes"], used: int) -> None:
    for ax in grid[used:]:
        ax.remove()


def _panels(trace: Trace, times: int) -> list[tuple[str, np.ndarray]]:
    """x_1 and the states at up to `times` times, evenly spaced, the last included; each of shape (n, L)."""
    count = len(trace.times)
    shown = np.arange(count) if count <= times else np.linspace(0, count - 1, times + 1).round().astype(int)[1:]
    return [
        ("x₁, speech", trace.starts),
        *((f"x̂ₜ, t = {trace.times[index]:.2f}", trace.states[index]) for index in shown),
    ]


def _projection(trace: Trace, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Origin (L,) and directions (2, L) of a plane."""
    if name == "circle":
        angles = np.pi / 2 - 2 * np.pi * np.arange(len(trace.classes)) / len(trace.classes)
        circle = np.stack([np.cos(angles), np.sin(angles)])
        return np.zeros_like(trace.codes[0]), circle @ (trace.codes / np.square(trace.codes).sum(axis=1, keepdims=True))
    if name == "pca":
        mean = trace.states[-1].mean(axis=0)
        components = np.linalg.svd(trace.states[-1] - mean, full_matrices=False)[2][:2]
        return mean, components * np.where(components[:, [0]] < 0, -1, 1)  # fixed signs: the picture repeats
    raise ConfigError(f"there is no projection {name!r}: choose circle or pca")


def _scatter(
    ax: "Axes", points: np.ndarray, crosses: np.ndarray, labels: np.ndarray, classes: tuple[str, ...], theme: str
) -> None:
    for index, name in enumerate(classes):
        mark = {"color": COLORS[index % len(COLORS)], "marker": MARKERS[index % len(MARKERS)]}
        ax.scatter(*points[labels == index].T, s=12, alpha=0.65, linewidths=0, label=name, **mark)
    ax.scatter(*crosses.T, s=46, marker="+", linewidths=1.4, color=THEMES[theme].ink, label="class codes x₀", zorder=3)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(True)
    ax.spines[:].set_edgecolor(THEMES[theme].grid)
