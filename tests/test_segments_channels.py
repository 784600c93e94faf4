"""A speaker per channel: timelines and predictions of every channel, turns on channels, remarks in all outputs."""

import csv
import io
import json

import numpy as np
import pytest
import soundfile
from voices import PITCHES, RATE, PitchRecognizer, babble, hush

from genser.cli._segments import predict_segments
from genser.errors import AudioError, ConfigError
from genser.inference.recognizer import Recognizer
from genser.output.formats import FORMATS
from genser.segments.options import DEFAULTS, LIVE
from genser.segments.stream import Stream
from genser.segments.timeline import recognize_timeline
from genser.segments.turns import Turn

LOW, HIGH = babble(2.0, PITCHES[0]), babble(2.0, PITCHES[2])
GAP = hush(1.0)
SPEAKERS = [np.concatenate([GAP, first, GAP, second, GAP]) for first, second in ((LOW, 0 * HIGH), (0 * LOW, HIGH))]
CALL = (np.stack(SPEAKERS, axis=1) * 32768).round() / 32768  # as 16 bits hold it


@pytest.fixture
def call(tmp_path):
    soundfile.write(tmp_path / "call.wav", CALL, RATE)
    return tmp_path / "call.wav"


def timeline(source, **options):
    return recognize_timeline(PitchRecognizer(), source, **options)


def written(found, format):
    file = io.BytesIO()
    FORMATS[format].write("timelines", [found], file, found.labels)
    return file.getvalue().decode()


def test_each_channel_has_its_segments_on_one_timeline(call):
    found = timeline(call, channel="each")
    assert [(one.label, one.channel) for one in found.segments] == [("low", 1), ("high", 2)]
    assert found.path == str(call)
    assert found.duration == found.heard == len(CALL) / RATE
    for number in (1, 2):
        alone = timeline((CALL[:, number - 1], RATE)).segments
        mine = [one for one in found.segments if one.channel == number]
        assert [(one.start, one.end, one.scores) for one in mine] == [(one.start, one.end, one.scores) for one in alone]
    assert {one.channel for one in timeline(call).segments} == {None}
    assert [one.channel for one in timeline(call, channel=2).segments] == [2]
    with call.open("rb") as file:
        assert timeline(file, channel="each").segments == found.segments


def test_a_channel_without_speech_is_no_recording_without_speech():
    quiet = np.zeros(len(CALL))
    one = timeline((np.stack([CALL[:, 0], quiet], axis=1), RATE), channel="each")
    assert {segment.channel for segment in one.segments} == {1}
    assert one.remark is None
    none = timeline((np.stack([quiet, quiet], axis=1), RATE), channel="each")
    assert (none.segments, none.remark) == ((), "No speech was found.")


def test_formats_name_the_channel(call):
    found = timeline(call, channel="each")
    assert [row["channel"] for row in csv.DictReader(io.StringIO(written(found, "csv")))] == ["1", "2"]
    assert [line.split()[2] for line in written(found, "rttm").splitlines()] == ["1", "2"]
    assert 'name = "channel 1"' in written(found, "textgrid")
    assert 'name = "channel 2"' in written(found, "textgrid")
    assert "<v channel 2>" in written(found, "vtt")
    assert "  channel 2  " in written(found, "text")
    assert found.channels == (1, 2)


def test_turns_are_recognised_on_their_channel(call):
    turns = [Turn(1.0, 3.0, "anna", 1), Turn(4.0, 6.0, "ben", 2), Turn(4.0, 6.0, "all")]
    found = timeline(call, turns=turns, channel="each")
    assert [(one.speaker, one.channel) for one in found.segments] == [
        ("anna", 1),
        ("all", 1),
        ("ben", 2),
        ("all", 2),
    ]
    assert [one.label for one in found.segments if one.speaker in ("anna", "ben")] == ["low", "high"]


def test_turns_on_a_missing_channel_do_not_cost_the_others(call):
    found = timeline(call, turns=[Turn(1, 3, None, 1), Turn(1, 3, None, 3)], channel="each")
    assert [one.channel for one in found.segments] == [1]
    assert found.problems == ("1 turn is on a channel that the recording does not have; its last is 2.",)
    with pytest.raises(AudioError, match=r"its last is 2\. Correct the channels"):
        timeline(call, turns=[Turn(1, 3, None, 3)], channel="each")
    assert len(timeline(call, turns=[Turn(1, 3, None, 3)]).segments) == 1  # of the mix


def test_a_turn_shorter_than_a_sample_does_not_cost_the_others(call):
    short = "The turn at 0.50 s is shorter than one sample."
    for channel in ("mix", "each"):
        found = timeline(call, turns=[Turn(0.5, 0.50001), Turn(1, 3, None, 1)], channel=channel)
        assert [one.start for one in found.segments] == [1.0]
        assert found.problems == (short,)
        with pytest.raises(AudioError, match=f"No turn can be used. {short}"):
            timeline(call, turns=[Turn(0.5, 0.50001)], channel=channel)


def test_turns_behind_the_end_on_one_channel_do_not_cost_the_other(call):
    behind = "A turn begins at 9.00 s, after the end of the recording at 7.00 s."
    for turns in ([Turn(1, 3, None, 1), Turn(9, 10, None, 2)], [Turn(1, 3, None, 1), Turn(9, 10)]):
        found = timeline(call, turns=turns, channel="each")
        assert [(one.start, one.channel) for one in found.segments] == [(1.0, 1)]
        assert found.problems == (behind,)
    for turns in ([Turn(9, 10, None, 1), Turn(8, 10, None, 2)], [Turn(8, 10)], [Turn(8, 10), Turn(1, 3, None, 3)]):
        with pytest.raises(AudioError, match=r"All turns begin after the end .* 7\.00 s, the first at 8\.00 s"):
            timeline(call, turns=turns, channel="each")


class Loud:
    """Scores a window by its level; enough of a model for predictions."""

    labels, metadata = ("quiet", "loud"), {}

    def outputs(self, windows, batch_samples, shift=None):
        from genser.inference.backend import ModelOutput

        for index, window in enumerate(windows):
            loud = np.clip(10 * np.abs(window).mean(), 0, 1)
            scores = np.array([[1 - loud, loud]])
            yield [index], ModelOutput(scores, scores[:, None], scores[:, None], None)


@pytest.mark.parametrize("form", ["path", "bytes", "file", "array"])
def test_predictions_of_each_channel(call, form):
    sources = {"path": call, "bytes": call.read_bytes(), "file": io.BytesIO(call.read_bytes()), "array": (CALL, RATE)}
    recognizer, good = Recognizer(Loud()), (CALL[:, 0], RATE)
    found = list(recognizer.predict_many([good, sources[form], b"no sound", good], channel="each"))
    assert [one.channel for one in found] == [1, 1, 2, None, 1]
    for number in (1, 2):
        assert found[number].scores == recognizer.predict((CALL[:, number - 1], RATE)).scores
        assert found[number].scores == recognizer.predict(sources[form], channel=number).scores
    assert found[3].error


def test_predict_has_one_result_and_a_channel_that_exists(call):
    recognizer = Recognizer(Loud())
    with pytest.raises(ConfigError, match="predict_many"):
        recognizer.predict(call, channel="each")
    with pytest.raises(AudioError, match="no channel 3"):
        recognizer.predict(call, channel=3)
    with pytest.raises(ConfigError, match="not a channel"):
        recognizer.predict_many([call], channel="right")


def test_a_recording_that_ends_early_has_a_remark_everywhere(call, tmp_path, capsys):
    cut = tmp_path / "cut.wav"
    cut.write_bytes(call.read_bytes()[: 44 + 4 * 3 * RATE])
    prediction = Recognizer(Loud()).predict(cut)
    assert (prediction.duration, prediction.heard) == (pytest.approx(7.0), pytest.approx(3.0))
    assert "cut off" in prediction.remark
    found = timeline(cut)
    assert (found.duration, found.heard, found.remark) == (7.0, 3.0, prediction.remark)
    assert Recognizer(Loud()).predict(call, channel=1).remark is None
    assert predict_segments(PitchRecognizer, [str(cut)], DEFAULTS, format="jsonl") == 0
    output = capsys.readouterr()
    assert {json.loads(line)["remark"] for line in output.out.splitlines()} == {prediction.remark}
    assert f"cut.wav: {prediction.remark}" in output.err


def test_a_stream_of_two_channels_gives_what_the_file_gives():
    cancelling = np.stack([CALL[:, 0], -CALL[:, 0]], axis=1)
    for frames, channel in ((CALL, "mix"), (CALL, 2), (cancelling, "mix")):
        expected = recognize_timeline(PitchRecognizer(), (frames, RATE), LIVE, channel=channel)
        stream, found = Stream(PitchRecognizer(), channel=channel), []
        for at in range(0, len(frames), 1600):
            found += stream.push(frames[at : at + 1600])
        found += stream.close()
        assert [(one.start, one.end, one.label) for one in found] == [
            (one.start, one.end, one.label) for one in expected.segments
        ]
        assert stream.remark == expected.remark


@pytest.mark.parametrize(
    ("blocks", "match"),
    [
        ([CALL[:1600].T], "transpose"),
        ([CALL[:1600, :1].T], "transpose"),
        ([CALL[:20, :1].T], "transpose"),
        ([CALL[:1600], CALL[:1600, 0]], "A block has 1 channels, the stream has 2"),
        ([CALL[:1600], CALL[:1600].T], "1600 channels, the stream has 2"),
        ([np.zeros((2, 2, 100))], "not audio"),
        ([[0.0] * 1600], "NumPy array"),
        ([np.full(1600, np.nan)], "NaN"),
        ([np.full(1600, np.inf)], "infinite"),
    ],
)
def test_blocks_of_a_wrong_shape_are_a_sentence(blocks, match):
    stream = Stream(PitchRecognizer())
    *before, wrong = blocks
    for block in before:
        stream.push(block)
    with pytest.raises(AudioError, match=match):
        stream.push(wrong)


def test_blocks_may_change_their_type_and_be_empty():
    stream, found = Stream(PitchRecognizer()), []
    sound = CALL[:, 0]
    for number, at in enumerate(range(0, len(sound), 1600)):
        block = sound[at : at + 1600]
        as_integers = (block * 32767).round().astype(np.int16)
        found += stream.push((block, block.astype(np.float64), as_integers, as_integers[:, None])[number % 4])
        found += stream.push(block[:0])
    found += stream.close()
    assert [one.label for one in found] == ["low"]
