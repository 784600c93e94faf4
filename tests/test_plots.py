import io
import sys

import numpy as np
import pytest

from genser.bench.trace import Trace
from genser.errors import ConfigError, MissingExtraError, StoreError
from genser.metrics.bootstrap import Interval
from genser.metrics.reliability import reliability
from genser.report import figure1, plots
from genser.report.plots import COLORS, DPI, INK, PAPER, canvas, to_png
from genser.transport.codes import class_codes

CLASSES = ("angry", "happy", "neutral")


def interval(estimate):
    return Interval(estimate, estimate - 0.03, estimate + 0.02, 0.95, "speaker", 24)


def bins(seed=0):
    random = np.random.default_rng(seed)
    confidence = random.uniform(0.3, 1, 200)
    return reliability(confidence, random.uniform(size=200) < confidence)


def trace(times=9, utterances=30, length=64):
    """States that go straight from noise to their code."""
    random = np.random.default_rng(0)
    codes = class_codes(3, length)
    labels = np.arange(utterances) % 3
    starts = random.normal(size=(utterances, length))
    clock = np.linspace(0.97, 0.03, times)
    states = np.stack([codes[labels] + (starts - codes[labels]) * t for t in clock])
    return Trace(clock, states, starts, codes, labels, CLASSES)


FIGURES = {
    "confusion": lambda: plots.confusion(np.array([[5, 1, 0, 0], [0, 6, 0, 1], [2, 2, 2, 0]]), CLASSES),
    "reliability": lambda: plots.reliability({"a": bins(), "b": bins(1)}),
    "classes": lambda: plots.per_class(
        {"a": {"angry": 0.5, "sad": float("nan")}, "b": {"angry": 1.0}}, {"angry": 1200, "sad": 0}
    ),
    "steps": lambda: plots.over_steps({"a": {0: interval(0.7), 4: interval(0.8)}, "b": {4: interval(0.6)}}),
    "forest": lambda: plots.forest({"a": interval(0.7)}, published={"P": 0.75}, floor=0.66),
    "curves": lambda: figure1.curves(trace(), 1),
    "plane": lambda: figure1.plane(trace()),
    "pca": lambda: figure1.plane(trace(), projection="pca"),
}


def words(figure):
    """Every text that a figure shows."""
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text) if text.get_visible()]


def luminance(color):
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def contrast(a, b):
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", FIGURES)
def test_a_picture_is_an_opaque_png_that_repeats(name):
    from PIL import Image

    png = to_png(FIGURES[name]())
    picture = Image.open(io.BytesIO(png)).convert("RGBA")
    assert picture.getpixel((0, 0)) == (255, 255, 255, 255)
    assert picture.getextrema()[3] == (255, 255)
    assert len(picture.getcolors(1 << 22)) > 10
    assert png == to_png(FIGURES[name]())
    assert int.from_bytes(png[16:20], "big") == picture.width > 3 * DPI


def test_text_and_marks_stand_out_from_their_background():
    assert contrast(INK, PAPER) > 12
    assert all(contrast(color, PAPER) > 2 for color in COLORS)
    assert contrast(COLORS[0], PAPER) > 4


def test_confusion_shows_rows_in_percent_and_the_missing_answers():
    shown = words(FIGURES["confusion"]())
    assert {"83", "17", "86", "14", "33"} <= set(shown)
    assert "no answer" in shown
    assert "no answer" not in words(plots.confusion(np.eye(3, 4, dtype=int), CLASSES))


def test_pictures_of_shares_have_the_counts():
    assert {"angry (6)", "happy (7)", "neutral (6)"} <= set(words(FIGURES["confusion"]()))
    assert {"angry (1,200)", "sad (0)"} <= set(words(FIGURES["classes"]()))
    sizes = {one.count for one in bins()}
    assert f"confidence, % ({min(sizes)} to {max(sizes)} answers in a point)" in words(FIGURES["reliability"]())


@pytest.mark.parametrize(
    ("found", "of", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_of_a_share_is_that_of_the_literature(found, of, low, high):
    """Newcombe 1998, Statistics in Medicine 17, page 861, table I, method 3."""
    assert plots._share_interval(found / of, of) == pytest.approx((low, high), abs=1e-4)


def test_forest_marks_published_rows_and_a_floor_far_below():
    shown = words(plots.forest({"a": interval(0.7), "b": interval(0.6)}, published={"P": 0.65}, floor=0.1))
    assert "P (published)" in shown
    assert "← floor 10.0" in shown
    assert "floor 66.0" in words(FIGURES["forest"]())


def test_steps_name_the_direct_estimate():
    assert {"direct", "4"} <= set(words(FIGURES["steps"]()))


def test_classes_draw_a_dash_for_an_undefined_score():
    assert "–" in words(FIGURES["classes"]())


@pytest.mark.parametrize("times", [2, 3, 4, 5, 40])
def test_figure_one_ends_at_the_last_time_whatever_their_number(times):
    shown = words(figure1.curves(trace(times)))
    assert "x̂ₜ, t = 0.03" in shown
    assert "x₀, angry" in shown
    planes = words(figure1.plane(trace(times)))
    assert sum("x̂ₜ" in word for word in planes) == min(5, times)


def test_the_circle_gives_each_code_its_own_place_on_the_unit_circle():
    one = trace()
    origin, directions = figure1.projection_of(one, "circle")
    points = (one.codes - origin) @ directions.T
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, atol=1e-5)
    assert np.linalg.norm(points[0] - points[1]) == pytest.approx(3**0.5, abs=1e-4)


def test_pca_keeps_the_directions_of_largest_variance():
    one = trace()
    origin, directions = figure1.projection_of(one, "pca")
    np.testing.assert_allclose(origin, one.states[-1].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(directions @ directions.T, np.eye(2), atol=1e-6)
    variances = np.linalg.eigvalsh(np.cov(one.states[-1].T))[::-1]
    np.testing.assert_allclose(((one.states[-1] - origin) @ directions.T).var(axis=0, ddof=1), variances[:2], rtol=1e-5)


def test_trace_returns_from_its_file(tmp_path):
    one = trace()
    one.save(tmp_path / "trace.npz")
    again = Trace.load(tmp_path / "trace.npz")
    assert again.classes == one.classes
    np.testing.assert_array_equal(again.states, one.states)
    whole = (tmp_path / "trace.npz").read_bytes()
    (tmp_path / "trace.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreError, match="damaged"):
        Trace.load(tmp_path / "trace.npz")


def test_trace_refuses_what_does_not_fit():
    one = trace()
    with pytest.raises(ConfigError, match="do not fit"):
        Trace(one.times, one.states[:, :-1], one.starts, one.codes, one.labels, CLASSES)
    with pytest.raises(ConfigError, match="Times must decrease"):
        Trace(one.times[::-1], one.states, one.starts, one.codes, one.labels, CLASSES)


def test_an_unknown_projection_is_refused():
    with pytest.raises(ConfigError, match="no projection 'tsne'"):
        figure1.plane(trace(), projection="tsne")


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"genser\[plot\]"), canvas(1, 1):
        pytest.fail("the canvas opened")
