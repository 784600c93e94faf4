"""FLAC: totals that the header leaves open or that are wrong, and files one after the other."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import HIGH, LOW, check_low_then_high, encoded, muxed, read, remarks_of, tone

from genser.audio import SAMPLE_RATE, load_audio, probe_audio, stream_audio
from genser.audio.flac import declared_samples, last_sample, with_total
from genser.errors import AudioError


def stating(total, data):
    return with_total(data[:42], total) + data[42:]


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).uniform(-0.5, 0.5, 3 * SAMPLE_RATE).astype(np.float32)


@pytest.mark.parametrize("write", [lambda x: encoded(x, "FLAC"), lambda x: muxed("flac", "flac", x)])
def test_the_last_frame_says_how_long_it_is(write, noise):
    for count in (1, 3999, 4096, 40_000):
        data = write(noise[:count] if count > 1 else noise[:1])
        assert last_sample(io.BytesIO(data)) == count


@pytest.mark.parametrize("total", [0, 1, SAMPLE_RATE])
def test_a_total_that_is_too_small_loses_nothing(total, noise):
    data = stating(total, encoded(noise, "FLAC"))
    samples, _, frames, remarks = read(data)
    np.testing.assert_array_equal(samples, read(encoded(noise, "FLAC"))[0])
    assert frames == (len(noise) if total else None)
    more = f"The file holds 3.00 s, more than the {total / SAMPLE_RATE:.2f} s of its header; all was read."
    assert remarks == ([more] if total else [])
    assert probe_audio(data).duration == 3
    assert len(load_audio(data, start=2.0, end=2.5)) == SAMPLE_RATE / 2


def test_times_after_a_seek_are_those_of_the_file(noise):
    data = encoded(noise, "FLAC")
    damaged = data + data[:42] + data[42 : len(data) // 2]
    for start in (0.0, 2.5):
        stream = stream_audio(damaged, start=start)
        stream.read()
        assert "In the part that begins at 3.00 s" in stream.remark


def test_a_cut_file_says_how_much_is_missing(noise):
    data = encoded(noise, "FLAC")
    samples, rate, frames, remarks = read(data[: len(data) // 2])
    assert frames == len(noise)
    assert remarks == [f"The file is cut off: it holds {len(samples) / rate:.2f} s of 3.00 s."]


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.95])
def test_a_cut_file_with_an_open_total_is_read_to_its_end(keep, noise):
    data = stating(0, encoded(noise, "FLAC"))
    samples, rate, frames, remarks = read(data[: int(keep * len(data))])
    assert keep - 0.1 < len(samples) / len(noise) < keep + 0.1
    np.testing.assert_array_equal(samples, read(data)[0][: len(samples)])
    assert frames is None
    assert remarks == [f"The file is cut off after {len(samples) / rate:.2f} s."]


def test_an_open_total_and_bytes_after_the_sound(noise):
    data = stating(0, encoded(noise, "FLAC"))
    np.testing.assert_array_equal(read(data + bytes(1000))[0], read(data)[0])


def test_damage_before_intact_sound_is_an_error_with_an_open_total_too(noise):
    data = stating(0, encoded(noise, "FLAC"))
    half = len(data) // 2
    data = data[:half] + bytes(3000) + data[half + 3000 :]
    with pytest.raises(AudioError, match="damaged at or after"):
        load_audio(data)


def test_joined_files():
    low, high = encoded(tone(2.0, LOW), "FLAC"), encoded(tone(2.5, HIGH), "FLAC")
    check_low_then_high(low + high, 2.0, 2.5)
    assert remarks_of(low + high) == ""
    other = encoded(tone(2.5, HIGH, 44_100, 2), "FLAC", rate=44_100)
    check_low_then_high(low + other, 2.0, 2.5)
    assert "2 channels" in remarks_of(low + other)


@pytest.mark.parametrize("size", [20_000, 200_000])
def test_another_format_behind_the_sound_is_named(size, noise):
    data = encoded(noise, "FLAC")
    samples, _, _, remarks = read(data + np.random.default_rng(1).bytes(size))
    assert len(samples) == len(noise)
    assert len(remarks) == 1
    count = int(remarks[0].removeprefix("At least ").split()[0])
    assert size - 10_000 < count <= size
    assert remarks[0].endswith(" bytes after 3.00 s are not FLAC, and were not read.")
    assert remarks_of(data + bytes(size)) == ""


def test_a_file_twice_is_read_twice():
    data = encoded(tone(2.0), "FLAC")
    stream = stream_audio(data * 3)
    assert len(stream.read()) == 6 * SAMPLE_RATE
    assert stream.duration == stream.heard == 6
    assert len(load_audio(data * 3, start=1.0, end=1.5)) == SAMPLE_RATE / 2


@given(st.binary(max_size=200))
def test_no_bytes_make_the_search_fail(junk):
    head = encoded(tone(0.1), "FLAC")[:42]
    assert declared_samples(head) == SAMPLE_RATE // 10
    assert last_sample(io.BytesIO(head + junk + b"\xff\xf8" + junk)) is None or junk
