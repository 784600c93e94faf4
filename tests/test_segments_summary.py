"""Summaries: one per speaker and channel, the same in Python, on the command line and over HTTP."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from voices import LABELS, PITCHES, RATE, PitchBackend, PitchRecognizer, babble, hush

from genser.cli._segments import predict_segments
from genser.errors import ConfigError
from genser.inference.recognizer import Recognizer
from genser.output.formats import FORMATS
from genser.segments.options import DEFAULTS
from genser.segments.segment import Segment, Timeline
from genser.segments.summary import summarize
from genser.segments.timeline import recognize_timeline
from genser.segments.turns import Turn

CLASSES = ("anger", "neutral")


def segment(start, end, label, score, speaker=None, channel=None, confident=True, familiar=None):
    other = next(name for name in CLASSES if name != label)
    return Segment(start, end, label, {label: score, other: 1 - score}, confident, speaker, channel, familiar)


def test_a_summary_by_hand():
    (found,) = summarize(
        [
            segment(70, 80, "anger", 0.9),
            segment(0, 10, "neutral", 0.8, confident=False),
            segment(11, 21, "neutral", 0.6),
            segment(24, 34, "neutral", 0.6),  # after a pause of 3 s
            segment(34, 44, "anger", 0.7),
        ],
        duration=90,
    )
    assert (found.voice, found.segments, found.speech, found.label) == (None, 5, 50, "neutral")
    assert found.confident == pytest.approx(0.8)
    assert found.shares == pytest.approx({"neutral": 0.6, "anger": 0.4})
    assert found.scores == pytest.approx({"neutral": 0.48, "anger": 0.52})
    assert found.longest == {"neutral": 21, "anger": 10}
    assert found.longest_start == {"neutral": 0, "anger": 34}
    first = (0.8 * 10 + 0.6 * 10 + 0.6 * 6) / 26  # before 30 s
    assert found.changes == pytest.approx({"neutral": 0.1 - first, "anger": first - 0.1})


def test_each_speaker_on_each_channel_is_a_voice_and_a_silent_channel_too():
    segments = [
        segment(5, 6, "anger", 0.9, "ben", 2),
        segment(1, 2, "anger", 0.8, "anna", 2),
        segment(3, 4, "neutral", 0.8, None, 1, familiar=0.25),
    ]
    found = summarize(segments, 9, channels=(1, 2, 3))
    assert [one.voice for one in found] == ["channel 1", "anna (channel 2)", "ben (channel 2)", "channel 3"]
    assert [one.familiar for one in found] == [0.25, None, None, None]
    assert found[0].changes == {"neutral": None, "anger": None}  # no speech in the last third
    assert (found[3].speech, found[3].label, found[3].confident, found[3].shares) == (0, None, None, {})
    (nothing,) = summarize([], 9)
    assert (nothing.voice, nothing.segments, nothing.label) == (None, 0, None)


def test_overlapping_turns_are_counted_once_in_the_seconds_of_speech():
    (found,) = summarize([segment(0, 4, "anger", 0.9), segment(1, 2, "anger", 0.9), segment(3, 6, "neutral", 0.9)], 6)
    assert found.speech == 6
    assert found.shares == pytest.approx({"anger": 5 / 8, "neutral": 3 / 8})


times = st.lists(st.integers(0, 400), min_size=2, max_size=12, unique=True).map(sorted)


@given(times, st.data())
def test_a_cut_within_a_segment_changes_nothing_but_the_count(moments, data):
    pairs = zip(moments[::2], moments[1::2], strict=False)
    segments = [
        segment(a, b, data.draw(st.sampled_from(CLASSES)), data.draw(st.integers(50, 100)) / 100) for a, b in pairs
    ]
    middles = [(one, (one.start + one.end) / 2) for one in segments]
    cut = [half for one, at in middles for half in (replace(one, end=at), replace(one, start=at))]
    (whole,), (halves,) = summarize(segments, 400), summarize(cut[::-1], 400)
    assert halves.segments == 2 * whole.segments
    for name in ("speech", "confident", "shares", "scores", "longest", "longest_start"):
        assert getattr(halves, name) == pytest.approx(getattr(whole, name)), name
    for label in CLASSES:
        assert halves.changes[label] == pytest.approx(whole.changes[label])
    assert sum(whole.shares.values()) == pytest.approx(1)
    assert sum(whole.scores.values()) == pytest.approx(1)


SILENT = np.zeros(RATE * 6)
LOW, HIGH = (np.concatenate([hush(1.0), babble(4.0, pitch), hush(1.0)]) for pitch in (PITCHES[0], PITCHES[2]))
CALL = np.stack([LOW, HIGH, SILENT], axis=1)


@pytest.fixture
def call(tmp_path):
    soundfile.write(tmp_path / "call.wav", CALL, RATE)
    return str(tmp_path / "call.wav")


def test_the_recogniser_sums_up_a_recording(call):
    recognizer = Recognizer(PitchBackend())
    found = recognizer.summary(call, channel="each")
    assert [(one.channel, one.label) for one in found] == [(1, "low"), (2, "high"), (3, None)]
    assert found[:2] == summarize(recognizer.segments(call, channel="each"), 6.0)
    turns = [Turn(1, 3, "anna"), Turn(3, 5, "ben")]
    assert [one.speaker for one in recognizer.summary(call, turns=turns, channel=1)] == ["anna", "ben"]


def test_a_table_has_a_row_per_voice_and_recording(call, tmp_path, capsys):
    (tmp_path / "bad.wav").write_bytes(b"")
    given = [call, str(tmp_path / "bad.wav")]
    assert predict_segments(PitchRecognizer, given, DEFAULTS, summary=True, channel="each", format="csv") == 1
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["channel"], row["label"], row["speech"] > "0.1") for row in rows] == [
        ("1", "low", True),
        ("2", "high", True),
        ("3", "no speech", False),
        ("", "", False),
    ]
    assert rows[0]["share_low"] == "1.0"
    assert float(rows[1]["longest_start_high"]) == pytest.approx(1, abs=0.2)
    assert float(rows[1]["longest_high"]) == pytest.approx(float(rows[1]["speech"]))
    assert rows[2]["share_low"] == rows[2]["change_low"] == ""
    assert "bad.wav is empty" in rows[3]["error"]
    predict_segments(PitchRecognizer, given[:1], DEFAULTS, summary=True, channel="each", format="json")
    first = json.loads(capsys.readouterr().out)[0]
    assert first["shares"]["low"] == 1
    assert set(first["changes"]) == set(LABELS)
    for name in ("shares", "scores", "longest", "longest_start", "changes"):
        prefix = {"shares": "share", "scores": "score", "changes": "change"}.get(name, name)
        assert rows[0][f"{prefix}_high"] == str(first[name]["high"] if first[name]["high"] is not None else "")


@pytest.mark.parametrize("format", ["csv", "text"])
def test_results_that_a_run_kept_give_the_same_table(call, tmp_path, format):
    soundfile.write(tmp_path / "b.wav", CALL[:, :2], RATE)
    given = [call, str(tmp_path / "b.wav")]
    content = io.BytesIO()
    timelines = [recognize_timeline(PitchRecognizer(), path, channel="each") for path in given]
    FORMATS[format].write("summaries", timelines, content, LABELS)
    out = tmp_path / "out"
    chosen = {"summary": True, "channel": "each", "format": format}
    (tmp_path / "out").touch()
    assert predict_segments(PitchRecognizer, given, DEFAULTS, output=str(out), **chosen) == 0
    assert out.read_bytes() == content.getvalue()


def test_text_is_for_people():
    timeline = Timeline(
        "call.wav",
        100.0,
        CLASSES,
        (segment(0, 30, "neutral", 0.9, None, 1), segment(70, 90, "anger", 0.8, None, 1, confident=False)),
        np.empty((0, 2)),
        channels=(1, 2),
    )
    failed = replace(timeline, segments=(), error="x.wav is empty.")
    content = io.BytesIO()
    FORMATS["text"].write("summaries", [timeline, failed], content, CLASSES)
    assert content.getvalue().decode().splitlines() == [
        "call.wav, channel 1: 0:50 of speech, 60% of it confident",
        "           share  score  change  longest",
        "  neutral    60%   0.62   -0.70  0:30 from 0:00",
        "  anger      40%   0.38   +0.70  0:20 from 1:10",
        "",
        "call.wav, channel 2: no speech",
        "failed  x.wav is empty.",
    ]


def test_captions_cannot_hold_summaries(call):
    with pytest.raises(ConfigError, match=r"The format srt cannot hold summaries\. Use one of text, json"):
        predict_segments(PitchRecognizer, [call], DEFAULTS, summary=True, format="srt")
