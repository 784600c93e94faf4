"""Containers through PyAV: their clock, their gaps, cut and hostile files."""

import ctypes
import http.server
import io
import os
import struct
import sys
import threading

import numpy as np
import pytest
from recordings import HIGH, LOW, check_low_then_high, frequency_at, muxed, read, remarks_of, tone

from genser.audio import SAMPLE_RATE, AudioLimits, load_audio, probe_audio, stream_audio
from genser.errors import AudioError, MissingExtraError

CONTAINERS = {
    "webm": ("webm", "libopus", 48_000),
    "mka": ("matroska", "libopus", 48_000),
    "flac in mkv": ("matroska", "flac", 16_000),
    "m4a": ("mp4", "aac", 44_100),
    "fragmented": ("mp4", "aac", 48_000),
    "ts": ("mpegts", "aac", 48_000),
    "flv": ("flv", "aac", 44_100),
    "nut": ("nut", "libopus", 48_000),
}
OPTIONS = {"fragmented": {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "500000"}}
LATE = ("webm", "mka", "flac in mkv", "m4a")  # the others count from their first time


def two_tones(name, moved=None, **more):
    """Two seconds of a low tone, two of a high one."""
    container, codec, rate = CONTAINERS[name]
    samples = np.concatenate([tone(2.0, LOW, rate), tone(2.0, HIGH, rate)])
    return muxed(container, codec, samples, rate, options=OPTIONS.get(name), moved=moved, **more)


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_without_gaps(name):
    data = two_tones(name)
    check_low_then_high(data)
    assert remarks_of(data) == ""


@pytest.mark.parametrize("name", CONTAINERS)
def test_missing_packets_are_silence_and_seeks_use_the_same_clock(name):
    data = two_tones(name, lambda time: None if 1.0 <= time < 3.0 else time)
    samples = load_audio(data)
    assert len(samples) / SAMPLE_RATE == pytest.approx(4, abs=0.2)
    for at, wanted in ((0.5, LOW), (1.5, 0), (2.5, 0), (3.4, HIGH)):
        assert frequency_at(samples, at) == pytest.approx(wanted, abs=10)
        assert frequency_at(load_audio(data, start=at, end=at + 0.3), 0.05) == pytest.approx(wanted, abs=10)
    assert remarks_of(data).startswith("Sound is missing for ")


@pytest.mark.parametrize("name", LATE)
@pytest.mark.parametrize("delay", [0.05, 0.5, 30.0])
def test_a_track_that_begins_late_has_silence_before_it(name, delay):
    data = two_tones(name, lambda time: time + delay)
    samples = load_audio(data)
    assert len(samples) / SAMPLE_RATE == pytest.approx(4 + delay, abs=0.2)
    begin = int(np.argmax(np.abs(samples) > 0.1)) / SAMPLE_RATE
    assert begin == pytest.approx(delay, abs=0.05)
    part = load_audio(data, start=delay + 2.5, end=delay + 2.8)
    assert frequency_at(part, 0.05) == pytest.approx(HIGH, abs=10)


@pytest.mark.parametrize("name", ["mka", "m4a", "ts"])
def test_sound_that_begins_after_the_picture(name):
    samples = load_audio(two_tones(name, lambda time: time + 1.5, video=True))
    assert int(np.argmax(np.abs(samples) > 0.1)) / SAMPLE_RATE == pytest.approx(1.5, abs=0.1)


def transport_stream(frequency, begin):
    return muxed("mpegts", "aac", tone(2.0, frequency), moved=lambda time: time + begin)


def test_overlapping_packets_are_cut():
    data = transport_stream(LOW, 0) + transport_stream(HIGH, 1.4)
    samples, rate, _, remarks = read(data)
    assert len(samples) / rate == pytest.approx(3.4, abs=0.15)
    assert frequency_at(load_audio(data), 2.5) == pytest.approx(HIGH, abs=10)
    assert "s of sound overlap" in remarks[0]


@pytest.mark.parametrize("begin", [0, 3600])
def test_times_that_begin_again_lose_no_sound(begin):
    data = transport_stream(LOW, 0) + transport_stream(HIGH, begin)
    check_low_then_high(data)
    assert "the times in the file jump by" in remarks_of(data)


def test_a_jump_of_a_year_is_refused_or_closed_and_costs_nothing():
    year = 365 * 86_400
    for name in ("mka", "flac in mkv"):
        data = two_tones(name, lambda time: time if time < 2 else time + year)
        with pytest.raises(AudioError, match="which cannot be right"):
            load_audio(data, limits=AudioLimits(max_duration=float("inf")))
        data = two_tones(name, lambda time: time + year)
        samples, rate, _, remarks = read(data)
        assert len(samples) / rate == pytest.approx(4, abs=0.1)
        assert "counted from there" in remarks[0]


def test_an_hour_of_silence_comes_in_small_blocks():
    data = two_tones("mka", lambda time: time if time < 2 else time + 3600)
    blocks = [len(block) for block in stream_audio(data, block_duration=30)]
    assert sum(blocks) / SAMPLE_RATE == pytest.approx(3604, abs=0.1)
    with pytest.raises(AudioError, match="the limit is 60 s"):
        load_audio(data, limits=AudioLimits(max_duration=60))


def test_rates_and_channels_that_change_within_a_stream():
    low, high = muxed("adts", "aac", tone(2.0, LOW)), muxed("adts", "aac", tone(2.0, HIGH, 44_100, 2), 44_100)
    check_low_then_high(low + high)
    assert "2 channels instead of 1" in remarks_of(low + high)


@pytest.mark.parametrize("name", ["webm", "m4a", "fragmented", "ts"])
def test_joined_files(name):
    container, codec, rate = CONTAINERS[name]
    files = [muxed(container, codec, tone(2.0, pitch, rate), rate, options=OPTIONS.get(name)) for pitch in (LOW, HIGH)]
    check_low_then_high(b"".join(files))
    live = {"live": "1"} if name == "webm" else OPTIONS.get(name)
    files = [muxed(container, codec, tone(2.0, pitch, rate), rate, options=live) for pitch in (LOW, HIGH)]
    check_low_then_high(b"".join(files))


OTHERS = {"avi": "pcm_s16le", "asf": "wmav2", "flv": "aac", "tta": "tta", "wv": "wavpack", "voc": "pcm_s16le"}
OTHERS |= {"rm": "ac3"}


def other(container, samples):
    return muxed(container, OTHERS[container], samples, 44_100, 64_000)


@pytest.mark.parametrize("container", OTHERS)
def test_joined_files_of_other_containers(container):
    low = other(container, tone(2.0, LOW, 44_100))
    check_low_then_high(low + other(container, tone(2.0, HIGH, 44_100)))
    stereo = low + other(container, tone(2.0, HIGH, 44_100, 2))
    check_low_then_high(stereo)
    assert "2 channels instead of 1" in remarks_of(stereo)
    assert remarks_of(low + low) == ""


@pytest.mark.parametrize("container", ["avi", "asf", "flv"])
def test_a_file_that_is_smaller_than_its_header_states_is_cut_off(container):
    data = other(container, tone(4.0, LOW, 44_100))
    assert remarks_of(data) == ""
    size = len(data) * 6 // 10
    samples, rate, _, remarks = read(data[:size])
    assert 1.5 < len(samples) / rate < 3
    assert remarks[0] == f"The file is cut off: it has {size} of {len(data)} bytes."


@pytest.mark.parametrize("name", ["voc", "rm", "ac3", "eac3", "mpeg"])
def test_a_file_that_is_cut_within_a_frame_has_a_remark(name):
    data = muxed(name, {"mpeg": "mp2", "voc": "pcm_s16le", "rm": "ac3"}.get(name, name), tone(4.0, LOW, 48_000), 48_000)
    assert remarks_of(data) == ""
    samples, rate, _, remarks = read(data[: len(data) * 6 // 10 + 1400])
    assert 1.5 < len(samples) / rate < 3
    assert len(remarks) == 1
    assert remarks[0].startswith(("The file is cut off", "Sound is missing: "))


def test_a_voc_file_of_several_blocks():
    """Written by hand after the format of Creative: block 9 has a rate, and block 2 goes on."""
    head = b"Creative Voice File\x1a" + struct.pack("<HHH", 26, 0x114, 0x1234 + (~0x114 & 0xFFFF) & 0xFFFF)
    low, high = ((tone(2.0, pitch) * 32767).astype("<i2").tobytes() for pitch in (LOW, HIGH))
    data = head
    for kind, content in ((9, struct.pack("<IBBH4x", SAMPLE_RATE, 16, 1, 4) + low), (2, high)):
        data += bytes((kind,)) + len(content).to_bytes(3, "little") + content
    check_low_then_high(data + b"\0")
    assert len(load_audio(data + b"\0")) == 4 * SAMPLE_RATE


@pytest.mark.parametrize("name", ["webm", "m4a", "ts", "aac", "mka"])
def test_a_cut_file_is_read_to_its_end_with_a_remark(name, tmp_path):
    if name == "aac":
        data = muxed("adts", "aac", tone(4.0, LOW))
    elif name == "m4a":
        begun = {"options": {"movflags": "faststart"}, "path": tmp_path / "a.m4a"}
        data = muxed("mp4", "aac", tone(4.0, LOW, 44_100), 44_100, **begun)
    else:
        data = two_tones(name)
    samples, rate, frames, remarks = read(data[: len(data) * 6 // 10])
    assert 1.5 < len(samples) / rate < 3
    assert len(remarks) == 1
    assert remarks[0].startswith("The file is cut off")
    if frames:
        assert f"{len(samples) / rate:.2f} s of {frames / rate:.2f} s" in remarks[0]


def test_damage_in_the_middle_is_an_error():
    data = bytearray(muxed("adts", "aac", tone(6.0)))
    data[len(data) // 2 : len(data) // 2 + 2000] = bytes(2000)
    with pytest.raises(AudioError, match="damaged at or after"):
        load_audio(bytes(data))


HOLED = [("tta", "tta"), ("wv", "wavpack"), ("caf", "alac"), ("avi", "pcm_s16le"), ("mp4", "alac")]
HOLED += [("avi", "libmp3lame"), ("matroska", "flac"), ("matroska", "libopus"), ("ogg", "flac"), ("ogg", "libopus")]


@pytest.mark.parametrize(("container", "codec"), HOLED)
@pytest.mark.parametrize("is_removed", [False, True])
def test_a_hole_is_an_error_or_has_a_remark(container, codec, is_removed):
    noise = 0.1 * np.random.default_rng(0).standard_normal(8 * 48_000).astype(np.float32)
    data = muxed(container, codec, noise, 48_000, 64_000)
    assert remarks_of(data) == ""
    start, length = len(data) * 2 // 5, len(data) // 5
    holed = data[:start] + (b"" if is_removed else bytes(length)) + data[start + length :]
    try:
        stream = stream_audio(holed)
        stream.read()
    except AudioError as error:
        is_said = "damaged at or after" in str(error) or "cannot be read as" in str(error)
    else:
        is_said = bool(stream.remark)
    assert is_said


@pytest.mark.parametrize(("container", "codec"), [("matroska", "aac"), ("wv", "wavpack")])
def test_damage_behind_which_ffmpeg_finds_nothing_is_an_error_and_no_end(container, codec):
    noise = 0.1 * np.random.default_rng(0).standard_normal(8 * 48_000).astype(np.float32)
    data = muxed(container, codec, noise, 48_000, 64_000)
    start, length = len(data) * 2 // 5, len(data) // 5
    with pytest.raises(AudioError, match=r"damaged at or after [23]\.\d\d s\. Copy"):
        load_audio(data[:start] + bytes(length) + data[start + length :])


def test_an_mp4_without_its_index_says_so():
    data = two_tones("m4a")
    with pytest.raises(AudioError, match=r"never finished: it lacks its index \(moov\)"):
        load_audio(data[: len(data) // 2])


@pytest.mark.parametrize("before", [b"", b"ID3\4\0\0\0\0\1\0" + bytes(128), b"ICY 200 OK\r\n\r\n"])
@pytest.mark.parametrize("cut", [0, 100])
def test_adts_behind_a_tag_or_cut_within_a_frame(before, cut):
    data = before + muxed("adts", "aac", tone(3.0))[cut:]
    if before or cut == 0 or data[0] != 0xFF:
        assert len(load_audio(data)) / SAMPLE_RATE == pytest.approx(3, abs=0.2)


@pytest.mark.parametrize("packet", [188, 192])
def test_transport_streams(packet):
    options = {"mpegts_m2ts_mode": "1"} if packet == 192 else {}
    data = muxed("mpegts", "aac", tone(3.0), options=options)
    assert len(data) % packet == 0
    for piece in (data, data[packet * 3 + 50 :]):
        assert len(load_audio(piece)) / SAMPLE_RATE == pytest.approx(3, abs=0.3)


def test_samples_of_64_bits_are_read():
    samples = muxed("nut", "pcm_s64le", tone(1.0))
    np.testing.assert_allclose(load_audio(samples), tone(1.0), atol=1e-6)


@pytest.mark.parametrize(("default", "which"), [(None, "the first"), (0, "the first"), (1, "number 2, its default,")])
def test_of_several_audio_tracks_the_default_is_read_and_named(default, which):
    av = pytest.importorskip("av")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as file:
        tracks = [file.add_stream("pcm_s16le", rate=16_000, layout="mono") for _ in range(2)]
        for index, track in enumerate(tracks):
            track.disposition = int(index == default)
        for level, track in enumerate(tracks, 1):
            frame = av.AudioFrame.from_ndarray(np.full((1, 16_000), level * 100, np.int16), "s16", "mono")
            frame.sample_rate = 16_000
            file.mux(track.encode(frame))
    samples, _, _, remarks = read(buffer.getvalue())
    assert remarks == [f"The file has 2 audio tracks; only {which} was read."]
    assert samples[0] == (200 if default else 100) / 32768


def test_without_pyav_the_extra_is_named(monkeypatch):
    files = {name: two_tones(name) for name in ("webm", "ts")}
    files |= {"caf": muxed("caf", "alac", tone(1.0)), "oga": muxed("ogg", "flac", tone(1.0))}
    monkeypatch.setitem(sys.modules, "av", None)
    for data in files.values():
        with pytest.raises((MissingExtraError, AudioError), match=r"genser\[media\]"):
            load_audio(data)


HEADERS = {
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{}\n#EXT-X-ENDLIST\n",
    "pls": "[playlist]\nFile1={}\n",
    "ffconcat": "ffconcat version 1.0\nfile '{}'\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\na=control:{}\nm=audio 5004 RTP/AVP 0\n",
    "mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet '
    'mimeType="audio/mp4"><Representation id="1"><BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>',
    "asx": '<asx version="3.0"><entry><ref href="{}"/></entry></asx>',
    "asf reference": "[Reference]\nRef1={}\n",
    "subtitles": "1\n00:00:00,000 --> 00:00:01,000\n{}\n",
    "cue": 'FILE "{}" WAVE\n  TRACK 01 AUDIO\n    INDEX 01 00:00:00\n',
}


def box(kind, *contents):
    content = b"".join(contents)
    return struct.pack(">I", 8 + len(content)) + kind + content


def with_external_data(data, target):
    """An MP4 whose samples are in another file by its data reference."""
    location = box(b"url ", bytes(4), target.encode() + b"\0")
    at = data.index(b"url \0\0\0\1") - 4
    changed = data[:at] + location + data[at + 12 :]
    grown = len(location) - 12
    changed = bytearray(changed)
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        start = bytes(changed).index(kind) - 4
        struct.pack_into(">I", changed, start, struct.unpack_from(">I", changed, start)[0] + grown)
    return bytes(changed)


def reference_movie(target):
    reference = box(b"rdrf", bytes(4), b"url ", struct.pack(">I", len(target) + 1), target.encode() + b"\0")
    return box(b"ftyp", b"qt  ", bytes(4), b"qt  ") + box(b"moov", box(b"rmra", box(b"rmda", reference)))


def hostile(target):
    yield from ((name, text.format(target).encode()) for name, text in HEADERS.items())
    yield "reference movie", reference_movie(target)
    yield "data reference", with_external_data(two_tones("m4a"), target)


class Opened:
    """Watches a folder for files that any code of this process opens, by inotify of Linux."""

    def __init__(self, folder):
        self._library = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._library.inotify_init1(os.O_NONBLOCK)
        assert self._library.inotify_add_watch(self._descriptor, os.fsencode(folder), 0x20) > 0  # IN_OPEN

    def names(self):
        try:
            return os.read(self._descriptor, 1 << 16)
        except BlockingIOError:
            return b""


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is a feature of Linux")
def test_no_file_makes_another_one_be_opened(tmp_path):
    pytest.importorskip("av")
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    secret = tmp_path / "secret.m4a"
    secret.write_bytes(two_tones("m4a"))
    watch = Opened(tmp_path)
    for target in (str(secret), f"file:{secret}", f"http://127.0.0.1:{server.server_port}/a.m4a"):
        for name, data in hostile(target):
            for source in (data, b"ID3\4\0\0\0\0\0\0" + data):
                try:
                    samples = load_audio(source)
                except (AudioError, MissingExtraError):
                    continue
                assert name == "data reference", name
                assert np.abs(samples).max() >= 0
    assert watch.names() == b""
    assert requests == []
    secret.read_bytes()
    assert b"secret" in watch.names()  # the watch works
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("part", [{}, {"start": 0.5}, {"start": 0.5, "end": 1.5}])
def test_what_was_decoded_is_never_more_than_the_duration(name, part):
    stream = stream_audio(two_tones(name), **part)
    samples = sum(map(len, stream))
    assert stream.heard == pytest.approx(samples / SAMPLE_RATE, abs=1.1 / SAMPLE_RATE)
    assert stream.heard <= stream.duration <= stream.heard + 0.1


def test_the_duration_of_a_live_recording_is_what_was_decoded():
    data = muxed("webm", "libopus", tone(3.0, rate=48_000), 48_000, options={"live": "1"})
    assert probe_audio(data).duration == pytest.approx(3, abs=0.05)
    assert read(data)[2] is None
    assert read(muxed("adts", "aac", tone(3.0)))[2] is None  # FFmpeg would estimate it by the bit rate
