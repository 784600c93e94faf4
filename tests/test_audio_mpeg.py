"""MP3: lengths that headers do not state, files one after the other, and pieces of streams."""

import io
import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from recordings import HIGH, LOW, check_low_then_high, encoded, mp3, read, remarks_of, tone

from genser.audio import SAMPLE_RATE, load_audio, probe_audio
from genser.audio.mpeg import mpeg_parts, parse_header
from genser.errors import AudioError

ID3_V1 = b"TAG" + bytes(125)
ID3_V2 = b"ID3\3\0\0" + bytes((0, 0, 30, 0)) + bytes(30 * 128)
APE_BOUND = b"APETAGEX" + struct.pack("<III", 2000, 500 + 32, 1)
APE = APE_BOUND + bytes((0, 0, 0, 0xA0)) + bytes(8 + 500) + APE_BOUND + bytes((0, 0, 0, 0x80)) + bytes(8)


def test_a_variable_rate_without_a_header_is_read_to_its_end():
    low, high = (
        mp3(tone(4.0, LOW), bit_rate=24_000, has_xing=False),
        mp3(tone(12.0, HIGH), bit_rate=160_000, has_xing=False),
    )
    data = low + high
    assert soundfile.info(io.BytesIO(high + low)).duration < 14  # what libsndfile estimates
    for joined in (data, high + low):
        samples, rate, frames, remarks = read(joined)
        assert frames == len(samples)
        assert len(samples) / rate == pytest.approx(16, abs=0.2)
        assert remarks == []
    check_low_then_high(data, 4.0, 12.0)
    assert probe_audio(data).duration == pytest.approx(16, abs=0.2)


@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (16_000, 1), (24_000, 2), (44_100, 2), (48_000, 1)])
def test_the_counted_frames_are_decoded_as_they_are(rate, channels):
    data = mp3(tone(3.0, rate=rate, channels=channels), rate, has_xing=False)
    wanted = soundfile.read(io.BytesIO(data), always_2d=True, dtype="float32")[0].mean(axis=1)
    samples = read(data)[0]
    count = min(len(wanted), len(samples))
    assert count > 2.9 * rate
    np.testing.assert_allclose(samples[:count], wanted[:count], atol=1e-6)


@pytest.mark.parametrize("between", [b"", ID3_V1, ID3_V2, APE, APE + ID3_V1 + ID3_V2], ids=range(5))
@pytest.mark.parametrize("has_xing", [(True, True), (True, False), (False, True), (False, False)])
def test_joined_files_are_read_one_after_the_other(has_xing, between):
    low, high = (mp3(tone(2.0, pitch), has_xing=xing) for pitch, xing in zip((LOW, HIGH), has_xing, strict=True))
    check_low_then_high(low + between + high + between)
    assert remarks_of(low + between + high) == ""


def test_joined_files_of_other_rates_and_channels():
    high = mp3(tone(2.0, HIGH, 44_100, channels=2), 44_100)
    data = mp3(tone(2.0, LOW)) + high
    check_low_then_high(data)
    assert remarks_of(data) == "From 2.00 s on there are 2 channels instead of 1; their mean stands in for each."
    check_low_then_high(mp3(tone(2.0, LOW)) + mp3(tone(2.0, HIGH, 44_100), 44_100))


def test_an_mp3_in_a_wav_has_its_counted_length():
    content = mp3(tone(2.0, LOW), bit_rate=24_000, has_xing=False) + mp3(
        tone(2.0, HIGH), bit_rate=160_000, has_xing=False
    )
    header = struct.pack("<HHIIHHHHIHHH", 0x55, 1, SAMPLE_RATE, 3000, 1, 0, 12, 1, 2, 0, 1, 0)
    chunks = b"fmt " + struct.pack("<I", len(header)) + header + b"data" + struct.pack("<I", len(content)) + content
    check_low_then_high(b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WAVE" + chunks)


def test_a_cut_mp3_is_read_to_its_end_with_a_remark():
    whole = encoded(tone(4.0), "MP3")
    samples, rate, frames, remarks = read(whole[: len(whole) // 2])
    assert frames == 4 * SAMPLE_RATE
    assert 1.5 < len(samples) / rate < 2.5
    assert remarks == [f"The file is cut off: it holds {len(samples) / rate:.2f} s of 4.00 s."]
    without = mp3(tone(4.0), has_xing=False)
    assert "within a frame" in remarks_of(without[: len(without) // 2 + 7])
    assert remarks_of(without) == remarks_of(whole) == ""


@pytest.mark.parametrize("before", [b"ICY 200 OK\r\nicy-name: a\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n", ID3_V2 + ID3_V2])
def test_what_stands_before_a_stream_is_skipped(before):
    samples = load_audio(before + mp3(tone(2.0), has_xing=False))
    assert len(samples) / SAMPLE_RATE == pytest.approx(2, abs=0.15)


@pytest.mark.parametrize("cut", [1, 100, 777])
def test_a_stream_may_begin_within_a_frame(cut):
    samples = load_audio(mp3(tone(3.0), has_xing=False)[cut:])
    assert len(samples) / SAMPLE_RATE == pytest.approx(3, abs=0.25)


def test_damage_between_frames_is_an_error():
    data = bytearray(mp3(np.random.default_rng(0).uniform(-0.5, 0.5, 160_000).astype(np.float32), has_xing=False))
    data[30_000:33_000] = bytes(3_000)
    with pytest.raises(AudioError, match=r"damaged at or after 3\.[67]\d s\. Copy"):
        load_audio(bytes(data))


@given(st.binary(max_size=400), st.integers(0, 40), st.integers(0, 2000))
def test_no_bytes_make_the_search_fail(junk, frames, at):
    frame = (b"\xff\xf3\x64\xc4" + bytes(300))[: parse_header(0xF3, 0x64).length]
    data = frame * frames
    stream = io.BytesIO(data[:at] + junk + data[at:])
    parts = mpeg_parts(stream) or []
    assert sum(len(view.read()) for view, _ in parts) <= len(stream.getvalue()) + 3000 * len(parts)


def test_a_remark_on_a_later_file_says_where_it_begins():
    whole, other = mp3(tone(2.0, LOW)), mp3(tone(2.0, HIGH))
    cut = other[: len(other) // 2]
    assert remarks_of(whole + cut) == "In the part that begins at 2.00 s: " + remarks_of(cut)
    assert remarks_of(cut).startswith("The file is cut off")
