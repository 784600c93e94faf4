"""Draws a timeline: up to ten minutes with a lane per emotion, longer recordings in rows below an overview."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from genser.data.text import printable
from genser.output.figures import import_figure
from genser.output.time_axis import draw_times, time_text
from genser.segments.segment import Segment, Timeline, by_voice, voice_name

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


WIDTH = 12.0
"""Inches."""

ROW_LENGTHS = (600, 1800, 3600, 7200, 14_400, 43_200, 86_400)
"""Lengths in seconds that a row of a long recording may have; the first that needs few rows is chosen."""

MOST_ROWS, MOST_VOICES, MOST_LANES, MOST_DETAILED = 24, 8, 10, 3
"""Rows, voices and emotions in a picture, and voices with a lane per emotion."""

BINS = 180  # of the overview
LONGEST_VOICE = 24  # letters
NAMED_WIDTH = 0.0065  # of the picture per letter: narrower segments get no text
BAND, GAP, OVERVIEW = 0.26, 0.14, 0.5  # inches
LANE = 0.85  # height of the score 1 in a lane
FAINTEST = 0.2
GREY, INK = "#9aa3ad", "#30363d"
SMALL = 8


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

    Up to ten minutes and three voices, each voice (a speaker on a channel) has a band of its most probable emotion
    and a lane per emotion, in which the height is the score. Longer recordings are drawn in rows of ten minutes (over
    four hours in longer rows), each with the bands of the voices, below an overview. Where there is no speech, nothing
    is drawn.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    drawing = _Drawing(timeline, import_figure("Drawing a timeline"))
    is_short = drawing.end <= ROW_LENGTHS[0]
    if is_short and len(drawing.voices) <= MOST_DETAILED:
        return drawing.lanes()
    return drawing.rows(drawing.end if is_short else _row_length(drawing.end))


def _row_length(duration: float) -> float:
    return next((length for length in ROW_LENGTHS if duration <= length * MOST_ROWS), duration / MOST_ROWS)


@dataclass
class _Drawing:
    """The parts of a picture, which all show the same timeline."""

    timeline: Timeline
    figure_class: "type[Figure]"

    @property
    def end(self) -> float:
        """End of the time axis in seconds."""
        return max([self.timeline.end, 1e-3, *(one.end for one in self.timeline.segments)])

    @cached_property
    def voices(self) -> list[tuple[str, list[Segment]]]:
        """Names and segments of the voices; of many, those that speak most, and the others together."""
        found = by_voice(self.timeline.segments, self.timeline.channels)
        voices = [(_shown(voice_name(*key[::-1]) or "", LONGEST_VOICE), mine) for key, mine in found.items()]
        if len(voices) <= MOST_VOICES:
            return voices
        spoken = [sum(one.duration for one in mine) for _, mine in voices]
        least = sorted(np.argsort(spoken, kind="stable")[: len(voices) - MOST_VOICES + 1])
        others = [one for place in least for one in voices[place][1]]
        return [one for place, one in enumerate(voices) if place not in least] + [(f"{len(least)} others", others)]

    @cached_property
    def colors(self) -> dict[str, tuple[float, float, float]]:
        """Label → red, green and blue in [0, 1]."""
        return {label: _rgb(color) for label, color in colors_of(self.timeline.labels).items()}

    def shade(self, segment: Segment) -> tuple[float, ...]:
        """Colour of a segment: the more opaque, the higher its score is above that of guessing."""
        guess = 1 / max(len(segment.scores), 2)
        sure = (segment.scores[segment.label] - guess) / (1 - guess)
        return *self.colors[segment.label], FAINTEST + (1 - FAINTEST) * float(np.clip(sure, 0, 1))

    def lanes(self) -> "Figure":
        """The picture of a short recording: the waveform, and for each voice its band and a lane per emotion."""
        labels = self._lane_labels()
        tall = 0.26 * (len(labels) + 1.6)
        voices = self.voices
        figure = self.figure_class(figsize=(WIDTH, 1.75 + tall * len(voices)), layout="constrained")
        sound, *panels = figure.subplots(1 + len(voices), 1, sharex=True, height_ratios=[0.7, *[tall] * len(voices)])
        self._head(figure, sound)
        self._draw_sound(sound, 0, self.end, 0, 1)
        sound.set(ylim=(-0.05, 1.05), yticks=[0.5], yticklabels=["sound"])
        for ax, (name, segments) in zip(panels, voices, strict=True):
            self._draw_band(ax, segments, 0, self.end, (len(labels) + 0.15, 1.2), self.end)
            for lane, label in enumerate(reversed(labels)):
                self._draw_lane(ax, segments, label, lane)
            positions = [*np.arange(len(labels)) + LANE / 2, len(labels) + 0.75]
            ax.set(ylim=(-0.1, len(labels) + 1.5))
            ax.set_yticks(positions, [*map(_shown, reversed(labels)), "most probable"])
            ax.set_ylabel(name, fontsize=9, fontweight="bold")
        draw_times(panels[-1], self.end)
        panels[-1].set_xlabel("full height of a lane: score of 100 %", fontsize=SMALL)
        for ax in (sound, *panels):
            _bare(ax)
        for ax in (sound, *panels[:-1]):
            ax.spines["bottom"].set_visible(False)
            ax.tick_params(axis="x", length=0)
        return figure

    def rows(self, length: float) -> "Figure":
        """The picture of a long recording: an overview of each voice, and rows with the bands of all voices.

        Args:
            length: Of a row in seconds.
        """
        voices, count = self.voices, max(1, int(np.ceil(self.end / length - 1e-9)))
        row = BAND * (len(voices) + 1) + GAP
        overviews = len(voices) if count > 1 else 0
        heights = [*[OVERVIEW] * overviews, row * count]
        figure = self.figure_class(figsize=(WIDTH, 1.4 + sum(heights) + 0.3 * overviews), layout="constrained")
        *panels, ax = np.atleast_1d(figure.subplots(len(heights), 1, height_ratios=heights))
        self._head(figure, panels[0] if panels else ax)
        for panel, (name, segments) in zip(panels, voices, strict=False):
            self._draw_overview(panel, name, segments, length)
        for number in range(count):
            start, top = number * length, -number * row
            self._draw_sound(ax, start, start + length, top - BAND * (len(voices) + 1), 0.95 * BAND)
            for place, (name, segments) in enumerate(voices, 1):
                bottom = top - BAND * place
                self._draw_band(ax, segments, start, min(length, self.end - start), (bottom, 0.88 * BAND), length)
                if count > 1:
                    ax.text(1.004 * length, bottom + 0.44 * BAND, name, fontsize=7, va="center", clip_on=False)
        ax.set(ylim=(GAP - count * row, 0))
        if count > 1:
            middles = [-number * row - 0.5 * (row - GAP) for number in range(count)]
            ax.set_yticks(middles, [time_text(number * length) for number in range(count)])
            ax.set_xlabel(f"time after the beginning of the row; a row is {length / 60:.0f} minutes", fontsize=SMALL)
        else:
            ax.set_yticks(
                [-BAND * (place + 0.56) for place in range(len(voices) + 1)], [*(name for name, _ in voices), "sound"]
            )
        draw_times(ax, length)
        _bare(ax)
        return figure

    def _head(self, figure: "Figure", ax: "Axes") -> None:
        """The name of the recording, and the emotions that occur with their share of the time."""
        timeline = self.timeline
        total = sum(one.duration for one in timeline.segments)
        ax.set_title(_shown(Path(timeline.path).name), loc="left", fontsize=11, fontweight="bold")
        about = "strong colour: high score, pale: low score, empty: no speech" if total else "no speech was found"
        ax.set_title(f"{time_text(self.end)} long, {about}", loc="right", fontsize=SMALL, color=INK)
        from matplotlib.patches import Patch

        shares = {
            label: sum(one.duration for one in timeline.segments if one.label == label) / max(total, 1e-9)
            for label in timeline.labels
        }
        named = [label for label in timeline.labels if shares[label]]
        named.sort(key=lambda label: -shares[label])
        patches = [Patch(color=self.colors[one], label=f"{_shown(one)} {shares[one]:.0%}") for one in named]
        if patches:
            heading = Patch(alpha=0, label="share of the speech:")
            figure.legend(handles=[heading, *patches], loc="outside upper left", ncols=8, frameon=False, fontsize=9)

    def _lane_labels(self) -> list[str]:
        """The classes of the lanes in the order of the model; of many, those with the highest scores."""
        labels, segments = list(self.timeline.labels), self.timeline.segments
        if len(labels) <= MOST_LANES:
            return labels
        highest = {label: max((one.scores[label] for one in segments), default=0.0) for label in labels}
        kept = sorted(labels, key=lambda label: -highest[label])[:MOST_LANES]
        return [label for label in labels if label in kept]

    def _draw_sound(self, ax: "Axes", start: float, end: float, bottom: float, height: float) -> None:
        """The outline of the waveform from one time to another, drawn from 0 on."""
        peaks = self.timeline.envelope
        if not len(peaks):
            return
        reach = max(float(np.abs(peaks).max()), 1e-6)
        times = np.linspace(0, self.timeline.end, len(peaks), endpoint=False)
        kept = (times >= start) & (times < end)
        low, high = bottom + height * (0.5 + 0.5 * peaks[kept].T / reach)
        ax.fill_between(times[kept] - start, low, high, color=GREY, linewidth=0.4)

    def _draw_band(
        self, ax: "Axes", segments: list[Segment], start: float, length: float, place: tuple[float, float], width: float
    ) -> None:
        """The most probable emotions of a voice within a row, drawn from 0 on, with names where there is room.

        Args:
            ax: Where to draw.
            segments: Of the voice.
            start: Of the row in seconds.
            length: Of the row in seconds.
            place: Bottom and height of the band.
            width: Of the axes in seconds.
        """
        ax.broken_barh([(0, length)], place, facecolors=GREY, alpha=0.1, linewidth=0)
        shown = [one for one in segments if one.end > start and one.start < start + length]
        spans = [(max(one.start - start, 0), min(one.end - start, length) - max(one.start - start, 0)) for one in shown]
        ax.broken_barh(spans, place, facecolors=[self.shade(one) for one in shown], linewidth=0)
        for one, (left, span) in zip(shown, spans, strict=True):
            text = _shown(f"{one.label} {one.scores[one.label]:.0%}")
            if span > NAMED_WIDTH * len(text) * width:
                middle = left + span / 2, place[0] + place[1] / 2
                ax.text(*middle, text, ha="center", va="center", fontsize=7, color=INK, clip_on=True)

    def _draw_lane(self, ax: "Axes", segments: list[Segment], label: str, lane: int) -> None:
        """The scores of one emotion as bars, strong where it is the most probable."""
        ax.axhspan(lane, lane + LANE, color=GREY, alpha=0.1, linewidth=0)
        if not segments:
            return
        left, width, height = np.array([(one.start, one.duration, one.scores[label]) for one in segments]).T
        colors = [(*self.colors[label], 1.0 if one.label == label else 0.4) for one in segments]
        ax.bar(left, LANE * height, width, bottom=lane, align="edge", color=colors, linewidth=0)

    def _draw_overview(self, ax: "Axes", name: str, segments: list[Segment], length: float) -> None:
        """Share of the time of each emotion of a voice over the whole recording."""
        edges = np.linspace(0, self.end, BINS + 1)
        bottom = np.zeros(BINS)
        for label in self.timeline.labels:
            spans = np.array([(one.start, one.end) for one in segments if one.label == label]).reshape(-1, 2)
            share = _covered(spans, edges) * BINS / self.end
            ax.bar(
                edges[:-1], share, np.diff(edges), bottom=bottom, align="edge", color=self.colors[label], linewidth=0
            )
            bottom += share
        for time in np.arange(length, self.end, length):
            ax.axvline(time, color=INK, linewidth=0.4, linestyle=(0, (2, 4)))
        draw_times(ax, self.end)
        ax.set(ylim=(0, max(1.0, bottom.max())), yticks=[0, 1], yticklabels=["0", "all of\nthe time"])
        ax.set_ylabel(name or "speech", fontsize=SMALL)
        _bare(ax)


def _covered(spans: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Seconds between each two edges that spans cover; shape (edges - 1,)."""
    before = np.clip(edges[:, None] - spans[None, :, 0], 0, spans[None, :, 1] - spans[None, :, 0]).sum(axis=1)
    return np.diff(before)


def _bare(ax: "Axes") -> None:
    """No frame, as the bands and the lanes are one."""
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0, labelsize=SMALL)
    ax.tick_params(axis="x", labelsize=SMALL)


def _rgb(color: str) -> Any:
    return tuple(int(color[place : place + 2], 16) / 255 for place in (1, 3, 5))


def _shown(text: str, longest: int = 100) -> str:
    """Text as matplotlib shows it: "$" begins no mathematics, and bytes that are no text are question marks."""
    cut = text if len(text) <= longest else f"{text[: longest - 1]}…"
    return printable(cut.encode("utf-8", "replace").decode()).replace("$", r"\$")
