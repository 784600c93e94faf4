"""``genser predict``: the emotion of every input, or emotions over time."""

import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from genser.cli._over_time import OverTime, SegmentFlags, check_combination
from genser.errors import ConfigError

if TYPE_CHECKING:
    from genser.inference.prediction import Prediction
    from genser.inference.recognizer import Recognizer
    from genser.output.formats import Format

BATCH_SECONDS = 60.0


def predict(
    *paths: Annotated[str, Parameter(allow_leading_hyphen=True)],
    model: str | None = None,
    encoder: str | None = None,
    format: str | None = None,
    output: Annotated[str | None, Parameter(alias="-o", allow_leading_hyphen=True)] = None,
    batch_seconds: float | None = None,
    threads: int | None = None,
    device: str = "cpu",
    over_time: OverTime | None = None,
    segment_flags: SegmentFlags | None = None,
) -> int:
    """Recognise the emotion of audio files, of the audio files in folders, of patterns, or of standard input.

    With --segments emotion over time, with --microphone live. Exit code 1 if some inputs failed, 2 for wrong usage.

    Args:
        paths: Audio or video files, folders (searched to any depth), patterns, or "-" for standard input.
        model: "base" (default) or "tiny", an ONNX file, or a model folder.
        encoder: Present source of the encoder of a model folder, if it was moved: "kind:path", a path, or a hub id.
        format: text (default), json, jsonl, csv, tsv or parquet; if omitted, the ending of the output decides. With
            --segments also labels (Audacity), textgrid, rttm, srt, vtt, png, svg or pdf; the default is then csv, and
            jsonl for live audio.
        output: File to write instead of standard output ("-"); it appears once it is complete. With --segments also a
            folder (an existing one, or a name without an ending or with a final "/") for one file per recording.
        batch_seconds: Length of audio in a batch in seconds, 60 if omitted; smaller batches need less memory.
        threads: CPU cores to use; all if omitted.
        device: Where a model folder runs: "cpu" or "cuda".
        over_time: What is recognised over time, and the files and devices for it.
        segment_flags: How segments are cut and smoothed.

    Returns:
        0 if all went well, 1 if some inputs failed.
    """
    from genser.cli._inputs import find_inputs
    from genser.cli._outputs import check_file, output_path
    from genser.inference.load import load
    from genser.output.formats import find_format

    _refuse_options(paths)
    over_time = over_time or OverTime()
    path = output_path(output)
    options = check_combination(over_time, segment_flags, paths, output, batch_seconds)
    load_model = partial(load, model, threads=threads, device=device, encoder=encoder)
    if over_time.microphone:
        from genser.cli._segments import predict_microphone

        return predict_microphone(load_model, options, format=format, device=over_time.input_device)
    inputs = find_inputs(paths)
    if over_time.segments:
        from genser.cli._segments import predict_segments

        files = {"output": output, "picture": over_time.picture, "turns": over_time.turns}
        return predict_segments(load_model, inputs, options, format=format, **files)
    if path is not None:
        check_file(path, inputs)
    chosen = find_format("predictions", path, format, "text")
    return _predict_clips(load_model(), inputs, path, chosen, batch_seconds or BATCH_SECONDS)


def _predict_clips(
    recognizer: "Recognizer", inputs: list[str], output: Path | None, format: "Format", batch_seconds: float
) -> int:
    from genser.cli._outputs import open_output
    from genser.cli._progress import progress_bars

    failed = out_of_domain = 0
    is_shown = len(inputs) > 1 and (output is not None or not sys.stdout.isatty())

    def counted() -> "Iterator[Prediction]":
        nonlocal failed, out_of_domain
        for done, prediction in enumerate(recognizer.predict_many(inputs, batch_seconds=batch_seconds), 1):
            failed += prediction.error is not None
            out_of_domain += prediction.is_out_of_domain
            bars("predict", done, len(inputs))
            yield prediction

    with progress_bars() if is_shown else nullcontext(lambda *_: None) as bars, open_output(output) as file:
        format.write("predictions", counted(), file, recognizer.labels)
    if failed and format.name != "text":
        print(f"genser: {failed} of {len(inputs)} inputs failed; see the column 'error'.", file=sys.stderr)
    if out_of_domain and format.name == "text":
        print(
            f"genser: {out_of_domain} of {len(inputs)} files look out-of-domain (speaker, language, room, microphone "
            "or very short). Expect lower accuracy; see genser info --card.",
            file=sys.stderr,
        )
    return 1 if failed else 0


def _refuse_options(paths: tuple[str, ...]) -> None:
    """Refuse unknown options: as "-" is an input, all words that start with "-" arrive as paths.

    Raises:
        ConfigError: A path looks like an option and does not exist.
    """
    for path in paths:
        if path.startswith("-") and path != "-" and not os.path.exists(path):  # noqa: PTH110
            from genser.cli._options import unknown_option

            raise ConfigError(f"{unknown_option('predict', path)} A file of that name is './{path}'.")
