import re
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

from genser.bench.trace import Trace
from genser.errors import ConfigError, MissingExtraError, StoreError
from genser.metrics.bootstrap import Interval
from genser.metrics.reliability import reliability
from genser.report import figure1, plots
from genser.report.document import COLORS, DARK, LIGHT, canvas, to_png, to_svg
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
    "confusion": lambda theme: plots.confusion(
        np.array([[5, 1, 0, 0], [0, 6, 0, 1], [2, 2, 2, 0]]), CLASSES, theme=theme
    ),
    "reliability": lambda theme: plots.reliability({"a": bins(), "b": bins(1)}, theme=theme),
    "classes": lambda theme: plots.per_class(
        {"a": {"angry": 0.5, "sad": float("nan")}, "b": {"angry": 1.0}}, theme=theme
    ),
    "steps": lambda theme: plots.over_steps(
        {"a": {0: interval(0.7), 4: interval(0.8)}, "b": {4: interval(0.6)}}, theme=theme
    ),
    "forest": lambda theme: plots.forest({"a": interval(0.7)}, published={"P": 0.75}, floor=0.66, theme=theme),
    "curves": lambda theme: figure1.curves(trace(), 1, theme=theme),
    "plane": lambda theme: figure1.plane(trace(), theme=theme),
    "pca": lambda theme: figure1.plane(trace(), projection="pca", theme=theme),
}


def words(figure):
    """Every text that a figure shows."""
    root = ElementTree.fromstring(to_svg(figure, name="x", label="label"))
    return [node.text for node in root.iter() if node.tag.endswith("text")]


def luminance(color):
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def contrast(a, b):
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", FIGURES)
def test_png_has_the_theme_of_its_background(name):
    import io

    from PIL import Image

    for theme, paper in (("light", LIGHT.paper), ("dark", DARK.paper)):
        picture = Image.open(io.BytesIO(to_png(FIGURES[name](theme), dpi=40))).convert("RGB")
        assert picture.getpixel((0, 0)) == tuple(int(paper[i : i + 2], 16) for i in (1, 3, 5))
        assert len(picture.getcolors(1 << 20)) > 10


@pytest.mark.parametrize("name", FIGURES)
def test_svg_is_well_formed_follows_the_page_and_repeats(name):
    svg = to_svg(FIGURES[name]("page"), name="p1", label='He said "1 < 2"')
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    assert root.get("aria-label") == 'He said "1 < 2"'
    assert "var(--ink, " in svg
    assert not re.search(r"#01020[345]|http://(?!www\.w3\.org)|<metadata|<image", svg)
    ids = re.findall(r'\bid="([^"]+)"', svg)
    assert all(one.startswith("p1-") for one in ids)
    assert set(re.findall(r"url\(#([^)]+)\)", svg)) <= set(ids)
    assert svg == to_svg(FIGURES[name]("page"), name="p1", label='He said "1 < 2"')


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_text_and_marks_stand_out_from_their_background(theme):
    assert contrast(theme.ink, theme.paper) > 12
    assert all(contrast(color, theme.paper) > 2 for color in COLORS)
    assert contrast(COLORS[0], theme.paper) > 4


def test_confusion_shows_rows_in_percent_and_the_missing_answers():
    shown = words(FIGURES["confusion"]("light"))
    assert {"83", "17", "86", "14", "33"} <= set(shown)
    assert "no answer" in shown
    assert "no answer" not in words(plots.confusion(np.eye(3, 4, dtype=int), CLASSES))


def test_forest_marks_published_rows_and_a_floor_far_below():
    shown = words(plots.forest({"a": interval(0.7), "b": interval(0.6)}, published={"P": 0.65}, floor=0.1))
    assert "P (published)" in shown
    assert "← floor 10.0" in shown
    assert "floor 66.0" in words(FIGURES["forest"]("light"))


def test_steps_name_the_direct_estimate():
    assert {"direct", "4"} <= set(words(FIGURES["steps"]("light")))


def test_classes_draw_a_dash_for_an_undefined_score():
    assert "–" in words(FIGURES["classes"]("light"))


@pytest.mark.parametrize("times", [2, 3, 4, 5, 40])
def test_figure_one_ends_at_the_last_time_whatever_their_number(times):
    shown = words(figure1.curves(trace(times)))
    assert "x̂ₜ, t = 0.03" in shown
    assert "x₀, angry" in shown
    planes = words(figure1.plane(trace(times)))
    assert sum("x̂ₜ" in word for word in planes) == min(5, times)


def test_circle_puts_each_code_on_its_own_place_of_the_unit_circle():
    one = trace()
    origin, directions = figure1._projection(one, "circle")
    points = (one.codes - origin) @ directions.T
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, atol=1e-5)
    assert np.linalg.norm(points[0] - points[1]) == pytest.approx(3**0.5, abs=1e-4)


def test_pca_equals_sklearn():
    from sklearn.decomposition import PCA

    one = trace()
    origin, directions = figure1._projection(one, "pca")
    expected = PCA(2).fit(one.states[-1])
    np.testing.assert_allclose(np.abs(directions), np.abs(expected.components_), atol=1e-5)
    np.testing.assert_allclose(origin, expected.mean_, atol=1e-6)


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
    with pytest.raises(ConfigError, match="times must fall"):
        Trace(one.times[::-1], one.states, one.starts, one.codes, one.labels, CLASSES)


def test_unknown_choices_name_the_known_ones():
    with pytest.raises(ConfigError, match="light, dark, page"):
        plots.reliability({"a": bins()}, theme="pink")
    with pytest.raises(ConfigError, match="choose circle or pca"):
        figure1.plane(trace(), projection="tsne")


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("genser.report.document.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"genser\[plot\]"), canvas("light", 1, 1):
        pytest.fail("the canvas opened")
