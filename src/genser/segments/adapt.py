"""Adapts a recogniser to a recording, or to each speaker of it, before the recording is recognised."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from genser.audio import STREAM_LIMITS, AudioLimits, AudioSource, Channel, count_channels, stream_audio
from genser.errors import NothingToLearnError
from genser.segments.chunking import make_cutter
from genser.segments.options import DEFAULTS, SegmentOptions
from genser.segments.timeline import BLOCK_DURATION, Scorer, cut
from genser.segments.turns import Turn


class AdaptableScorer(Scorer, Protocol):
    """A `Recognizer`, or anything else that learns profiles."""

    def adapted(self, to: Any) -> Scorer:
        """The same scorer with a profile."""

    def learn_profile(self, sources: Sequence[AudioSource], *, channel: Channel) -> Any:
        """Learn a profile from recordings."""

    def learn_profiles(self, clips: Iterator[tuple[str | None, np.ndarray]]) -> Mapping[str | None, Any]:
        """Learn a profile of each speaker."""


def self_adapted(
    recognizer: AdaptableScorer,
    source: AudioSource,
    options: SegmentOptions = DEFAULTS,
    *,
    turns: Sequence[Turn] | None = None,
    channel: Channel = "mix",
    limits: AudioLimits = STREAM_LIMITS,
) -> tuple[Scorer, Mapping[str | None, Scorer]]:
    """Adapt a recogniser to a recording, or to each speaker of its turns.

    The profile of a speaker is shrunk towards that of all turns. docs/research.md has what either gains.

    Args:
        recognizer: It is not changed.
        source: A recording that can be read more than once.
        options: How turns are cut.
        turns: Speaker turns.
        channel: As for :func:`genser.segments.timeline.recognize_timeline`; turns that name none are read from the mix
            if it is "each".
        limits: Bounds beyond which the recording is refused.

    Returns:
        The recogniser for the recording, and those of speakers. Where there is no speech, it is not adapted.

    Raises:
        AudioError: The recording cannot be read.
    """
    try:
        if turns is None:
            return recognizer.adapted(recognizer.learn_profile([source], channel=channel)), {}
        learned = recognizer.learn_profiles(_clips(source, options, turns, channel, limits))
    except NothingToLearnError:
        return recognizer, {}
    return recognizer, {name: recognizer.adapted(profile) for name, profile in learned.items()}


def _clips(
    source: AudioSource, options: SegmentOptions, turns: Sequence[Turn], channel: Channel, limits: AudioLimits
) -> Iterator[tuple[str | None, np.ndarray]]:
    """Speaker and waveform of every turn; long turns in parts."""
    numbers: Sequence[Channel] = (channel,)
    if channel == "each":  # turns on channels that the recording does not have are a problem of its timeline
        channels = count_channels(source, limits)
        numbers = sorted({turn.channel or 0 for turn in turns if (turn.channel or 0) <= channels})
    for number in numbers:
        chosen = turns if channel != "each" else [turn for turn in turns if (turn.channel or 0) == number]
        stream = stream_audio(source, channel=number or "mix", block_duration=BLOCK_DURATION, limits=limits)
        for chunk in cut(stream, make_cutter(options, chosen)):
            yield chunk.speaker, chunk.waveform
