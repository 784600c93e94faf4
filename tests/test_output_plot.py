"""Pictures of timelines: what is drawn is where the segments are, at any length, per voice, and nowhere else."""

import io
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from genser.output.time_axis import STEPS, time_text
from genser.segments.segment import Segment, Timeline

pytest.importorskip("matplotlib")

from matplotlib.collections import PolyCollection

from genser.output.plot import FAINTEST, LANE, colors_of, draw_timelines, timeline_figure

LABELS = ("anger", "neutral", "merry $5")
SOUND = np.tile(np.array([[-0.5, 0.5], [-0.1, 0.2]], np.float32), (50, 1))


def segment(start, end, label="anger", score=0.8, speaker=None, channel=None):
    rest = (1 - score) / 2
    return Segment(start, end, label, {one: score if one == label else rest for one in LABELS}, True, speaker, channel)


def timeline(*segments, duration=10.0, **more):
    return Timeline("calls/talk.wav", duration, LABELS, segments, SOUND, **more)


def spans(ax):
    """Start, end, and opacity of the coloured stretches of a band, from bottom to top, without the backgrounds."""
    found = []
    for one in ax.collections:
        if not isinstance(one, PolyCollection):
            continue
        colors = one.get_facecolors()
        for path, color in zip(one.get_paths(), np.resize(colors, (len(one.get_paths()), 4)), strict=True):
            x, y = path.vertices.T
            if color[3] >= FAINTEST and len(x) == 5:
                found.append((y.min(), x.min(), x.max(), color))
    return [(start, end, tuple(color)) for _, start, end, color in sorted(found, key=lambda one: one[:2])]


def words(figure):
    from matplotlib.text import Text

    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible()]


def test_a_short_recording_has_a_band_and_a_lane_per_emotion():
    figure = timeline_figure(timeline(segment(1, 3), segment(5, 9, "neutral", 0.5)))
    sound, panel = figure.axes
    assert [one[:2] for one in spans(panel)] == [(1, 3), (5, 9)]
    bars = [bar for bar in panel.patches if bar.get_x() > 0]  # without the backgrounds
    assert [bar.get_x() for bar in bars] == [1, 5, 1, 5, 1, 5]
    scores = [bar.get_height() / LANE for bar in bars]  # of the lanes from the bottom
    assert scores == pytest.approx([0.1, 0.25, 0.1, 0.5, 0.8, 0.25])
    assert {"anger 80%", "neutral 50%", "share of the speech:", "anger 33%", "neutral 67%"} <= set(words(figure))
    assert [text.get_text() for text in panel.get_xticklabels()][:2] == ["0 s", "1 s"]
    assert sound.get_xlim() == (0, 10)


def test_the_surer_the_stronger():
    faint, strong = (
        color
        for _, _, color in spans(timeline_figure(timeline(segment(1, 3, score=0.4), segment(4, 5, score=0.9))).axes[1])
    )
    assert FAINTEST < faint[3] < strong[3] < 1
    assert faint[:3] == strong[:3]


def test_channels_and_speakers_are_apart_even_if_one_is_silent():
    figure = timeline_figure(timeline(segment(1, 3, channel=1), segment(4, 6, channel=3), channels=(1, 2, 3)))
    _, *panels = figure.axes
    assert [panel.get_ylabel() for panel in panels] == ["channel 1", "channel 2", "channel 3"]
    assert [[one[:2] for one in spans(panel)] for panel in panels] == [[(1, 3)], [], [(4, 6)]]
    names = ["anna", "ben", "carl", "dora"]
    (ax,) = timeline_figure(timeline(*(segment(n, n + 1, speaker=name) for n, name in enumerate(names)))).axes
    assert [text.get_text() for text in ax.get_yticklabels()] == [*names, "sound"]
    assert [one[:2] for one in spans(ax)] == [(3, 4), (2, 3), (1, 2), (0, 1)]  # anna at the top


def test_many_speakers_are_those_who_speak_most_and_the_others():
    segments = [segment(n, n + 0.1 + 0.02 * n, speaker=f"speaker {n}") for n in range(20)]
    (ax,) = timeline_figure(timeline(*segments, duration=30)).axes
    shown = [text.get_text() for text in ax.get_yticklabels()]
    assert shown == [*(f"speaker {n}" for n in range(13, 20)), "13 others", "sound"]
    assert len(spans(ax)) == 20


@pytest.mark.parametrize(("hours", "rows", "minutes"), [(0.25, 2, 10), (3, 18, 10), (5, 10, 30), (40, 20, 120)])
def test_long_recordings_have_rows_below_an_overview(hours, rows, minutes):
    end = 3600 * hours
    starts = np.linspace(0, end - 60, 40)
    overview, ax = timeline_figure(timeline(*(segment(a, a + 50) for a in starts), duration=end)).axes
    texts = [text.get_text() for text in ax.get_yticklabels()]
    assert texts == [time_text(60 * minutes * row) for row in range(rows)]
    assert ax.get_xlim() == (0, 60 * minutes)
    drawn = spans(ax)
    assert sum(stop - start for start, stop, _ in drawn) == pytest.approx(40 * 50)
    assert all(0 <= start < stop <= 60 * minutes for start, stop, _ in drawn)
    share = sum(bar.get_height() * bar.get_width() for bar in overview.patches)
    assert share == pytest.approx(40 * 50, rel=1e-6)


@pytest.mark.parametrize("duration", [0.3, 7, 59, 61, 480, 599])
def test_ticks_are_at_round_times(duration):
    ax = timeline_figure(timeline(segment(0.1, 0.2), duration=duration)).axes[-1]
    ticks = ax.get_xticks()
    steps = np.diff(ticks)
    assert 2 <= len(ticks) <= 13
    assert min(abs(steps[0] - step) for step in STEPS) < 1e-9
    assert steps == pytest.approx(steps[0])
    assert ax.get_xlim()[1] == duration
    assert ticks[-1] < duration + 1e-9


def test_times_are_written_as_people_do():
    assert [time_text(time) for time in (0, 59.6, 61, 3599, 7265)] == ["0:00", "1:00", "1:01", "59:59", "2:01:05"]


def test_a_recording_without_speech_says_so():
    for duration in (5, 2000):
        assert any("no speech was found" in text for text in words(timeline_figure(timeline(duration=duration))))


def test_names_and_labels_are_shown_as_they_are():
    odd = replace(timeline(segment(1, 9, "merry $5", speaker="$x$\n")), path="a/$5 caf\udce9 $6.wav")
    shown = words(timeline_figure(odd))
    assert r"\$5 caf? \$6.wav" in shown
    assert r"\$x\$\n" in shown
    assert any(r"merry \$5" in text for text in shown)
    many = Timeline("a.wav", 5, tuple("abcdefghijklmnop"), (), SOUND)
    assert len(set(colors_of(many.labels))) == 16
    for format in ("png", "svg", "pdf"):
        content = io.BytesIO()
        draw_timelines([odd], content, LABELS, format)
        assert len(content.getvalue()) > 1000


def test_a_backend_that_is_not_installed_does_not_matter():
    code = (
        "from genser.output.figures import import_figure; import io, os; "
        "import_figure('x')().savefig(io.BytesIO(), format='png'); assert os.environ['MPLBACKEND'] == 'module://no.such'"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "MPLBACKEND": "module://no.such"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
