import io
import math
import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from genser.audio import SAMPLE_RATE, AudioInfo, AudioLimits, detect, load_audio, probe_audio, readers, stream_audio
from genser.errors import AudioError, ConfigError, MissingExtraError

FORMATS = [
    ("WAV", "PCM_16"),
    ("WAV", "FLOAT"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
    ("AIFF", "PCM_16"),
]


def tone(duration: float, rate: int = SAMPLE_RATE, frequency: float = 440.0, level: float = 0.5) -> np.ndarray:
    time = np.arange(round(duration * rate)) / rate
    return (level * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def encoded(samples: np.ndarray, rate: int = SAMPLE_RATE, form: str = "WAV", subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=form, subtype=subtype)
    return buffer.getvalue()


def loudest_frequency(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(spectrum.argmax()) * SAMPLE_RATE / len(samples)


class Pipe(io.RawIOBase):
    """A file object that cannot seek and gives few bytes at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._data.read(min(size, 1000) if size >= 0 else size)


@pytest.mark.parametrize(("form", "subtype"), FORMATS)
def test_every_format_keeps_the_tone(form, subtype):
    samples = load_audio(encoded(tone(1.0), form=form, subtype=subtype))
    assert samples.dtype == np.float32
    assert abs(len(samples) - SAMPLE_RATE) <= 1
    assert loudest_frequency(samples) == pytest.approx(440, abs=2)
    assert np.abs(samples[2000:-2000]).max() == pytest.approx(0.5, abs=0.05)


def test_every_kind_of_source_gives_the_same_samples(tmp_path, monkeypatch):
    data = encoded(tone(0.5), form="FLAC")
    path = tmp_path / "a.flac"
    path.write_bytes(data)
    wanted = load_audio(path)
    written = io.BytesIO()
    written.write(data)  # its position is at the end, as after an upload
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    for source in (str(path), data, io.BytesIO(data), written, Pipe(data), path.open("rb"), "-"):
        np.testing.assert_array_equal(load_audio(source), wanted)
    np.testing.assert_allclose(load_audio((tone(0.5), SAMPLE_RATE)), wanted, atol=1 / 32768)


def test_a_stream_that_was_read_has_no_more_samples():
    stream = stream_audio((tone(0.5), SAMPLE_RATE))
    assert len(stream.read()) == SAMPLE_RATE / 2
    assert (stream.read().shape, stream.read().dtype) == ((0,), np.float32)


@pytest.mark.parametrize("ending", ["wav", "mp3", "raw", "txt"])
def test_the_content_decides_not_the_ending(tmp_path, ending):
    path = tmp_path / f"clip.{ending}"
    path.write_bytes(encoded(tone(0.2), form="AIFF"))
    assert len(load_audio(path)) == 0.2 * SAMPLE_RATE
    assert probe_audio(path).format == "AIFF"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_is_read_once(tmp_path):
    data = encoded(tone(0.2))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=[data])
    writer.start()
    samples = load_audio(pipe)
    writer.join()
    assert len(samples) == 0.2 * SAMPLE_RATE


@given(st.integers(1, 6), st.sampled_from(["int16", "int32", "float32", "float64"]), st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_channels_are_averaged_and_integers_scaled(channels, dtype, random):
    floats = np.random.default_rng(random.randrange(1 << 30)).uniform(-0.9, 0.9, (800, channels))
    scale = np.iinfo(dtype).max + 1 if dtype.startswith("int") else 1
    samples = load_audio(((floats * scale).astype(dtype), SAMPLE_RATE))
    np.testing.assert_allclose(samples, load_audio((floats.mean(axis=1), SAMPLE_RATE)), atol=1e-4)


def test_unsigned_bytes_are_centred():
    quiet = np.full(800, 128, np.uint8)
    assert not load_audio((quiet, SAMPLE_RATE)).any()


@given(st.sampled_from([8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000]), st.floats(200, 3_500))
@settings(max_examples=20, deadline=None)
def test_any_rate_keeps_frequency_level_and_duration(rate, frequency):
    samples = load_audio((tone(1.0, rate, frequency), rate))
    assert abs(len(samples) - SAMPLE_RATE) <= 1
    assert loudest_frequency(samples) == pytest.approx(frequency, abs=1)
    assert np.abs(samples[2000:-2000]).max() == pytest.approx(0.5, rel=0.02)


def test_what_16_khz_cannot_hold_is_filtered_out():
    assert np.abs(load_audio((tone(1.0, 48_000, 12_000), 48_000)))[500:-500].max() < 1e-3


@given(st.integers(500, 60_000), st.sampled_from([8_000, 16_000, 44_100]), st.floats(0.01, 3))
@settings(max_examples=25, deadline=None)
def test_the_stream_joined_is_the_whole(count, rate, block_duration):
    samples = np.random.default_rng(count).uniform(-1, 1, count).astype(np.float32)
    limits = AudioLimits(min_duration=0)
    blocks = list(stream_audio((samples, rate), block_duration=block_duration, limits=limits))
    assert {len(block) for block in blocks[:-1]} <= {round(block_duration * SAMPLE_RATE)}
    assert 0 < len(blocks[-1]) <= round(block_duration * SAMPLE_RATE)
    np.testing.assert_array_equal(np.concatenate(blocks), load_audio((samples, rate), limits=limits))


@pytest.mark.parametrize(("form", "subtype"), FORMATS)
def test_a_stream_in_many_reads_is_the_decoder_s_own_result(form, subtype, monkeypatch):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 3 * SAMPLE_RATE).astype(np.float32)
    data = encoded(noise, form=form, subtype=subtype)
    whole = soundfile.read(io.BytesIO(data), dtype="float32")[0]
    monkeypatch.setattr("genser.audio.decode.BLOCK_SAMPLES", 1000)
    np.testing.assert_allclose(load_audio(data), load_audio((whole, SAMPLE_RATE)), atol=1e-6)


@pytest.mark.parametrize(("form", "subtype"), FORMATS)
@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_a_crop_is_the_same_part_of_the_whole(form, subtype, rate):
    data = encoded(tone(3.0, rate), rate, form, subtype)
    whole, part = load_audio(data), load_audio(data, start=1.0, end=2.5)
    assert len(part) == 1.5 * SAMPLE_RATE
    edge = 100  # samples on which the resampler sees the cut
    np.testing.assert_allclose(part[edge:-edge], whole[SAMPLE_RATE:][edge : len(part) - edge], atol=2e-3)


def test_a_crop_decodes_only_itself(monkeypatch):
    read = []
    original = soundfile.SoundFile.read

    def spy(self, *args, **kwargs):
        block = original(self, *args, **kwargs)
        read.append(len(block))
        return block

    monkeypatch.setattr(soundfile.SoundFile, "read", spy)
    load_audio(encoded(tone(20.0), form="FLAC"), start=15, end=16)
    assert sum(read) <= 2 * SAMPLE_RATE  # the crop, and less than a second before it, from which the mixer fades


def test_an_end_behind_the_sound_stops_there():
    assert len(load_audio((tone(1.0), SAMPLE_RATE), start=0.5, end=9)) == SAMPLE_RATE / 2


@pytest.mark.parametrize(
    ("start", "end"), [(-1, None), (math.nan, 1), (2, 1), (1, 1), (0.5, math.nan), (5, None), (True, 2), (0, True)]
)
def test_an_impossible_crop_is_refused(start, end):
    with pytest.raises(AudioError, match=r"start|end|empty"):
        load_audio((tone(1.0), SAMPLE_RATE), start=start, end=end)


def test_probe_tells_the_header():
    stereo = np.stack([tone(1.0, 44_100)] * 2, axis=1)
    assert probe_audio(encoded(stereo, 44_100)) == AudioInfo(1.0, 44_100, 2, "WAV")
    assert probe_audio((stereo, 44_100)) == AudioInfo(1.0, 44_100, 2, "array")


def test_silence_is_a_sound():
    assert not load_audio((np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE)).any()


def test_missing_folder_and_empty_files_are_named(tmp_path):
    empty = tmp_path / "empty.wav"
    empty.touch()
    for source, match in [
        (tmp_path / "no.wav", "does not exist"),
        ("nowhere://example.org/a.wav", "Protocol not known"),
        (tmp_path, "is a folder"),
        (empty, r"empty\.wav is empty"),
        (b"", "is empty"),
        ("a\0b", "cannot be opened"),
    ]:
        with pytest.raises(AudioError, match=match):
            load_audio(source)


@pytest.mark.parametrize(
    "data", [b"label,path\nhappy,a.wav\n" * 100, b"\0" * 5000, b"RIFF", np.random.default_rng(0).bytes(3200)]
)
def test_what_is_no_sound_is_refused(data):
    with pytest.raises(AudioError, match="not audio"):
        load_audio(b"\x01" + data)


def test_an_endless_source_that_is_no_sound_is_refused_by_its_beginning():
    class Endless(io.RawIOBase):
        count, noise = 0, np.random.default_rng(0).bytes(1 << 16)

        def read(self, size=-1):
            self.count += 1
            assert self.count < 100
            return self.noise

    with pytest.raises(AudioError, match="not audio"):
        load_audio(Endless())
    if Path("/dev/zero").exists():
        with pytest.raises(AudioError, match="zeros only"):
            load_audio("/dev/zero")


def test_a_long_source_that_can_be_read_once_is_read():
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    data = encoded(tone(40.0))
    assert len(data) > 1 << 20
    np.testing.assert_array_equal(load_audio(Pipe(data)), load_audio(data))


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "AIFF"])
@pytest.mark.parametrize("lines", [b"HTTP/1.1 200 OK\r\nContent-Type: audio/x\r\n\r\n", b"ICY 200 OK\r\n\r\n"])
def test_lines_of_http_before_the_sound_are_skipped(form, lines):
    data = encoded(tone(1.0), form=form)
    np.testing.assert_array_equal(load_audio(lines + data), load_audio(data))


@pytest.mark.parametrize(("form", "subtype"), FORMATS)
def test_a_cut_sound_is_decoded_as_far_as_it_goes(form, subtype):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 10 * SAMPLE_RATE).astype(np.float32)
    data = encoded(noise, form=form, subtype=subtype)
    whole, cut = load_audio(data), load_audio(data[: len(data) // 2])
    assert 3.5 * SAMPLE_RATE < len(cut) < 6 * SAMPLE_RATE
    np.testing.assert_allclose(cut[:50_000], whole[:50_000], atol=1e-6)


def test_a_short_cut_flac_loses_no_more_than_what_was_cut():
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, SAMPLE_RATE).astype(np.float32)
    data = encoded(noise, form="FLAC")
    assert len(load_audio(data[: len(data) * 3 // 4])) >= SAMPLE_RATE // 2


@pytest.mark.parametrize(("form", "subtype"), [("FLAC", "PCM_16"), ("MP3", "MPEG_LAYER_III")])
def test_damage_in_the_middle_is_an_error(form, subtype):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 10 * SAMPLE_RATE).astype(np.float32)
    data = bytearray(encoded(noise, form=form, subtype=subtype))
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(3000)
    with pytest.raises(AudioError, match="damaged at or after"):
        load_audio(bytes(data))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300])
def test_samples_that_are_not_finite_are_refused(value):
    samples = tone(1.0).astype(np.float64)
    samples[-1] = value
    with pytest.raises(AudioError, match="NaN or infinite"):
        load_audio((samples, SAMPLE_RATE))


def test_integers_in_disguise_are_refused():
    with pytest.raises(AudioError, match="32768"):
        load_audio((tone(1.0) * 32767, SAMPLE_RATE))


def test_ten_milliseconds_are_too_short_and_25_are_not():
    with pytest.raises(AudioError, match=r"10\.0 ms of audio, at least 25 ms"):
        load_audio((tone(0.01), SAMPLE_RATE))
    assert len(load_audio((tone(0.025), SAMPLE_RATE))) == 400
    assert len(load_audio((tone(0.025, 44_100), 44_100))) in (399, 400)


def test_no_samples_are_named():
    for source in [(np.zeros(0, np.float32), SAMPLE_RATE), encoded(np.zeros(0, np.float32))]:
        with pytest.raises(AudioError, match="holds no samples"):
            load_audio(source)


@pytest.mark.parametrize(
    ("array", "rate", "match"),
    [
        (np.zeros((40, 16_000)), 16_000, "has 16000 channels"),
        (np.zeros((10, 2, 2)), 16_000, "not audio"),
        (np.zeros(1000, np.complex64), 16_000, "not audio"),
        (np.zeros(1000, np.int64), 16_000, "int16"),
        (np.zeros(1000, bool), 16_000, "not audio"),
        (np.zeros(1000), "16k", "not a number of Hz"),
        (np.zeros(1000), True, "not a number of Hz"),
        (np.zeros(1000), 16, "sample rate of 16 Hz"),
        (np.zeros(1000), math.nan, "sample rate of nan Hz"),
        ([0.0] * 1000, 16_000, "NumPy array"),
    ],
)
def test_an_array_that_is_no_sound_is_refused(array, rate, match):
    with pytest.raises(AudioError, match=match):
        load_audio((array, rate))


def test_objects_that_are_no_source_are_refused(tmp_path):
    closed = io.BytesIO(b"abc")
    closed.close()
    for source, match in [
        (io.StringIO("text"), "binary mode"),
        (closed, "Open it again"),
        (3.5, "is not audio"),
        (None, "is not audio"),
    ]:
        with pytest.raises(AudioError, match=match):
            load_audio(source)


def test_limits_stop_what_is_too_long_before_it_is_decoded(monkeypatch):
    bomb = encoded(np.zeros(60 * SAMPLE_RATE, np.float32), form="FLAC")
    assert len(bomb) < 20_000  # a minute of silence; hours would be as cheap
    monkeypatch.setattr(soundfile.SoundFile, "read", None)
    with pytest.raises(AudioError, match=r"lasts 60\.0 s or more, the limit is 10 s"):
        load_audio(bomb, limits=AudioLimits(max_duration=10))


def test_limits_count_what_comes_where_the_header_lies():
    data = bytearray(encoded(np.zeros(60 * SAMPLE_RATE, np.float32), form="FLAC"))
    data[21] &= 0xF0  # the total of samples in STREAMINFO: 36 bits, 0 means unknown
    data[22:26] = bytes(4)
    data = bytes(data)
    with pytest.raises(AudioError, match="the limit is 10 s"):
        load_audio(data, limits=AudioLimits(max_duration=10))
    assert len(load_audio(data)) == 60 * SAMPLE_RATE
    assert probe_audio(data).duration == 60
    data = data[:22] + (SAMPLE_RATE).to_bytes(4, "big") + data[26:]  # says one second, holds sixty
    with pytest.raises(AudioError, match="the limit is 10 s"):
        load_audio(data, limits=AudioLimits(max_duration=10))


def test_limits_allow_a_short_crop_of_a_long_sound():
    data = encoded(tone(30.0), form="FLAC")
    assert len(load_audio(data, start=20, end=22, limits=AudioLimits(max_duration=5))) == 2 * SAMPLE_RATE


def test_limits_on_bytes_and_channels():
    data = encoded(tone(1.0))
    for source in (data, Pipe(data), io.BytesIO(data)):
        with pytest.raises(AudioError, match="the limit is 5000"):
            load_audio(source, limits=AudioLimits(max_bytes=5000))
    wide = encoded(np.zeros((800, 40), np.float32))
    with pytest.raises(AudioError, match="40 channels"):
        load_audio(wide)
    assert len(load_audio(wide, limits=AudioLimits(max_channels=40))) == 800


def test_impossible_limits_and_blocks_are_refused():
    for limits in [{"min_duration": 2, "max_duration": 1}, {"max_bytes": 0}, {"max_channels": 0}, {"min_duration": -1}]:
        with pytest.raises(ConfigError):
            AudioLimits(**limits)
    for duration in (0, -1, math.nan, math.inf):
        with pytest.raises(ConfigError, match="block_duration"):
            stream_audio((tone(1.0), SAMPLE_RATE), block_duration=duration)


def test_a_piped_source_larger_than_memory_goes_through_a_file(monkeypatch):
    monkeypatch.setattr("genser.audio.sources.MEMORY_SPOOL", 1000)
    data = encoded(tone(1.0))
    np.testing.assert_array_equal(load_audio(Pipe(data)), load_audio(data))


def test_an_hour_streams_in_little_memory():
    class Hour:
        """An hour of 8 kHz sound that no array holds."""

        format, sample_rate, channels, frames = "array", 8_000, 1, 3600 * 8_000

        def __init__(self):
            self.largest = self.position = 0
            self.remarks = []

        def read(self, frames):
            frames = min(frames, self.frames - self.position)
            self.position += frames
            self.largest = max(self.largest, frames)
            return np.zeros((frames, 1), np.float32)

    from contextlib import contextmanager

    hour = Hour()

    @contextmanager
    def opened(*_):
        yield hour

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("genser.audio.decode.open_reader", opened)
        lengths = [len(block) for block in stream_audio(b"hour", block_duration=30)]
    assert sum(lengths) == 3600 * SAMPLE_RATE
    assert max(lengths) == 30 * SAMPLE_RATE
    assert hour.largest <= 1 << 17


def through_pyav(container, codec, seconds, rate, samples):
    """A tone in a container that PyAV writes."""
    av = pytest.importorskip("av")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as file:
        track = file.add_stream(codec, rate=rate)
        frame = av.AudioFrame.from_ndarray(tone(seconds, rate)[None], format=samples, layout="mono")
        frame.sample_rate = rate
        for packet in [*track.encode(frame), *track.encode()]:
            file.mux(packet)
    return buffer.getvalue()


@pytest.fixture
def m4a() -> bytes:
    return through_pyav("mp4", "aac", 2.0, 44_100, "fltp")


def test_m4a_is_read_through_pyav(m4a, tmp_path):
    path = tmp_path / "a.wav"  # mislabelled
    path.write_bytes(m4a)
    samples = load_audio(path)
    assert len(samples) == pytest.approx(2 * SAMPLE_RATE, abs=2000)
    assert loudest_frequency(samples) == pytest.approx(440, abs=2)
    assert probe_audio(m4a).format == "MOV"
    part = load_audio(m4a, start=1.0, end=1.5)
    np.testing.assert_allclose(part[200:-200], samples[SAMPLE_RATE:][200 : len(part) - 200], atol=0.02)


@pytest.fixture(scope="module")
def short_opus():
    """Under a second, so that all packets are on one page, whose granule position lies beyond them."""
    return through_pyav("ogg", "libopus", 0.75, 48_000, "flt")


def test_opus_that_libsndfile_refuses_is_read_by_pyav(short_opus):
    with pytest.raises(soundfile.LibsndfileError):
        soundfile.info(io.BytesIO(short_opus))
    samples = load_audio(short_opus)
    assert len(samples) == pytest.approx(0.75 * SAMPLE_RATE, abs=0.02 * SAMPLE_RATE)
    assert loudest_frequency(samples) == pytest.approx(440, abs=3)


def test_it_stays_an_error_without_pyav_and_where_it_is_damaged(short_opus, monkeypatch):
    with pytest.raises(AudioError):
        load_audio(short_opus[:100])
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(AudioError, match=r"not audio that can be read .*genser\[media\]"):
        load_audio(short_opus)


def test_media_without_pyav_names_the_extra(m4a, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"genser\[media\]"):
        load_audio(m4a)


def test_damaged_media_is_an_error(m4a):
    for data in (m4a[:64], b"\x1a\x45\xdf\xa3" + bytes(500), b"\xff\xf1" + bytes(300)):
        with pytest.raises(AudioError):
            load_audio(data)


def test_a_playlist_never_reaches_ffmpeg(monkeypatch):
    pytest.importorskip("av")
    monkeypatch.setattr(detect.MediaReader, "__init__", None)
    with pytest.raises(AudioError, match="not audio"):
        load_audio(b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://example.org/a.ts\n")


def test_real_recordings_of_every_corpus_decode(corpora):
    for pattern in ("ravdess/*/*.flac", "emodb/wav/*.flac", "nemo/samples/*.ogg"):
        path = min(corpora.glob(pattern))
        assert len(load_audio(path)) / SAMPLE_RATE == pytest.approx(probe_audio(path).duration, abs=0.001)


def test_codings_without_seeking_are_read_and_cut(tmp_path):
    path = tmp_path / "gsm.wav"
    soundfile.write(path, tone(3.0, 8_000), 8_000, subtype="GSM610")
    whole = load_audio(path)
    assert len(whole) / SAMPLE_RATE == pytest.approx(3.0, abs=0.05)
    assert loudest_frequency(whole) == pytest.approx(440, abs=2)
    part = load_audio(path, start=1.0, end=2.0)
    np.testing.assert_allclose(part[100:-100], whole[SAMPLE_RATE : 2 * SAMPLE_RATE][100:-100], atol=1e-3)


def test_any_error_of_a_decoder_is_an_audio_error(monkeypatch):
    def fails(self, *_, **__):
        raise soundfile.LibsndfileError(40)

    monkeypatch.setattr(readers.SoundReader, "read", fails)
    for read in (load_audio, lambda source: list(stream_audio(source))):
        with pytest.raises(AudioError, match="cannot be decoded"):
            read(encoded(tone(1.0)))
