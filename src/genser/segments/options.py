"""How a recording is cut and how its segments are decided, as one validated value."""

from collections.abc import Mapping
from dataclasses import dataclass

from genser.errors import ConfigError

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
"""Smallest and largest value of each number in `SegmentOptions`."""


@dataclass(frozen=True)
class SegmentOptions:
    """How a recording becomes segments.

    Attributes:
        window: Length of fixed windows in seconds; None looks for speech instead.
        hop: Step between windows in seconds; None takes the window's length.
        threshold: Speech probability from which a frame is speech.
        min_speech: Shortest stretch of speech in seconds.
        min_silence: Pause in seconds that ends a stretch of speech.
        max_duration: Longest segment in seconds that is recognised at once; longer speech is cut at its weakest frame.
        context: Sound in seconds on either side of a stretch of speech that the model hears as well.
        smoothing: ``"posterior"`` (forward–backward over the recording), ``"viterbi"`` (the most probable sequence of
            labels), ``"causal"`` (the past alone, as a stream does) or ``"none"``.
        emotion_duration: Mean time in seconds until a speaker's emotion is drawn anew. None fits it to the recording,
            around what was measured on MELD: 3.4 where turns name their speaker, else 1.4; causal smoothing, which
            cannot look ahead, takes these as they are. See :mod:`genser.segments.smoothing`.
        prior: Share of each label in the training data, by which scores are divided; None means equal shares.
        confidence: Score from which a segment counts as confident. Scores are calibrated, so that 0.5 is the point
            from which the label is more probably right than wrong.
        merge: Neighbours of one label (and speaker) no further apart than this, in seconds, become one; None keeps
            them apart.
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
    prior: Mapping[str, float] | None = None
    confidence: float = 0.5
    merge: float | None = None

    def __post_init__(self) -> None:
        self._check_windows()
        if self.smoothing not in SMOOTHINGS:
            raise ConfigError(f"Unknown smoothing {self.smoothing!r}: use one of {', '.join(SMOOTHINGS)}.")
        for name, (low, high) in BOUNDS.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ConfigError(f"{name} must lie in [{low:g}, {high:g}], got {value}.")

    def _check_windows(self) -> None:
        if self.window is None and self.hop is not None:
            raise ConfigError(f"hop {self.hop} needs a window. Give both, such as --window 4 --hop 1.")
        if self.window is not None and self.hop is not None and self.hop > self.window:
            raise ConfigError(
                f"hop {self.hop:g} is longer than the window of {self.window:g} s, which would skip sound. "
                "Choose a hop no longer than the window."
            )

    @property
    def step(self) -> float:
        """Hop of fixed windows in seconds."""
        return self.hop or self.window or 0.0


DEFAULTS = SegmentOptions()
LIVE = SegmentOptions(smoothing="causal")
