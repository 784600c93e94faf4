"""Timelines as files: every format read back with a reader of its own."""

import csv
import io
import json
import re
from itertools import pairwise

import numpy as np
import pytest

from genser.errors import ConfigError
from genser.output.plot import draw_timeline
from genser.output.timelines import FORMATS, format_of, write_parquet, write_text
from genser.segments.segment import Segment, Timeline
from genser.segments.turns import read_turns

LABELS = ("anger", 'so-"called" calm', "neutral")


def scores(winner):
    return {label: 0.8 if label == winner else 0.1 for label in LABELS}


def segment(start, end, label, speaker=None):
    return Segment(start, end, label, scores(label), label != "neutral", speaker)


SEGMENTS = (segment(0.5, 2.25, "anger"), segment(2.25, 3.0, LABELS[1]), segment(3661.5, 3670.125, "neutral"))
ENVELOPE = np.array([[-0.5, 0.5], [-0.1, 0.2]], np.float32)
GOOD = Timeline("calls/a b,c.wav", 4000.0, LABELS, SEGMENTS, ENVELOPE)
OVERLAPPING = Timeline(
    "b.wav",
    9.0,
    LABELS,
    (segment(1, 4, "anger", "x"), segment(2, 3, "anger", "y"), segment(3, 5, "neutral", "x")),
    ENVELOPE,
)
BAD = Timeline("bad.wav", 0.0, LABELS, (), np.empty((0, 2)), "bad.wav is empty")


def text(format, *timelines):
    file = io.StringIO()
    write_text(timelines, file, format, LABELS)
    return file.getvalue()


@pytest.mark.parametrize(("format", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_tables_have_a_row_a_segment_and_a_column_a_class(format, delimiter):
    rows = list(csv.DictReader(io.StringIO(text(format, GOOD, BAD)), delimiter=delimiter))
    assert [(float(row["start"]), float(row["end"]), row["label"]) for row in rows[:3]] == [
        (one.start, one.end, one.label) for one in SEGMENTS
    ]
    assert float(rows[1][LABELS[1]]) == 0.8
    assert [row["confident"] for row in rows] == ["true", "true", "false", ""]
    assert (rows[3]["path"], rows[3]["error"], rows[3]["label"]) == ("bad.wav", "bad.wav is empty", "")


def test_json_and_json_lines_say_the_same():
    rows = json.loads(text("json", GOOD, BAD))
    assert rows == [json.loads(line) for line in text("jsonl", GOOD, BAD).splitlines()]
    assert rows[2]["scores"] == scores("neutral")
    assert rows[3]["error"] == "bad.wav is empty"
    assert json.loads(text("json")) == []


def test_parquet_holds_the_same_table(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    write_parquet([GOOD, BAD], tmp_path / "a.parquet", LABELS)
    rows = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    assert [row["start"] for row in rows] == [0.5, 2.25, 3661.5, None]
    assert rows[0]["anger"] == 0.8
    assert rows[3]["error"] == "bad.wav is empty"


@pytest.mark.parametrize("format", ["rttm", "srt", "vtt"])
def test_captions_and_diarisation_are_read_as_turns(tmp_path, format):
    (tmp_path / f"a.{format}").write_text(text(format, GOOD))
    turns = read_turns(tmp_path / f"a.{format}")
    assert [(turn.start, turn.end) for turn in turns] == [(one.start, one.end) for one in SEGMENTS]


def test_captions_doubt_what_is_not_confident():
    assert "01:01:01,500 --> 01:01:10,125\nneutral? (80%)" in text("srt", GOOD)
    assert "<v x>anger (80%)" in text("vtt", OVERLAPPING)


def test_audacity_labels_are_three_columns():
    lines = [line.split("\t") for line in text("labels", GOOD).splitlines()]
    assert lines[0] == ["0.500000", "2.250000", "anger"]
    assert len(lines) == 3


@pytest.mark.parametrize("timeline", [GOOD, OVERLAPPING, Timeline("c.wav", 2.0, LABELS, (), ENVELOPE)])
def test_textgrid_tiers_cover_the_recording_without_overlap(timeline):
    grid = text("textgrid", timeline)
    found = []
    for tier in re.split(r"item \[\d+\]:\n", grid)[1:]:
        intervals = re.findall(r'xmin = ([\d.]+)\n\s+xmax = ([\d.]+)\n\s+text = "(.*)"\n', tier)
        assert len(intervals) == int(re.search(r"intervals: size = (\d+)", tier)[1])
        assert float(intervals[0][0]) == 0
        assert float(intervals[-1][1]) == timeline.duration
        assert all(one[1] == two[0] for one, two in pairwise(intervals))
        found += [(float(a), float(b), t.replace('""', '"')) for a, b, t in intervals if t]
    assert sorted(found) == sorted((s.start, s.end, s.label) for s in timeline.segments)


def test_the_ending_names_the_format():
    assert {format_of(f"a{ending}") for ending in (".CSV", ".TextGrid", ".txt", ".rttm")} <= set(FORMATS)
    with pytest.raises(ConfigError, match=r"\.doc"):
        format_of("a.doc")
    with pytest.raises(ConfigError, match="parquet"):
        text("parquet", GOOD)


@pytest.mark.parametrize("timeline", [GOOD, OVERLAPPING, Timeline("c.wav", 2.0, LABELS, (), ENVELOPE)])
def test_pictures_are_drawn_whole(tmp_path, timeline):
    pytest.importorskip("matplotlib")
    draw_timeline(timeline, tmp_path / "a.png")
    draw_timeline(timeline, tmp_path / "a.svg")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    svg = (tmp_path / "a.svg").read_text()
    for one in timeline.segments[:1]:
        assert one.label in svg
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "a.svg"]


def test_pictures_of_nothing_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"bad\.wav is empty"):
        draw_timeline(BAD, tmp_path / "a.png")
    with pytest.raises(ConfigError, match=r"a\.bmp"):
        draw_timeline(GOOD, tmp_path / "a.bmp")
