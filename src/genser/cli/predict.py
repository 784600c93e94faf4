"""``genser predict``: one label and its scores for every input, or its emotions over time."""

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from genser.cli._over_time import OverTime
from genser.errors import ConfigError

if TYPE_CHECKING:
    from genser.inference.prediction import Prediction
    from genser.inference.recognizer import Recognizer

BATCH_SECONDS = 60.0  # of sound recognised at once
STRANGE = (
    "genser: unlike the recordings that the model learned from (in voice, language, room, microphone or length): "
    "{strange} of {all}. Expect more mistakes there; genser info --card says how many."
)


def predict(
    *paths: Annotated[str, Parameter(allow_leading_hyphen=True)],
    model: str | None = None,
    format: str | None = None,
    output: Annotated[Path | None, Parameter(alias="-o", allow_leading_hyphen=True)] = None,
    batch_seconds: float | None = None,
    threads: int | None = None,
    over_time: OverTime | None = None,
) -> int:
    """Recognise the emotion of files, of the sounds in folders, of what patterns match, or of standard input.

    With --segments emotion over time, with --microphone live. Exit code 1 if some inputs failed, 2 for wrong usage.

    Args:
        paths: Sound files, folders (searched to any depth), patterns, or "-" for standard input.
        model: "base" (default) or "tiny", an ONNX file, or a model folder.
        format: text (default), json, jsonl, csv, tsv or parquet; otherwise the output's ending decides. Over time csv
            (default; live jsonl), tsv, json, jsonl, parquet, labels (Audacity), textgrid, rttm, srt or vtt.
        output: File to write instead of standard output ("-"); it appears whole or not at all. With --segments also a
            picture, or a folder for one file a recording.
        batch_seconds: Sound recognised at once, in seconds; 60 by default.
        threads: Cores to use; all by default.
        over_time: How recordings and live sound are cut.

    Returns:
        0 if all went well, 1 if some inputs failed: their rows carry the reason.
    """
    from genser.cli._inputs import find_inputs
    from genser.inference.load import load
    from genser.output.predictions import format_of

    _refuse_options(paths)
    output = _file_of(output)
    over_time = over_time or OverTime()
    over_time.check(paths, output, format, batch_seconds)
    if over_time.is_asked:
        return over_time.run(lambda: load(model, threads=threads), paths, output, format)
    format = format_of(output, format)
    inputs = find_inputs(paths)
    return _predict_clips(
        load(model, threads=threads), inputs, output, format, BATCH_SECONDS if batch_seconds is None else batch_seconds
    )


def _predict_clips(
    recognizer: "Recognizer", inputs: list[str], output: Path | None, format: str, batch_seconds: float
) -> int:
    from genser.output.predictions import write_predictions

    is_shown = output is not None or not sys.stdout.isatty()
    tally = Tally(len(inputs), is_shown)
    answers = tally.counted(recognizer, inputs, batch_seconds)
    write_predictions(answers, output, format, recognizer.labels)
    if tally.failed and format != "text":
        print(f"genser: {tally.failed} of {len(inputs)} inputs failed; their rows say why", file=sys.stderr)
    if tally.out_of_domain and format == "text":
        print(STRANGE.format(strange=tally.out_of_domain, all=len(inputs)), file=sys.stderr)
    return 1 if tally.failed else 0


def _file_of(output: Path | None) -> Path | None:
    """Return the file that an output names: "-" is standard output, and an option in its place is a slip."""
    if output == Path("-"):
        return None
    if output is not None and str(output).startswith("-"):
        raise ConfigError(f"-o is followed by {str(output)!r}. Name a file; one of that name is './{output}'.")
    return output


class Tally:
    """Counts what failed and what is unlike all that was learned from.

    It shows how far the inputs are, on a terminal that nothing else is written to.
    """

    def __init__(self, total: int, is_shown: bool) -> None:
        self.total, self.is_shown, self.failed = total, is_shown and total > 1, 0
        self.out_of_domain = 0

    def counted(self, recognizer: "Recognizer", inputs: list[str], batch_seconds: float) -> "Iterator[Prediction]":
        """Recognise the inputs, one prediction each in their order."""
        from genser.cli._progress import progress_bars

        with progress_bars() if self.is_shown else nullcontext(lambda *_: None) as bars:
            for done, answer in enumerate(recognizer.predict_many(inputs, batch_seconds=batch_seconds), 1):
                self.failed += answer.error is not None
                self.out_of_domain += answer.is_out_of_domain
                bars("predict", done, self.total)
                yield answer


def _refuse_options(paths: tuple[str, ...]) -> None:
    """Name an unknown option: "-" is an input, and so all words that begin with it come here."""
    for path in paths:
        if path.startswith("-") and path != "-" and not Path(path).exists():
            raise ConfigError(
                f"Unknown option {path!r}. See: genser predict --help. A file of that name is './{path}'."
            )
