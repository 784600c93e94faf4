"""Draw the paper's Figure 1: states along the transport from speech to class, as curves and on a plane."""

from typing import TYPE_CHECKING

import numpy as np

from genser.bench.trace import Trace
from genser.errors import ConfigError, suggestion
from genser.report.plots import COLORS, GRID, INK, canvas, mark

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_POINTS = 400
"""Utterances drawn on a plane; more would cover one another."""


def curves(trace: Trace, utterance: int = 0) -> "Figure":
    """Draw the states of one utterance as curves over the dimensions (the paper's Figure 1): x_1, x̂_t, x_0.

    Args:
        trace: The states.
        utterance: Index of the utterance.
    """
    label = trace.labels[utterance]
    code = trace.codes[label]
    panels = _panels(trace, 4)
    rows, columns = _layout(len(panels) + 1)
    with canvas(2.8 * columns, 0.3 + 2.05 * rows) as figure:
        grid = list(figure.subplots(rows, columns, sharex=True, squeeze=False).flat)
        for ax, (title, states) in zip(grid, panels, strict=False):
            ax.plot(states[utterance], color=COLORS[0], linewidth=0.8)
            ax.plot(code, color=COLORS[1], linewidth=1, alpha=0.7)
            ax.set_title(title)
        last = grid[len(panels)]
        last.plot(code, color=COLORS[1])
        last.set_title(f"x₀, {trace.classes[label]}")
        for ax in grid[len(panels) + 1 :]:
            ax.remove()
        figure.supxlabel("dimension l", fontsize="medium")
    return figure


def plane(trace: Trace, *, projection: str = "circle") -> "Figure":
    """Draw utterances on a plane, one panel for each time; crosses mark the class codes.

    At most :data:`MAX_POINTS` utterances are drawn, evenly chosen.

    Args:
        trace: The states.
        projection: See :func:`projection_of`.

    Raises:
        ConfigError: There is no such projection.
    """
    origin, directions = projection_of(trace, projection)
    chosen = np.linspace(0, len(trace.labels) - 1, min(MAX_POINTS, len(trace.labels))).round().astype(int)
    labels, crosses = trace.labels[chosen], (trace.codes - origin) @ directions.T
    panels = _panels(trace, 5)
    rows, columns = _layout(len(panels))
    with canvas(2.8 * columns, 0.6 + 2.8 * rows) as figure:
        grid = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
        for ax, (title, states) in zip(grid, panels, strict=False):
            points = (states[chosen] - origin) @ directions.T
            for index, name in enumerate(trace.classes):
                ax.scatter(*points[labels == index].T, s=12, alpha=0.65, linewidths=0, label=name, **mark(index))
            ax.scatter(*crosses.T, s=46, marker="+", linewidths=1.4, color=INK, label="class codes x₀", zorder=3)
            ax.set(xticks=[], yticks=[], title=title)
            ax.spines[:].set_visible(True)
            ax.spines[:].set_edgecolor(GRID)
        for ax in grid[len(panels) :]:
            ax.remove()
        handles, names = grid[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=5, fontsize="small", markerscale=1.6)
    return figure


def projection_of(trace: Trace, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Origin (L,) and directions (2, L) of a plane. The projection is linear and the same at every time.

    - ``"circle"``: the coordinates along the class codes, arranged so that the codes lie on the unit circle. As the
      codes are orthogonal, every class has its own direction.
    - ``"pca"``: the first two principal components of the last states; labels are not used.

    Raises:
        ConfigError: There is no such projection.
    """
    if name == "circle":
        angles = np.pi / 2 - 2 * np.pi * np.arange(len(trace.classes)) / len(trace.classes)
        circle = np.stack([np.cos(angles), np.sin(angles)])
        return np.zeros_like(trace.codes[0]), circle @ (trace.codes / np.square(trace.codes).sum(axis=1, keepdims=True))
    if name == "pca":
        mean = trace.states[-1].mean(axis=0)
        components = np.linalg.svd(trace.states[-1] - mean, full_matrices=False)[2][:2]
        return mean, components * np.where(components[:, [0]] < 0, -1, 1)  # fixed signs make the plot reproducible
    raise ConfigError(f"There is no projection {name!r}. {suggestion(name, ('circle', 'pca'))}")


def _layout(panels: int) -> tuple[int, int]:
    """Rows and columns: three columns, or two if that leaves no panel empty."""
    columns = 2 if panels in (2, 4) else 3
    return -(-panels // columns), columns


def _panels(trace: Trace, times: int) -> list[tuple[str, np.ndarray]]:
    """Titles and states (n, L): x_1, then x̂_t at up to `times` evenly spaced times, including the last one."""
    count = len(trace.times)
    shown = np.arange(count) if count <= times else np.linspace(0, count - 1, times + 1).round().astype(int)[1:]
    states = [(f"x̂ₜ, t = {trace.times[index]:.2f}", trace.states[index]) for index in shown]
    return [("x₁, speech", trace.starts), *states]
