"""Disturbances of recordings outside a studio, each at one fixed strength."""

import io
from collections.abc import Callable

import numpy as np

from genser.audio import SAMPLE_RATE, load_audio
from genser.audio.augment import TELEPHONE_BAND, add_noise, band_limited

Waveform = np.ndarray


def white_noise(waveform: Waveform) -> Waveform:
    """White noise at a signal-to-noise ratio of 10 dB."""
    return add_noise(waveform, 10.0, np.random.default_rng(len(waveform)))


def telephone(waveform: Waveform) -> Waveform:
    """The band of a telephone, 300 to 3,400 Hz."""
    return band_limited(waveform, *TELEPHONE_BAND)


def telephone_line(waveform: Waveform) -> Waveform:
    """8 kHz in 8 bits of μ-law (G.711), without a lower band limit, unlike the bands of the training augmentation."""
    import soxr

    narrow = soxr.resample(waveform, SAMPLE_RATE, 8_000)
    peak = max(float(np.abs(narrow).max()), 1e-9)
    coded = np.round(np.sign(narrow) * np.log1p(255 * np.abs(narrow) / peak) / np.log(256) * 127) / 127
    decoded = np.sign(coded) * (256 ** np.abs(coded) - 1) / 255 * peak
    return soxr.resample(decoded, 8_000, SAMPLE_RATE).astype(np.float32)


def quiet(waveform: Waveform) -> Waveform:
    """30 dB quieter."""
    return waveform * np.float32(10 ** (-30 / 20))


def offset(waveform: Waveform) -> Waveform:
    """A constant offset of 1 % of full scale."""
    return waveform + np.float32(0.01)


def hum(waveform: Waveform) -> Waveform:
    """Hum of 50 Hz at −40 dB of full scale."""
    return (waveform + 0.01 * np.sin(2 * np.pi * 50 * np.arange(len(waveform)) / SAMPLE_RATE)).astype(np.float32)


def opus(waveform: Waveform) -> Waveform:
    """Encoded with Opus at 16 kbit/s and decoded."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=48_000, layout="mono")
        stream.bit_rate = 16_000
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=48_000)
        frame = av.AudioFrame.from_ndarray(np.clip(waveform, -1, 1)[None].astype(np.float32), "flt", "mono")
        frame.sample_rate = SAMPLE_RATE
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return load_audio(buffer.getvalue())


def first_second(waveform: Waveform) -> Waveform:
    """One second from the middle of the clip."""
    middle = len(waveform) // 2
    return waveform[max(0, middle - SAMPLE_RATE // 2) : middle + SAMPLE_RATE // 2]


DISTURBANCES: dict[str, Callable[[Waveform], Waveform]] = {
    "white noise, 10 dB": white_noise,
    "telephone band": telephone,
    "8 kHz, μ-law": telephone_line,
    "Opus, 16 kbit/s": opus,
    "30 dB quieter": quiet,
    "offset of 1 %": offset,
    "hum of 50 Hz, −40 dB": hum,
    "one second": first_second,
}
