"""Turns are read as annotation tools, diarisation and speech recognition write them, and as genser does."""

import io
import json

import numpy as np
import pytest

from genser.errors import ManifestError
from genser.output.formats import FORMATS
from genser.segments.segment import Segment, Timeline
from genser.segments.turns import Turn, read_turn_file, read_turns

TURN_FILES = {
    "a.rttm": "SPEAKER a 1 1.5 2.0 <NA> <NA> anna <NA> <NA>\nSPEAKER other 1 0 1 <NA> <NA> x <NA> <NA>\n"
    "SPEAKER a 1 0.25 1.0 <NA> <NA> <NA> <NA> <NA>\n",
    "a.csv": "speaker,start,end\nanna,1.5,3.5\n,0.25,1.25\n",
    "a.tsv": "start\tend\tspeaker\n1.5\t3.5\tanna\n0.25\t1.25\t\n",
    "a.srt": "1\n00:00:00,250 --> 00:00:01,250\nHello\n\n2\n00:00:01,500 --> 00:00:03,500\n<v anna>Hi\n",
    "a.vtt": "WEBVTT\n\n00:00.250 --> 00:01.250\nHello\n\n00:01.500 --> 00:03.500 align:start\n<v anna>Hi</v>\n",
}


@pytest.mark.parametrize("name", TURN_FILES)
def test_turn_files_of_every_kind_say_the_same(tmp_path, name):
    (tmp_path / name).write_text(TURN_FILES[name])
    channel = 1 if name == "a.rttm" else None
    assert read_turns(tmp_path / name, "a") == [Turn(0.25, 1.25, None, channel), Turn(1.5, 3.5, "anna", channel)]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "start,end\n1,x\n3,2\n", r"2 faulty turns(.|\n)*row 2(.|\n)*row 3"),
        (
            "a.csv",
            "from,to\n1,2\n",
            r"start and end \(or duration\) are needed; there are from, to\. "
            r"For the start: Name it start.* For the end: Name it end",
        ),
        ("a.csv", "start,end\n", "holds no turns"),
        ("a.rttm", "SPEAKER a 1 1.5\n", "line 1: The end is missing"),
        ("a.rttm", "SPEAKER a 1 x 2 <NA> <NA> b <NA>\n", "'x' is not a time"),
        ("a.srt", "1\n1 --> 2\n", "line 2: .* holds no times"),
        ("a.doc", "", "read from .rttm"),
    ],
)
def test_faulty_turn_files_say_where(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ManifestError, match=message):
        read_turns(tmp_path / name)


TWO = "SPEAKER a_talk 1 1 2 <NA> <NA> anna <NA> <NA>\nSPEAKER other 1 0 1 <NA> <NA> x <NA> <NA>\n"


def test_turns_of_several_recordings_need_a_name(tmp_path):
    (tmp_path / "two.rttm").write_text(TWO)
    with pytest.raises(ManifestError, match=r"2 recordings: a_talk, other\. Name the recording"):
        read_turns(tmp_path / "two.rttm")
    with pytest.raises(ManifestError, match=r"no turns of third, but of a_talk, other"):
        read_turns(tmp_path / "two.rttm", "third")
    for name in ("a talk", "a_talk", "calls/a talk.wav"):
        assert read_turns(tmp_path / "two.rttm", name) == [Turn(1, 3, "anna", 1)]


def test_the_channel_of_a_turn_is_a_number_from_1(tmp_path):
    line = "SPEAKER a {} 0 1 <NA> <NA> b <NA> <NA>\n"
    (tmp_path / "a.rttm").write_text("".join(map(line.format, ("1", "2", "0", "<NA>", "x", "-1"))))
    assert [turn.channel for turn in read_turns(tmp_path / "a.rttm")] == [1, 2, None]
    (tmp_path / "a.csv").write_text("start,end,channel\n0,1,2\n1,2,\n2,3,1\n")
    assert [turn.channel for turn in read_turns(tmp_path / "a.csv")] == [2, None, 1]


def test_a_table_of_turns_may_name_recordings_by_path(tmp_path):
    (tmp_path / "t.csv").write_text("path,start,end\nx/a.wav,1,2\ny/a.wav,3,4\nx/b.wav,,\n")
    assert read_turns(tmp_path / "t.csv", "x/a.wav") == [Turn(1, 2)]
    assert read_turns(tmp_path / "t.csv", "y/a.wav") == [Turn(3, 4)]
    with pytest.raises(ManifestError, match=r"no turns of x/b\.wav"):
        read_turns(tmp_path / "t.csv", "x/b.wav")


TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 9.5
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "IntervalTier"
        name = "emotion"
        xmin = 0
        xmax = 9.5
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 0.25
            text = ""
        intervals [2]:
            xmin = 0.25
            xmax = 1.25
            text = "say ""3 2"" ! 4"
        intervals [3]:
            xmin = 1.25
            xmax = 9.5
            text = " "
    item [2]:
        class = "TextTier"
        name = "clicks"
        xmin = 0
        xmax = 9.5
        points: size = 1
        points [1]:
            number = 3
            mark = "click"
    item [3]:
        class = "IntervalTier"
        name = "anna"
        xmin = 0
        xmax = 9.5
        intervals: size = 1
        intervals [1]:
            xmin = 1.5
            xmax = 3.5
            text = "two
lines"
"""
SHORT_TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

0
9.5
<exists>
2
"IntervalTier"
"words"
0
9.5
2
0
0.25
""
0.25
1.25
"hello"
"IntervalTier"
"speaker"
0
9.5
1
1.5
3.5
"anna"
"""
ELAN = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" FORMAT="3.0" VERSION="3.0">
  <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds"/>
  <TIME_ORDER>
    <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="250"/><TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="500"/>
    <TIME_SLOT TIME_SLOT_ID="ts3"/><TIME_SLOT TIME_SLOT_ID="ts4"/>
    <TIME_SLOT TIME_SLOT_ID="ts5" TIME_VALUE="2750"/><TIME_SLOT TIME_SLOT_ID="ts6" TIME_VALUE="3500"/>
  </TIME_ORDER>
  <TIER TIER_ID="default" LINGUISTIC_TYPE_REF="t"><ANNOTATION>
    <ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts3"><ANNOTATION_VALUE/>
    </ALIGNABLE_ANNOTATION></ANNOTATION></TIER>
  <TIER TIER_ID="A" PARTICIPANT="anna" LINGUISTIC_TYPE_REF="t"><ANNOTATION>
    <ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts4" TIME_SLOT_REF2="ts6">
    <ANNOTATION_VALUE>Hi &amp; ho</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>
  <TIER TIER_ID="words" PARENT_REF="A" LINGUISTIC_TYPE_REF="t"><ANNOTATION>
    <ALIGNABLE_ANNOTATION ANNOTATION_ID="a3" TIME_SLOT_REF1="ts4" TIME_SLOT_REF2="ts6"><ANNOTATION_VALUE>Hi
    </ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>
</ANNOTATION_DOCUMENT>
"""
WHISPERX = {
    "segments": [
        {"start": 0.25, "end": 1.25, "text": "Hello", "words": [{"word": "Hello", "start": 0.25, "end": 1.25}]},
        {"start": 1.5, "end": 3.5, "text": "Hi", "speaker": "anna"},
    ],
    "language": "en",
}
WHISPER_CPP = {
    "transcription": [
        {"timestamps": {"from": "00:00:00,250", "to": "00:00:01,250"}, "offsets": {"from": 250, "to": 1250}},
        {"timestamps": {"from": "00:00:01,500", "to": "00:00:03,500"}, "offsets": {"from": 1500, "to": 3500}},
    ]
}
TOOLS = {
    "long.TextGrid": TEXTGRID,
    "short.textgrid": SHORT_TEXTGRID,
    "labels.txt": "0.250000\t1.250000\t\n\\\t100.0\t900.0\n1,500000\t3,500000\tanna\n4.0\t4.0\ta point\n",
    "whisperx.json": json.dumps(WHISPERX),
    "whisperx.srt": "1\n00:00:00,250 --> 00:00:01,250\nHello\n\n2\n0:00:01.5 --> 0:00:03.5\n[anna]: Hi\n",
    "whisper-cpp.json": json.dumps(WHISPER_CPP),
    "whisper.tsv": "start\tend\ttext\n250\t1250\tHello\n1500\t3500\tHi\n",
    "array.json": json.dumps([{"start": 0.25, "end": 1.25}, {"start": 1.5, "end": 3.5, "speaker": "anna"}]),
    "lines.jsonl": '{"start": "0:00.25", "end": "PT1.25S"}\n{"start": 1.5, "end": "3500ms", "speaker": "anna"}\n',
    "excel.csv": "sep=;\nStart;Ende;End;Speaker\n0,25;;1,25;\n1,5;;3,5;anna\n",
    "pandas.csv": ",start,end,speaker\n0,0 days 00:00:00.250,0 days 00:00:01.250,\n1,00:00:01.5,00:00:03.5,anna\n",
    "durations.csv": "Begin Time,Duration,Speaker\n0.25,1,\n1.5,2,anna\n",
    "milliseconds.csv": "start_ms,end_ms,spk\n250,1250,\n1500,3500,anna\n",
    "diarisation.rttm": ";; a comment\nSPKR-INFO a 1 <NA> <NA> <NA> unknown anna <NA>\n"
    "SPEAKER a 1 0.250 1.000 <NA> <NA> <NA> <NA> <NA>\nSPEAKER a 1 1.500 2.000 <NA> <NA> anna <NA> <NA>\n",
    "annotation.eaf": ELAN,
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", TOOLS)
def test_every_tool_says_the_same(tmp_path, name, encoding, line_end):
    text = TOOLS[name].replace("\n", line_end)
    (tmp_path / name).write_bytes(text.encode(encoding))
    speaker = None if name in ("whisper-cpp.json", "whisper.tsv") else "anna"
    channel = 1 if name.endswith(".rttm") else None
    second = Turn(1.5 if name != "annotation.eaf" else 2.0, 3.5, speaker, channel)
    wanted = [Turn(0.25, 1.25, None, channel), second]
    assert read_turns(tmp_path / name, "a") == wanted


def with_media(**origins):
    """ELAN's file with media, and the TIME_ORIGIN of each in milliseconds."""
    media = "".join(
        f'<MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/my%20data/{name}.wav" MIME_TYPE="" TIME_ORIGIN="{origin}"/>'
        for name, origin in origins.items()
    )
    return ELAN.replace('"milliseconds"/>', f'"milliseconds">{media}</HEADER>')


def test_the_time_origin_of_elan_is_where_its_times_begin_in_the_medium(tmp_path):
    path = tmp_path / "a.eaf"
    for origins in ({"a": 1500}, {"a": 1500, "video": 1500}, {"a": 1500, "b": 0}):
        path.write_text(with_media(**origins))
        assert read_turns(path, "a.wav") == [Turn(1.75, 2.75), Turn(3.5, 5.0, "anna")]
    assert read_turns(path, "b.wav") == [Turn(0.25, 1.25), Turn(2.0, 3.5, "anna")]
    path.write_text(with_media(a=-1000))
    found = read_turn_file(path)
    assert found.of() == [Turn(1.0, 2.5, "anna")]
    assert found.problems[0].startswith("annotation a1: ")


def test_words_of_several_speakers_are_several_turns(tmp_path):
    words = [("a", 0.0, "A"), ("b", 0.5, "A"), ("2", None, None), ("c", 1.0, "B"), ("d", 1.5, "A")]
    words = [
        {"word": word} if start is None else {"word": word, "start": start, "end": start + 0.4, "speaker": speaker}
        for word, start, speaker in words
    ]
    segment = {"start": 0.0, "end": 1.9, "speaker": "A", "words": words}
    (tmp_path / "a.json").write_text(json.dumps({"segments": [segment]}))
    assert read_turns(tmp_path / "a.json") == [Turn(0, 0.9, "A"), Turn(1.0, 1.4, "B"), Turn(1.5, 1.9, "A")]


def test_one_bad_turn_does_not_cost_the_others(tmp_path):
    (tmp_path / "t.csv").write_text("start,end\n1,2\nx,3\n5,4\n-1,1\n7\n6,7\n8,NaT\n")
    found = read_turn_file(tmp_path / "t.csv")
    assert found.of() == [Turn(1, 2), Turn(6, 7)]
    assert [problem.split(":")[0] for problem in found.problems] == ["row 6", "row 3", "row 4", "row 5", "row 8"]
    with pytest.raises(ManifestError, match="5 faulty turns"):
        read_turns(tmp_path / "t.csv")


def test_a_row_that_names_no_recording_among_others_is_a_problem(tmp_path):
    (tmp_path / "t.csv").write_text("path,start,end\na.wav,1,2\n,3,4\n")
    found = read_turn_file(tmp_path / "t.csv")
    assert found.of("a.wav") == [Turn(1, 2)]
    assert found.problems == ("row 3: The recording is not named.",)


SEGMENTS = tuple(
    Segment(start, start + 1.25, "joy", {"joy": 1.0}, True, speaker)
    for start, speaker in [(0.25, "a b"), (1.0, "ü;,"), (3.5, "a b")]
)
SEGMENTS_TIMELINE = Timeline("calls/a talk.wav", 9.0, ("joy",), SEGMENTS, np.empty((0, 2), np.float32))


@pytest.mark.parametrize(
    "name", [name for name, one in FORMATS.items() if one.timelines and name not in ("png", "svg", "pdf", "text")]
)
def test_what_genser_writes_is_read_as_turns(tmp_path, name):
    if name == "parquet":
        pytest.importorskip("pyarrow")
    content = io.BytesIO()
    FORMATS[name].write("timelines", [SEGMENTS_TIMELINE], content, ("joy",))
    path = tmp_path / f"a{FORMATS[name].endings[0]}"
    path.write_bytes(content.getvalue())
    found = read_turns(path, "calls/a talk.wav")
    assert [(turn.start, turn.end) for turn in found] == [(one.start, one.end) for one in SEGMENTS]
    if name in ("csv", "tsv", "json", "jsonl", "parquet", "textgrid", "vtt"):
        assert [turn.speaker for turn in found] == [one.speaker for one in SEGMENTS]


HOSTILE = {
    "bomb.eaf": '<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;">]><a>&y;</a>',
    "outside.eaf": '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
    "none.eaf": "<a",
    "digits.eaf": ELAN.replace('"250"', f'"{"9" * 5000}"').replace('"3500"', '"1"'),
    "frames.eaf": ELAN.replace("milliseconds", "PAL-frames"),
    "origin.eaf": with_media(a="1.5 s"),
    "digits.TextGrid": TEXTGRID.replace("size = 3", f"size = {'9' * 5000}", 1),
    "deep.json": "[" * 100_000,
    "other.json": '{"a": 1}',
    "list.json": '{"segments": 3}',
    "short.TextGrid": "\n".join(TEXTGRID.splitlines()[:-3]),
    "binary.TextGrid": "ooBinaryFile\x08TextGrid",
    "huge.TextGrid": TEXTGRID.replace("size = 3", "size = 99999999999999999999", 1),
    "text.txt": "     0.06      1.06  neutral   0.95  a.wav\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_in_a_sentence(tmp_path, name):
    (tmp_path / name).write_text(HOSTILE[name])
    with pytest.raises(ManifestError, match=name):
        read_turns(tmp_path / name)
    (tmp_path / name).write_text(HOSTILE[name], encoding="utf-16")
    with pytest.raises(ManifestError, match=name):
        read_turns(tmp_path / name)


def test_turns_that_are_listed_twice_count_once_and_an_end_makes_a_duration_needless(tmp_path):
    (tmp_path / "a.rttm").write_text("SPEAKER a 1 0 1 <NA> <NA> b <NA> <NA>\n" * 2)
    assert len(read_turns(tmp_path / "a.rttm")) == 1
    (tmp_path / "b.csv").write_text("start,end,length\n0,1,12 words\n")
    assert read_turns(tmp_path / "b.csv") == [Turn(0, 1)]
    (tmp_path / "a.json").write_text('{"start": 0, "end": 1}\n{"start": 1, "end": 2}\n')
    assert len(read_turns(tmp_path / "a.json")) == 2
