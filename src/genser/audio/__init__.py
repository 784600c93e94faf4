"""Reads audio: any path, bytes, file object or array becomes mono float32 at 16 kHz."""

from genser.audio.decode import (
    HIGHEST_RATE,
    LOUDEST,
    LOWEST_RATE,
    SAMPLE_RATE,
    STREAM_LIMITS,
    AudioInfo,
    AudioLimits,
    load_audio,
    probe_audio,
    stream_audio,
)
from genser.audio.sources import AudioSource, describe

__all__ = [
    "HIGHEST_RATE",
    "LOUDEST",
    "LOWEST_RATE",
    "SAMPLE_RATE",
    "STREAM_LIMITS",
    "AudioInfo",
    "AudioLimits",
    "AudioSource",
    "describe",
    "load_audio",
    "probe_audio",
    "stream_audio",
]
