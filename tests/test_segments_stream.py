"""Live sound: chunks do not matter, and a segment comes soon after its end."""

from dataclasses import astuple

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from voices import PITCHES, RATE, PitchRecognizer, babble, hush

from genser.errors import AudioError, ConfigError
from genser.segments.options import LIVE, SegmentOptions
from genser.segments.stream import Stream
from genser.segments.timeline import recognize_timeline

SOUND = np.concatenate([part for pitch in PITCHES for part in (hush(0.7), babble(2.0, pitch))] + [hush(0.6)])


def streamed(sound, sizes, options=LIVE, rate=RATE):
    stream, found, at = Stream(PitchRecognizer(), options, rate), [], 0
    for size in sizes:
        found += stream.push(sound[at : at + size])
        at += size
    return found + stream.push(sound[at:]) + stream.close()


@pytest.mark.parametrize("options", [LIVE, SegmentOptions(smoothing="none", window=1.0, hop=0.25)])
@given(sizes=st.lists(st.integers(0, 20_000), max_size=20))
@settings(max_examples=15)
def test_chunks_of_any_size_give_the_segments_of_the_file(options, sizes):
    expected = recognize_timeline(PitchRecognizer(), (SOUND, RATE), options).segments
    assert [astuple(s) for s in streamed(SOUND, sizes, options)] == [astuple(s) for s in expected]


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_chunks_of_10_ms_and_1_s_agree_at_other_rates(rate):
    sound = soxr.resample(SOUND, RATE, rate)
    tens = streamed(sound, [rate // 100] * (len(sound) * 100 // rate), rate=rate)
    ones = streamed(sound, [rate] * (len(sound) // rate), rate=rate)
    assert tens == ones
    assert [segment.label for segment in tens] == ["low", "middle", "high"]


@pytest.mark.parametrize("sound", [SOUND, babble(20.0)])
def test_a_segment_is_out_within_the_stated_latency(sound):
    stream, chunk = Stream(PitchRecognizer()), RATE // 100
    assert stream.latency <= 0.7
    seen = 0
    for at in range(0, len(sound), chunk):
        for segment in stream.push(sound[at : at + chunk]):
            assert (at + chunk) / RATE - segment.end <= stream.latency + 0.01
            seen += 1
    assert seen >= 2


def test_integers_and_channels_are_taken_as_sound():
    stereo = np.stack([SOUND, SOUND], axis=1)
    as_integers = (stereo * 32767).round().astype(np.int16)
    assert [s.label for s in streamed(as_integers, [4_000] * 9)] == [s.label for s in streamed(SOUND, [])]


def test_what_is_no_sound_is_refused():
    stream = Stream(PitchRecognizer())
    with pytest.raises(AudioError, match="NaN"):
        stream.push(np.array([np.nan], np.float32))
    with pytest.raises(AudioError, match="32768"):
        stream.push(np.full(10, 30_000.0))
    with pytest.raises(AudioError, match="5 Hz"):
        Stream(PitchRecognizer(), sample_rate=5)
    assert stream.push(np.empty(0, np.float32)) == []


def test_a_stream_cannot_look_ahead_or_go_on_after_its_end():
    with pytest.raises(ConfigError, match="has no future"):
        Stream(PitchRecognizer(), SegmentOptions())
    with pytest.raises(ConfigError, match="merge 1"):
        Stream(PitchRecognizer(), SegmentOptions(smoothing="none", merge=1.0))
    stream = Stream(PitchRecognizer())
    stream.close()
    assert stream.close() == []
    with pytest.raises(ConfigError, match="closed"):
        stream.push(SOUND)
