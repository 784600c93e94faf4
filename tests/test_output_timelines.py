"""Timelines as files: every format read back with a reader of its own."""

import csv
import io
import json
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pympi
import pytest

from genser.output.formats import FORMATS
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


def content(format, *timelines):
    file = io.BytesIO()
    FORMATS[format].timelines(timelines, file, LABELS)
    return file.getvalue()


def text(format, *timelines):
    return content(format, *timelines).decode()


@pytest.mark.parametrize(("format", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_tables_have_one_row_per_segment_and_one_column_per_class(format, delimiter):
    rows = list(csv.DictReader(io.StringIO(text(format, GOOD, BAD)), delimiter=delimiter))
    assert [(float(row["start"]), float(row["end"]), row["label"]) for row in rows[:3]] == [
        (one.start, one.end, one.label) for one in SEGMENTS
    ]
    assert float(rows[1][LABELS[1]]) == 0.8
    assert [row["confident"] for row in rows] == ["true", "true", "false", ""]
    assert (rows[3]["path"], rows[3]["error"], rows[3]["label"]) == ("bad.wav", "bad.wav is empty", "")


def test_json_and_json_lines_hold_the_same_rows():
    rows = json.loads(text("json", GOOD, BAD))
    assert rows == [json.loads(line) for line in text("jsonl", GOOD, BAD).splitlines()]
    assert rows[2]["scores"] == scores("neutral")
    assert rows[3]["error"] == "bad.wav is empty"
    assert json.loads(text("json")) == []


def test_parquet_holds_the_same_table():
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = parquet.read_table(io.BytesIO(content("parquet", GOOD, BAD))).to_pylist()
    assert [row["start"] for row in rows] == [0.5, 2.25, 3661.5, None]
    assert rows[0]["anger"] == 0.8
    assert rows[3]["error"] == "bad.wav is empty"


@pytest.mark.parametrize("format", ["rttm", "srt", "vtt"])
def test_captions_and_diarisation_are_read_as_turns(tmp_path, format):
    (tmp_path / f"a.{format}").write_text(text(format, GOOD))
    turns = read_turns(tmp_path / f"a.{format}")
    assert [(turn.start, turn.end) for turn in turns] == [(one.start, one.end) for one in SEGMENTS]


ODD = ("A --> <b> & c", "two\nlines\n\n00:01 --> 00:02\tx", "</v>&amp;", "\u2028\x85", 'a "b"')


@pytest.mark.parametrize("format", ["labels", "rttm", "srt", "vtt", "textgrid", "text"])
def test_a_name_or_label_with_marks_and_newlines_breaks_no_line(tmp_path, format):
    spoken = [
        Segment(start, start + 0.5, name, {name: 0.5}, True, name, (None, 2)[start % 2])
        for start, name in enumerate(ODD)
    ]
    plain = [replace(one, label="a", speaker=f"b{one.start}", scores={"a": 0.5}) for one in spoken]
    odd, usual = (content(format, replace(GOOD, segments=tuple(some))).decode() for some in (spoken, plain))
    assert len(odd.splitlines()) == len(usual.splitlines())
    if format in ("srt", "vtt", "rttm"):
        (tmp_path / f"a.{format}").write_text(odd)
        turns = read_turns(tmp_path / f"a.{format}")
        assert [(turn.start, turn.end) for turn in turns] == [(one.start, one.end) for one in spoken]
        if format == "vtt":
            assert [turn.speaker for turn in turns] == [" ".join(one.voice.split()) for one in spoken]
    if format == "textgrid":
        (tmp_path / "a.TextGrid").write_text(odd)
        assert len(list(pympi.TextGrid(str(tmp_path / "a.TextGrid")).get_tiers())) == len(ODD)


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


@pytest.mark.parametrize("timeline", [GOOD, OVERLAPPING])
def test_a_textgrid_is_read_by_a_library_for_praat_and_elan(tmp_path, timeline):
    (tmp_path / "a.TextGrid").write_bytes(content("textgrid", timeline))
    grid = pympi.TextGrid(str(tmp_path / "a.TextGrid"))
    intervals = [interval for tier in grid.get_tiers() for interval in tier.get_intervals() if interval[2]]
    assert sorted(intervals) == sorted((s.start, s.end, s.label) for s in timeline.segments)
    elan = grid.to_eaf(skipempty=True)
    annotations = [one[:3] for name in elan.get_tier_names() for one in elan.get_annotation_data_for_tier(name)]
    expected = [(round(1000 * s.start), round(1000 * s.end), s.label) for s in timeline.segments]
    assert sorted(annotations) == sorted(expected)


def test_text_has_one_line_per_segment():
    lines = text("text", GOOD, BAD).splitlines()
    assert lines[0].split(maxsplit=4)[:4] == ["0.50", "2.25", "anger", "0.80"]
    assert lines[2].split()[2] == "neutral?"
    assert lines[3] == "failed  bad.wav is empty"
    assert len(lines) == 4


def test_a_recording_without_speech_is_one_row_of_its_whole_duration(tmp_path):
    quiet = Timeline("street.wav", 12.5, LABELS, (), ENVELOPE, heard=12.25, remark="No speech was found.")
    (row,) = json.loads(text("json", quiet))
    assert (row["path"], row["start"], row["end"], row["label"]) == ("street.wav", 0.0, 12.25, "no speech")
    assert (row["scores"], row["confident"], row["remark"], row["error"]) == (None, None, quiet.remark, None)
    rows = list(csv.DictReader(io.StringIO(text("csv", GOOD, quiet))))
    assert [row["label"] for row in rows] == ["anger", LABELS[1], "neutral", "no speech"]
    assert [rows[3][name] for name in ("start", "end", "anger", "duration")] == ["0.0", "12.25", "", "12.5"]
    assert text("text", quiet).split() == ["0.00", "12.25", "no", "speech", "street.wav"]
    assert text("rttm", quiet) + text("srt", quiet) + text("labels", quiet) == ""
    assert "no speech" not in text("vtt", quiet) + text("textgrid", quiet)
    for format in ("csv", "json", "jsonl", "tsv"):
        (tmp_path / f"a.{format}").write_text(text(format, GOOD, quiet))
        assert {turn.end for turn in read_turns(tmp_path / f"a.{format}")} == {one.end for one in SEGMENTS}


def test_a_recording_without_speech_is_a_row_of_parquet():
    parquet = pytest.importorskip("pyarrow.parquet")
    quiet = Timeline("street.wav", 12.5, LABELS, (), ENVELOPE)
    (row,) = parquet.read_table(io.BytesIO(content("parquet", quiet))).to_pylist()
    assert (row["start"], row["end"], row["label"], row["anger"]) == (0.0, 12.5, "no speech", None)


def test_a_name_that_is_not_utf_8_is_written():
    name = b"caf\xe9.wav".decode("utf-8", "surrogateescape")
    timeline = Timeline(name, 9.0, LABELS, SEGMENTS[:1], ENVELOPE)
    for format in ("text", "csv", "tsv", "rttm"):
        assert b"caf\\udce9" in content(format, timeline)
    assert json.loads(content("jsonl", timeline))["path"] == name


@pytest.mark.parametrize("timeline", [GOOD, OVERLAPPING, Timeline("c.wav", 2.0, LABELS, (), ENVELOPE)])
def test_pictures_are_drawn(timeline):
    pytest.importorskip("matplotlib")
    assert content("png", timeline).startswith(b"\x89PNG")
    assert content("pdf", timeline).startswith(b"%PDF")
    svg = text("svg", timeline)
    for one in timeline.segments[:1]:
        assert one.label in svg


def test_speakers_and_recordings_come_back_from_annotations(tmp_path):
    """Emotions without speakers are no speakers, and recordings with one name keep their own turns."""
    spoken = replace(SEGMENTS[0], speaker="anna b")
    for format, name in (("rttm", "a.rttm"), ("labels", "a.txt")):
        for segment, speaker in ((SEGMENTS[0], {None}), (spoken, {"anna b", "anna_b"})):
            (tmp_path / name).write_text(text(format, Timeline("a.wav", 9.0, LABELS, (segment,), ENVELOPE)))
            assert {turn.speaker for turn in read_turns(tmp_path / name, "a.wav")} <= speaker
    paths = ["x/talk.wav", "talk.wav", "x/y/talk.wav", "x/talk.flac", "other.wav", "a b.wav", "a_b.wav", "e\x1bf.wav"]
    lengths = {path: 1.0 + place for place, path in enumerate(paths)}
    timelines = [
        Timeline(path, 99.0, LABELS, (replace(SEGMENTS[0], start=0.0, end=end),), ENVELOPE)
        for path, end in lengths.items()
    ]
    (tmp_path / "all.rttm").write_text(text("rttm", *timelines))
    names = [line.split()[1] for line in (tmp_path / "all.rttm").read_text().splitlines()]
    assert (names[0], names[4], names[-1], len(set(names))) == ("talk", "other", "e\\x1bf", len(names))
    for path, end in lengths.items():
        if path != "a_b.wav":  # RTTM cannot tell it from "a b.wav"
            assert [turn.end for turn in read_turns(tmp_path / "all.rttm", path)] == [end]
