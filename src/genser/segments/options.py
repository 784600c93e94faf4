"""Options of emotion over time, as one validated dataclass; the command line and HTTP read it."""

from dataclasses import dataclass
from typing import Any

from genser.config import is_number
from genser.errors import ConfigError, suggestion

SMOOTHINGS = ("posterior", "viterbi", "causal", "none")
BOUNDS = {
    "window": (0.1, 30.0),
    "hop": (0.05, 30.0),
    "threshold": (0.16, 0.99),
    "min_speech": (0.032, 10.0),
    "min_silence": (0.032, 10.0),
    "max_duration": (1.0, 30.0),
    "context": (0.0, 2.0),
    "emotion_duration": (0.01, 3600.0),
    "confidence": (0.0, 1.0),
    "merge": (0.0, 3600.0),
}
"""Smallest and largest value of each number in :class:`SegmentOptions`."""


@dataclass(frozen=True)
class SegmentOptions:
    """How a recording is cut into segments, and how their labels are decided.

    Attributes:
        window: Length of fixed windows in seconds, instead of one segment per stretch of detected speech.
        hop: Step between windows in seconds; the length of the window if omitted.
        threshold: Speech probability from which a frame counts as speech.
        min_speech: Shortest stretch of speech in seconds; shorter ones are dropped.
        min_silence: Pause in seconds that ends a stretch of speech.
        max_duration: Longest segment in seconds; longer speech is cut where it is least speech-like.
        context: Audio in seconds on both sides of a stretch of speech that the model also receives.
        smoothing: How scores are smoothed over time: posterior (forward–backward over the recording), viterbi (most
            probable sequence of labels), causal (past only; the default for live audio) or none.
        emotion_duration: Mean time in seconds until the emotion of a speaker changes. If omitted, it is fitted to the
            recording around the values measured on MELD: 3.4 if turns name the speaker, else 1.4. Causal smoothing
            uses these values as they are.
        confidence: Score from which a segment counts as confident. Scores are calibrated, so from 0.5 on the label is
            more probably right than wrong.
        merge: Neighbours of one label and speaker that are at most this many seconds apart become one segment; they
            stay separate if omitted.
    """

    window: float | None = None
    hop: float | None = None
    threshold: float = 0.5
    min_speech: float = 0.25
    min_silence: float = 0.3
    max_duration: float = 8.0
    context: float = 0.2
    smoothing: str = "posterior"
    emotion_duration: float | None = None
    confidence: float = 0.5
    merge: float | None = None

    def __post_init__(self) -> None:
        self._check_windows()
        if self.smoothing not in SMOOTHINGS:
            raise ConfigError(f"Unknown smoothing {self.smoothing!r}. {suggestion(str(self.smoothing), SMOOTHINGS)}")
        for name, (low, high) in BOUNDS.items():
            value = getattr(self, name)
            if value is not None and not (is_number(value) and low <= value <= high):
                raise ConfigError(f"{name} must be a number in [{low:g}, {high:g}], got {value!r}.")

    def _check_windows(self) -> None:
        if self.window is None and self.hop is not None:
            raise ConfigError(f"hop {self.hop} needs a window. Give both, such as a window of 4 and a hop of 1.")
        if self.window is not None and self.hop is not None and self.hop > self.window:
            raise ConfigError(
                f"hop {self.hop} is longer than the window of {self.window:g} s, which would skip audio. "
                "Choose a hop no longer than the window."
            )

    @property
    def step(self) -> float:
        """Step between fixed windows in seconds; 0 without windows."""
        return self.hop or self.window or 0.0


DEFAULTS = SegmentOptions()
CUTS: dict[str, dict[str, Any]] = {
    "talk": {},
    "calls": {"min_speech": 0.1, "min_silence": 0.5, "merge": 1.0},
    "clips": {"smoothing": "none"},
}
"""Kind of recording → options that differ from the defaults. talk: one or more people who speak for a while. calls:
short answers such as "yes" are kept, the pauses of one speaker join, and neighbours of one label are one row. clips:
independent clips in one file, of which none says anything about the next."""

LIVE = SegmentOptions(smoothing="causal")
"""Defaults for live audio, which cannot look ahead."""
