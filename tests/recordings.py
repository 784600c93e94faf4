"""Encoded recordings for the tests of `genser.audio`: tones whose frequency says which part of a file they are."""

import io
from fractions import Fraction

import numpy as np
import pytest
import soundfile

from genser.audio import SAMPLE_RATE, load_audio
from genser.audio.sources import open_reader

LOW, HIGH = 440.0, 1320.0  # Hz


def tone(duration, frequency=LOW, rate=SAMPLE_RATE, channels=1):
    time = np.arange(round(duration * rate)) / rate
    samples = (0.4 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)
    return samples if channels == 1 else np.stack([samples] * channels, axis=1)


def encoded(samples, form="WAV", subtype=None, rate=SAMPLE_RATE):
    """A file by libsndfile."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=form, subtype=subtype)
    return buffer.getvalue()


def muxed(container, codec, samples, rate=SAMPLE_RATE, bit_rate=None, options=None, moved=None, video=False, path=None):
    """A file by FFmpeg; `moved` maps the time of a packet in seconds to another, or to None to omit it.

    Some options need a real file: then `path` names it.
    """
    av = pytest.importorskip("av")
    buffer = io.BytesIO()
    with av.open(path or buffer, "w", format=container, options=options or {}) as file:
        picture = file.add_stream("mpeg4", rate=25) if video else None
        track = file.add_stream(codec, rate=rate, layout="mono" if samples.ndim == 1 else "stereo")
        if bit_rate:
            track.bit_rate = bit_rate
        packets = []
        step = track.codec_context.frame_size or 1024
        for start in range(0, len(samples), step):
            block = samples[start : start + step].reshape(-1, track.codec_context.channels)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block.reshape(1, -1)), "flt", track.layout.name)
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            packets += track.encode(av.AudioResampler(track.format.name).resample(frame)[0])
        packets += track.encode()
        if picture is not None:
            picture.width = picture.height = 32
            picture.pix_fmt = "yuv420p"
            for index in range(round(25 * len(samples) / rate)):
                frame = av.VideoFrame(32, 32, "yuv420p")
                frame.pts = index
                packets += picture.encode(frame)
            packets += picture.encode()
        for packet in packets:
            if moved and packet.stream is track and packet.pts is not None:
                time = moved(float(packet.pts * packet.time_base))
                if time is None:
                    continue
                packet.pts = packet.dts = round(time / packet.time_base)
            file.mux(packet)
    return path.read_bytes() if path else buffer.getvalue()


def mp3(samples, rate=SAMPLE_RATE, bit_rate=64_000, has_xing=True):
    options = {"id3v2_version": "0"} | ({} if has_xing else {"write_xing": "0"})
    return muxed("mp3", "libmp3lame", samples, rate, bit_rate, options)


def read(data):
    """Decode a file to its end; return its mono sound at its own rate, the rate, its declared frames and remarks."""
    with open_reader(data, 1 << 32) as reader:
        blocks = []
        while len(block := reader.read(10_000)):
            blocks.append(block.mean(axis=1))
        return np.concatenate(blocks), reader.sample_rate, reader.frames, list(reader.remarks)


def remarks_of(data):
    return " ".join(read(data)[3])


def frequency_at(samples, seconds, length=0.2):
    """The loudest frequency in Hz from a time on, 0 in silence; samples at 16 kHz."""
    part = samples[round(seconds * SAMPLE_RATE) :][: round(length * SAMPLE_RATE)]
    if len(part) == 0 or np.abs(part).max() < 0.05:
        return 0.0
    spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part))))
    return float(spectrum.argmax()) * SAMPLE_RATE / len(part)


def check_low_then_high(data, first=2.0, second=2.0, slack=0.3):
    """The file is heard whole: a low tone of some seconds, then a high one, and seeking finds the same."""
    samples = load_audio(data)
    assert len(samples) / SAMPLE_RATE == pytest.approx(first + second, abs=slack)
    assert frequency_at(samples, first / 2) == pytest.approx(LOW, abs=10)
    assert frequency_at(samples, first + second / 2) == pytest.approx(HIGH, abs=10)
    part = load_audio(data, start=first + second / 2, end=first + second / 2 + 0.3)
    assert frequency_at(part, 0.05) == pytest.approx(HIGH, abs=10)
