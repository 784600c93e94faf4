"""WAV and its relatives: sizes that are missing or wrong, files that are cut, files one after the other."""

import struct

import numpy as np
import pytest
from recordings import HIGH, LOW, check_low_then_high, encoded, muxed, read, remarks_of, tone

from genser.audio import SAMPLE_RATE, load_audio, probe_audio, stream_audio
from genser.errors import AudioError

FIELDS = {  # of the size: what stands before it, how far it is from there, its layout, what it counts in addition
    "WAV": (b"data", 4, "<I", 0),
    "RF64": (b"ds64", 16, "<Q", 0),
    "AIFF": (b"SSND", 4, ">I", 8),
    "AU": (b".snd", 8, ">I", 0),
    "W64": (b"data", 16, "<Q", 24),
    "CAF": (b"data", 4, ">Q", 4),
}
OPEN = (0, 0x7FFF_F000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, (1 << 63) - 1, (1 << 64) - 1)


def with_size(data, form, size):
    mark, distance, layout, _ = FIELDS[form]
    changed = bytearray(data)
    struct.pack_into(layout, changed, data.index(mark) + distance, size)
    return bytes(changed)


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).uniform(-0.5, 0.5, 3 * SAMPLE_RATE).astype(np.float32)


@pytest.mark.parametrize("form", FIELDS)
def test_an_open_size_means_all_that_is_there(form, noise):
    data = encoded(noise, form, "PCM_16")
    wanted = read(data)[0]
    assert len(wanted) == len(noise)
    for size in OPEN:
        if size < 1 << 8 * struct.calcsize(FIELDS[form][2]):
            samples, _, frames, remarks = read(with_size(data, form, size))
            np.testing.assert_array_equal(samples[: len(wanted)], wanted)
            assert len(samples) - len(wanted) <= 8  # a file may be filled up
            assert frames == len(samples)
            assert remarks == []


@pytest.mark.parametrize("form", FIELDS)
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_a_cut_file_says_how_much_is_missing(form, subtype, noise):
    data = encoded(noise, form, subtype)
    wanted, (samples, rate, frames, remarks) = read(data)[0], read(data[: len(data) // 3])
    assert 0.9 < len(samples) / rate < 1.1
    np.testing.assert_array_equal(samples, wanted[: len(samples)])
    assert frames == pytest.approx(len(noise), abs=8)
    assert remarks == [f"The file is cut off: it holds {len(samples) / rate:.2f} s of 3.00 s."]
    assert probe_audio(data[: len(data) // 3]).duration == pytest.approx(3, abs=0.01)


@pytest.mark.parametrize("form", FIELDS)
def test_a_size_that_was_not_brought_up_to_date(form, noise):
    data = encoded(noise, form, "PCM_16")
    samples, _, frames, remarks = read(with_size(data, form, SAMPLE_RATE * 2 + FIELDS[form][3]))
    assert frames == len(samples) == pytest.approx(len(noise), abs=8)
    assert remarks == ["The file holds 3.00 s, more than the 1.00 s of its header; all was read."]


LIST = b"LIST" + struct.pack("<I", 4) + b"INFO"


TAGS = (b"id3 \2\0\0\0ab", b"TAG" + bytes(125), b"ID3\3\0\0\0\0\1\0" + bytes(128))


ID3, OGG = TAGS[2], encoded(tone(1.0), "OGG", "VORBIS")


@pytest.mark.parametrize("after", [LIST, *TAGS, bytes(5000)])
def test_what_follows_the_sound_and_is_none_is_not_read(after, noise):
    samples, _, _, remarks = read(encoded(noise) + after)
    assert len(samples) == len(noise)
    assert remarks == []


CLOSED = ("WAV", "RF64", "W64", "AIFF")  # formats whose headers state where the file ends


@pytest.mark.parametrize("form", FIELDS)
@pytest.mark.parametrize("tag", [b"", ID3])
def test_what_follows_the_sound_and_is_another_format_is_named(form, tag, noise):
    junk = np.random.default_rng(1).bytes(3000)
    for after in (OGG, tag + junk) if tag or form in CLOSED else (OGG,):
        samples, _, frames, remarks = read(encoded(noise, form, "PCM_16") + after)
        assert frames == len(samples) == pytest.approx(len(noise), abs=8)
        assert len(remarks) == 1
        assert remarks[0].endswith(f" bytes after 3.00 s are not {form}, and were not read.")


@pytest.mark.parametrize("form", FIELDS)
def test_joined_files(form):
    low, high = encoded(tone(2.0, LOW), form, "PCM_16"), encoded(tone(2.0, HIGH), form, "PCM_16")
    check_low_then_high(low + high)
    assert remarks_of(low + high) == ""


def test_joined_files_of_pipes_of_other_rates():
    low, high = encoded(tone(2.0, LOW)), encoded(tone(2.0, HIGH, 44_100), rate=44_100)
    for size in (0, 0x7FFF_FFFF, 0xFFFF_FFFF):
        check_low_then_high(with_size(low, "WAV", size) + LIST + with_size(high, "WAV", size))
    check_low_then_high(low + LIST + encoded(tone(2.0, HIGH), "AIFF"))


def test_bw64_is_read():
    pcm = encoded(tone(1.0))[44:]
    header = b"BW64" + b"\xff" * 4 + b"WAVEds64" + struct.pack("<IQQQI", 28, 72 + len(pcm), len(pcm), 0, 0)
    data = header + encoded(tone(1.0))[12:36] + b"data" + b"\xff" * 4 + pcm
    np.testing.assert_array_equal(load_audio(data), load_audio(encoded(tone(1.0))))


@pytest.mark.parametrize(
    ("container", "codec", "rate"),
    [
        ("wav", "ac3", 48_000),
        ("wav", "g726", 8_000),
        ("caf", "alac", 16_000),
    ],
)
def test_codings_that_libsndfile_refuses_go_to_ffmpeg(container, codec, rate):
    data = muxed(container, codec, tone(2.0, rate=rate), rate)
    assert len(load_audio(data)) / SAMPLE_RATE == pytest.approx(2, abs=0.1)


def test_an_undecodable_coding_is_an_error_and_not_a_piece():
    with pytest.raises(AudioError):
        load_audio(muxed("wav", "aac", tone(3.0)))


def test_empty_chunks_hold_no_samples():
    for form in FIELDS:
        with pytest.raises(AudioError, match=r"holds no samples|not audio|cannot be read"):
            load_audio(encoded(np.zeros(0, np.float32), form, "PCM_16"))
    with pytest.raises(AudioError, match="holds no samples"):
        load_audio(encoded(np.zeros(0, np.float32)) + LIST)


def test_many_remarks_are_counted():
    files = [encoded(tone(0.1, LOW, channels=1 + index % 2)) for index in range(30)]
    stream = stream_audio(b"".join(files))
    assert len(stream.read()) == pytest.approx(3 * SAMPLE_RATE, abs=2)
    assert stream.remark.count("2 channels instead of 1") == 10
    assert stream.remark.endswith("There are 5 more remarks.")
