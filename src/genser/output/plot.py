"""Draws a timeline: the waveform coloured by emotion, and the score of every class over time."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from genser.output.figures import import_figure
from genser.segments.segment import Timeline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EMOTION_COLORS = {
    "neutral": "#7f8790",
    "calm": "#2a9d8f",
    "happiness": "#e0a100",
    "sadness": "#3b7dd8",
    "anger": "#d1372c",
    "fear": "#8a56c2",
    "disgust": "#5d8a1e",
    "surprise": "#d9489a",
    "boredom": "#8c6a4f",
}
OTHER_COLORS = ("#1b7fc4", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#a6761d")


def colors_of(labels: Sequence[str]) -> dict[str, str]:
    """A colour for each label: the fixed one of an emotion, else the next of the other colours."""
    unknown = [label for label in labels if label not in EMOTION_COLORS]
    others = {label: OTHER_COLORS[i % len(OTHER_COLORS)] for i, label in enumerate(unknown)}
    return {label: EMOTION_COLORS.get(label) or others[label] for label in labels}


NAMED_SHARE = 0.03  # of the width: narrower segments get no text


def draw_timelines(timelines: Iterable[Timeline], file: BinaryIO, labels: Sequence[str], format: str) -> None:  # noqa: ARG001
    """Draw a timeline as PNG, SVG or PDF; an output format for one recording.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    for timeline in timelines:
        if timeline.error is None:
            timeline_figure(timeline).savefig(file, format=format, dpi=150)


def timeline_figure(timeline: Timeline) -> "Figure":
    """The drawing of a timeline as a matplotlib figure, without a window.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure_class = import_figure("Drawing a timeline")
    figure = figure_class(figsize=(12, 5), layout="constrained")
    sound, curves = figure.subplots(2, 1, sharex=True, height_ratios=(2, 3))
    _draw_sound(sound, timeline)
    _draw_scores(curves, timeline)
    figure.suptitle(Path(timeline.path).name, fontsize=11)
    return figure


def _channels(timeline: Timeline) -> list[int | None]:
    """The channels of the segments in their order; None stands for the mix, and for no segments at all."""
    return sorted({one.channel for one in timeline.segments}, key=lambda channel: channel or 0) or [None]


def _draw_sound(ax: "Axes", timeline: Timeline) -> None:
    colors, peaks = colors_of(timeline.labels), timeline.envelope
    times = np.linspace(0, timeline.heard or timeline.duration, len(peaks), endpoint=False)
    reach = max(float(np.abs(peaks).max(initial=0)), 1e-6) * 1.05
    channels = _channels(timeline)
    height = 2.25 * reach / len(channels)
    for number, channel in enumerate(channels):  # a band each, from the top
        top = 1.25 * reach - number * height
        segments = [one for one in timeline.segments if one.channel == channel]
        for label, is_confident in dict.fromkeys((one.label, one.confident) for one in segments):
            alike = (one for one in segments if (one.label, one.confident) == (label, is_confident))
            spans = [(one.start, one.duration) for one in alike]
            shade = 0.45 if is_confident else 0.15
            ax.broken_barh(spans, (top - height, height), facecolor=colors[label], alpha=shade, linewidth=0)
        for one in segments:
            if one.duration > NAMED_SHARE * timeline.duration:
                middle = (one.start + one.end) / 2
                ax.text(middle, top - 0.05 * reach, one.label, ha="center", va="top", fontsize=8, clip_on=True)
    ax.fill_between(times, peaks[:, 0], peaks[:, 1], color="#30363d", linewidth=0.3)
    ax.set(ylim=(-reach, 1.25 * reach), yticks=[], ylabel="sound" if len(channels) == 1 else "channels from the top")


def _draw_scores(ax: "Axes", timeline: Timeline) -> None:
    colors = colors_of(timeline.labels)
    for number, channel in enumerate(_channels(timeline)):
        segments = [one for one in timeline.segments if one.channel == channel]
        edges = np.ravel([(one.start, one.end, np.nan) for one in segments])
        middles = [(one.start + one.end) / 2 for one in segments]
        style = "solid" if number == 0 else "dashed"
        for label in timeline.labels:
            scores = [one.scores[label] for one in segments]
            name = label if number == 0 else None
            steps = np.ravel([(score, score, np.nan) for score in scores])
            ax.plot(edges, steps, color=colors[label], linewidth=2, linestyle=style, label=name)
            ax.plot(middles, scores, color=colors[label], linewidth=0.6, linestyle=style, alpha=0.5)
    ax.set(xlim=(0, max(timeline.duration, 1e-3)), ylim=(0, 1), xlabel="time in seconds", ylabel="score")
    ax.grid(axis="y", linewidth=0.4)
    ax.figure.legend(*ax.get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=9)
