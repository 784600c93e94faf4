"""Options of ``genser predict`` for emotion over time, which of them go together, and what they set going."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from genser.errors import ConfigError

if TYPE_CHECKING:
    from genser.inference.recognizer import Recognizer
    from genser.segments.options import SegmentOptions

KINDS = ("segments", "microphone")
PLACES = ("turns", "picture", "input_device")
"""Options that are not the library's, but files and devices."""
SEARCH = ("window", "hop", "threshold", "min_speech", "min_silence", "context")
"""Options that say where speech is; turns say it themselves."""
WHOLE = ("turns", "picture", "merge")
"""Options that need a recording to its end."""
LIVE_FORMATS = ("jsonl", "csv", "tsv", "json", "labels", "rttm", "srt", "vtt")


@Parameter(name="*", group="Emotion over time")
@dataclass(frozen=True)
class OverTime:
    """How recordings and live sound are cut into segments; None is the library's default.

    Attributes:
        segments: Recognise recordings over time: a row a segment instead of a row a file.
        microphone: Recognise live sound, a line a segment, until Ctrl-C.
        window: Length of fixed windows in seconds; without it speech is looked for.
        hop: Step between windows in seconds; the window's length by default.
        turns: File of stretches to recognise: .rttm, .csv, .tsv, .srt or .vtt.
        threshold: Speech probability from which sound is speech; 0.5 by default.
        min_speech: Shortest stretch of speech in seconds; 0.25 by default.
        min_silence: Pause in seconds that ends a stretch of speech; 0.3 by default.
        max_duration: Longest segment in seconds that is recognised at once; 8 by default.
        context: Sound in seconds on either side that the model hears as well; 0.2 by default.
        smoothing: posterior (default), viterbi, causal (default of live sound) or none.
        emotion_duration: Mean seconds until an emotion is drawn anew; fitted to the recording by default.
        confidence: Score from which a segment counts as confident; 0.5 by default.
        merge: Join neighbours of one label that are no further apart than this, in seconds.
        picture: Picture of the recording, .png, .svg or .pdf; or a folder for one picture a recording.
        input_device: Name or number of the microphone; the system's own by default.
    """

    segments: Annotated[bool, Parameter(negative="", show_default=False)] = False
    microphone: Annotated[bool, Parameter(negative="", show_default=False)] = False
    window: float | None = None
    hop: float | None = None
    turns: Path | None = None
    threshold: float | None = None
    min_speech: float | None = None
    min_silence: float | None = None
    max_duration: float | None = None
    context: float | None = None
    smoothing: str | None = None
    emotion_duration: float | None = None
    confidence: float | None = None
    merge: float | None = None
    picture: Path | None = None
    input_device: str | None = None

    @property
    def is_asked(self) -> bool:
        """Whether anything but a label a file is asked for."""
        return self.segments or self.microphone

    def check(self, paths: Sequence[str], output: Path | None, format: str | None, batch_seconds: float | None) -> None:
        """Refuse options that do not go together, before any work.

        Raises:
            ConfigError: Two options contradict each other, or one would do nothing.
        """
        given = self._given()
        if self.segments and self.microphone:
            raise ConfigError("--segments is for recordings, --microphone for live sound. Give one of them.")
        if given and not self.is_asked:
            raise ConfigError(f"{_named(given)} without --segments would do nothing. Add --segments.")
        if self.is_asked and batch_seconds is not None:
            raise ConfigError(
                "--batch-seconds is for one label a file; emotion over time does not use it. Leave it out."
            )
        if self.segments and self.input_device is not None:
            raise ConfigError("--input-device chooses a microphone. Give --microphone instead of --segments.")
        if self.turns is not None and (search := [name for name in SEARCH if name in given]):
            raise ConfigError(f"{_named(search)} and --turns both say where speech is. Leave one of them out.")
        if self.microphone:
            self._check_live(given, paths, output, format)

    def run(
        self, load: "Callable[[], Recognizer]", paths: Sequence[str], output: Path | None, format: str | None
    ) -> int:
        """Recognise recordings, or live sound; see `predict_segments` and `predict_microphone`.

        Args:
            load: Gives the recogniser, once all options are known to be right.
            paths: Recordings, folders, patterns.
            output: See `predict_segments`.
            format: Likewise.
        """
        from genser.cli._inputs import find_inputs
        from genser.cli._segments import predict_microphone, predict_segments

        options = self._options()
        if self.microphone:
            return predict_microphone(load(), options, format=format, device=self.input_device)
        recordings = find_inputs(paths)
        return predict_segments(
            load(), recordings, options, output=output, format=format, picture=self.picture, turns=self.turns
        )

    def _given(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in KINDS}
        return {name: value for name, value in values.items() if value is not None}

    def _options(self) -> "SegmentOptions":
        from genser.segments.options import SegmentOptions

        chosen = {name: value for name, value in self._given().items() if name not in PLACES}
        return SegmentOptions(**({"smoothing": "causal"} if self.microphone else {}) | chosen)

    def _check_live(self, given: dict[str, Any], paths: Sequence[str], output: Path | None, format: str | None) -> None:
        if paths:
            raise ConfigError(
                f"--microphone takes no file, but {paths[0]} is named. Give --segments instead, or no file."
            )
        if whole := [name for name in WHOLE if name in given]:
            raise ConfigError(f"Live sound has no end to wait for, as {_named(whole)} would. Leave it out.")
        if self.smoothing not in (None, "causal", "none"):
            raise ConfigError(f"--smoothing {self.smoothing} would look ahead of live sound. Use causal or none.")
        if output is not None:
            raise ConfigError(f"Live segments go to standard output, not to {output}. Write: --microphone > {output}")
        if format not in (None, *LIVE_FORMATS):
            raise ConfigError(f"Live segments cannot be written as {format!r}: use one of {', '.join(LIVE_FORMATS)}.")


def _named(names: Iterable[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)
