"""Reads audio: any path, bytes, file object or array becomes mono float32 at 16 kHz."""

from genser.audio.decode import (
    HIGHEST_RATE,
    LOWEST_RATE,
    STREAM_LIMITS,
    AudioInfo,
    AudioLimits,
    AudioStream,
    count_channels,
    load_audio,
    probe_audio,
    stream_audio,
)
from genser.audio.mixing import Channel, channels_of
from genser.audio.mono import SAMPLE_RATE
from genser.audio.sources import AudioSource, describe, reusable

__all__ = [
    "HIGHEST_RATE",
    "LOWEST_RATE",
    "SAMPLE_RATE",
    "STREAM_LIMITS",
    "AudioInfo",
    "AudioLimits",
    "AudioSource",
    "AudioStream",
    "Channel",
    "channels_of",
    "count_channels",
    "describe",
    "load_audio",
    "probe_audio",
    "reusable",
    "stream_audio",
]
