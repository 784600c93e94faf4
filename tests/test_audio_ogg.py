"""Ogg: streams one after the other, missing pages, files that are cut."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import HIGH, LOW, check_low_then_high, encoded, frequency_at, muxed, read, remarks_of, tone

from genser.audio import SAMPLE_RATE, load_audio
from genser.audio.ogg import _pages, ogg_links

CODINGS = {
    "vorbis": lambda samples, rate=48_000: encoded(samples, "OGG", "VORBIS", rate),
    "opus": lambda samples, rate=48_000: encoded(samples, "OGG", "OPUS", rate),
    "flac": lambda samples, rate=48_000: muxed("ogg", "flac", samples, rate),
    "short opus": lambda samples, rate=48_000: muxed("ogg", "libopus", samples, rate),
}


def tones(coding, duration, frequency):
    return CODINGS[coding](tone(duration, frequency, 48_000))


@pytest.mark.parametrize("second", CODINGS)
@pytest.mark.parametrize("first", ["vorbis", "opus", "flac"])
def test_chained_streams_are_read_one_after_the_other(first, second):
    data = tones(first, 2.0, LOW) + tones(second, 2.0, HIGH)
    assert len(ogg_links(io.BytesIO(data))) == 2
    check_low_then_high(data)
    assert remarks_of(data) == ""


def test_chained_streams_of_one_serial_number_and_other_channels():
    low = encoded(tone(2.0, LOW), "OGG", "VORBIS")
    assert len(ogg_links(io.BytesIO(low + low + low))) == 3
    assert len(load_audio(low + low + low)) == 6 * SAMPLE_RATE
    data = low + encoded(tone(2.0, HIGH, 44_100, 2), "OGG", "VORBIS", 44_100)
    check_low_then_high(data)
    assert "2 channels instead of 1" in remarks_of(data)


def page_ranges(data):
    return [(page.start, page.end) for page in _pages(io.BytesIO(data))]


@pytest.mark.parametrize("coding", ["vorbis", "opus", "flac"])
def test_missing_pages_are_silence(coding):
    data = tones(coding, 12.0, LOW)
    pages = page_ranges(data)
    first, last = len(pages) // 2, len(pages) * 3 // 4
    start, end = pages[first][0], pages[last][0]
    samples, rate, _, remarks = read(data[:start] + data[end:])
    assert len(samples) / rate == pytest.approx(12, abs=0.1)
    assert "silence stands in" in remarks[0]
    heard = load_audio(data[:start] + data[end:])
    silent = [at / 10 for at in range(5, 115) if frequency_at(heard, at / 10) == 0]
    assert 2 < len(silent) / 10 < 5
    assert frequency_at(heard, 11.0) == pytest.approx(LOW, abs=10)


@pytest.mark.parametrize("coding", ["vorbis", "opus", "flac"])
def test_a_damaged_page_is_silence(coding):
    samples = np.concatenate([tone(6.0, LOW, 48_000), tone(6.0, HIGH, 48_000)])
    samples += np.random.default_rng(0).normal(0, 0.01, len(samples)).astype(np.float32)  # for pages of usual length
    whole = CODINGS[coding](samples)
    end = next(end for start, end in page_ranges(whole) if start > len(whole) / 8)
    data = whole[: end - 50] + bytes(20) + whole[end - 30 :]
    heard, rate, _, remarks = read(data)
    assert len(heard) / rate == pytest.approx(12, abs=0.1)
    assert "cut off" not in " ".join(remarks)
    heard = load_audio(data)
    assert frequency_at(heard, 6.1) == pytest.approx(HIGH, abs=10)
    assert frequency_at(heard, 11.6) == pytest.approx(HIGH, abs=10)
    assert len(np.flatnonzero(np.abs(heard) < 1e-6)) < 2.5 * SAMPLE_RATE


def test_what_is_no_page_costs_little_time():
    class Counted(io.BytesIO):
        count = 0

        def read(self, *args):
            block = super().read(*args)
            self.count += len(block)
            return block

    stream = Counted((b"OggS" + bytes(23) + b"x") * 20_000)
    assert ogg_links(stream) == []
    assert stream.count < 1 << 22


@pytest.mark.parametrize("coding", ["vorbis", "opus", "flac"])
def test_a_cut_stream_has_a_remark(coding):
    data = tones(coding, 8.0, LOW)
    assert remarks_of(data) == ""
    samples, rate, _, remarks = read(data[: len(data) // 2])
    assert 2 < len(samples) / rate < 6
    assert len(remarks) == 1
    assert remarks[0].startswith("The file is cut off")


@pytest.mark.parametrize("coding", ["vorbis", "opus", "flac"])
def test_another_format_behind_or_between_the_streams_is_named(coding):
    low, other = tones(coding, 2.0, LOW), encoded(tone(1.0), "FLAC")
    wanted = f"{len(other)} bytes"
    assert remarks_of(low + other).startswith(wanted)
    data = low + other + tones(coding, 2.0, HIGH)
    check_low_then_high(data)
    assert remarks_of(data).startswith(wanted)
    assert remarks_of(data).endswith("are not Ogg, and were not read.")


@given(st.data())
def test_no_bytes_make_the_search_fail(data):
    whole = bytearray(encoded(tone(0.5), "OGG", "VORBIS")[:6000])
    for _ in range(data.draw(st.integers(0, 20))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    for link in ogg_links(io.BytesIO(bytes(whole))):
        assert 0 <= link.range[0] < link.range[1] <= len(whole)
