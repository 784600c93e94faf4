"""Options of ``genser predict`` for emotion over time, and the checks of their combinations."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, make_dataclass
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from genser.errors import ConfigError
from genser.segments.options import CUTS, DEFAULTS, LIVE, SegmentOptions

GROUP = "Emotion over time"
ADVANCED = "Emotion over time, advanced: how recordings are cut and smoothed"
PLAIN = ("confidence", "merge")
"""Options of segments that are not advanced."""

SPEECH_DETECTION = ("window", "hop", "threshold", "min_speech", "min_silence", "context")
"""Options that define where segments are, and therefore contradict turns."""


def _flag(name: str, kind: Any) -> tuple[str, Any, None]:
    """An option of the command line from a field of SegmentOptions; None stands for an option that is not given."""
    default = getattr(DEFAULTS, name)
    shown = (lambda _: default) if default is not None else False
    group = GROUP if name in PLAIN else ADVANCED
    return name, Annotated[kind | None, Parameter(show_default=shown, group=group)], None


SegmentFlags = Parameter(name="*")(
    make_dataclass(
        "SegmentFlags",
        [_flag(field.name, field.type) for field in fields(SegmentOptions)],
        frozen=True,
        namespace={"__doc__": SegmentOptions.__doc__, "__module__": __name__},
    )
)
"""The fields of SegmentOptions as options, with the help of its docstring."""


@Parameter(name="*", group=GROUP)
@dataclass(frozen=True)
class OverTime:
    """What is recognised over time, and the files and devices for it.

    Attributes:
        segments: Recognise the emotions in recordings over time, one row per segment instead of one row per file.
        summary: Recognise them over time, and write one row per recording, channel and speaker: seconds of speech, and
            for each emotion its share, mean score, longest stretch and change from the first to the last third.
        microphone: Recognise live audio, one line per segment, until Ctrl-C.
        cut: What the recordings are, which chooses the advanced options: talk (default; people who speak for a while),
            calls (short answers count, neighbours with one emotion are one row) or clips (independent clips in one
            file). Advanced options that are given as well take precedence.
        turns: File with speaker turns to recognise instead of detected speech: RTTM, a table, SubRip, WebVTT, TextGrid,
            ELAN, a label track of Audacity, or JSON of whisper or whisperX.
        picture: Also draw the recording: .png, .svg or .pdf, or a folder for one picture per recording.
        input_device: Name or number of the microphone; the system's default if omitted.
    """

    segments: Annotated[bool, Parameter(negative="", show_default=False)] = False
    summary: Annotated[bool, Parameter(negative="", show_default=False)] = False
    microphone: Annotated[bool, Parameter(negative="", show_default=False)] = False
    cut: Literal[tuple(CUTS)] | None = None  # pyrefly: ignore[invalid-literal] - cyclopts reads it at run time
    turns: str | None = None
    picture: str | None = None
    input_device: str | None = None

    @property
    def of_recordings(self) -> bool:
        """Whether recordings, not live audio, are recognised over time."""
        return self.segments or self.summary


def check_combination(
    over_time: OverTime, flags: Any, paths: Sequence[str], output: str | None, batch_seconds: float | None
) -> SegmentOptions:
    """Refuse options that contradict each other or have no effect, and return the options for the segments.

    Raises:
        ConfigError: The options do not go together, or one is out of range.
    """
    flagged = {} if flags is None else {f.name: getattr(flags, f.name) for f in fields(flags)}
    chosen: dict[str, Any] = {name: value for name, value in flagged.items() if value is not None}
    given = [name for name in ("cut", "turns", "picture", "input_device") if getattr(over_time, name) is not None] + [
        *chosen
    ]
    if over_time.of_recordings and over_time.microphone:
        name = "--segments" if over_time.segments else "--summary"
        raise ConfigError(f"{name} is for recordings and --microphone for live audio. Give one of them.")
    if not (over_time.of_recordings or over_time.microphone):
        if given:
            raise ConfigError(f"{_options(given)} without --segments would have no effect. Add --segments.")
        return DEFAULTS
    if batch_seconds is not None:
        raise ConfigError("--batch-seconds has no effect with --segments and --microphone. Omit it.")
    if over_time.of_recordings and over_time.input_device is not None:
        raise ConfigError("--input-device chooses a microphone. Give --microphone instead of --segments.")
    if over_time.turns is not None and (contradicting := [name for name in SPEECH_DETECTION if name in chosen]):
        raise ConfigError(f"{_options(contradicting)} and --turns both define where segments are. Omit one of them.")
    if over_time.turns is not None and over_time.cut is not None:
        raise ConfigError("--cut and --turns both define where segments are. Omit one of them.")
    if over_time.microphone:
        _check_live(given, chosen, paths, output)
        chosen = {"smoothing": LIVE.smoothing, **chosen}
    return SegmentOptions(**{**CUTS[over_time.cut or "talk"], **chosen})


def _check_live(given: list[str], chosen: dict[str, Any], paths: Sequence[str], output: str | None) -> None:
    if paths:
        raise ConfigError(f"--microphone takes no file, got {paths[0]}. Give --segments instead, or no file.")
    if complete := [name for name in ("cut", "turns", "picture", "merge") if name in given]:
        raise ConfigError(f"{_options(complete)} needs a complete recording, not live audio. Omit it.")
    if chosen.get("smoothing", LIVE.smoothing) not in ("causal", "none"):
        raise ConfigError(
            f"--smoothing {chosen['smoothing']} looks ahead, which live audio does not allow. Use causal."
        )
    if output is not None and output != "-":
        raise ConfigError(f"Live segments go to standard output, not to {output}. Write: --microphone > {output}")


def _options(names: Iterable[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)
