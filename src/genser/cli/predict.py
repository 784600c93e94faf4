"""``genser predict``: the emotion of every input, or emotions over time."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from genser.cli._bulk import Bulk, bulk_of, predict_bulk
from genser.cli._notes import note, notes
from genser.cli._over_time import OverTime, SegmentFlags, check_combination
from genser.errors import ConfigError, counted

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from genser.audio import Channel
    from genser.cli._channels import MixedChannels
    from genser.cli._progress import Bars
    from genser.inference.prediction import Prediction
    from genser.inference.recognizer import Recognizer
    from genser.output.formats import Format
    from genser.storage import StoredFile

MANY = 64  # inputs from which processes decode for a GPU, if there are many cores
LONG = 120.0  # s, from which one label is a doubtful summary of a recording


def predict(
    *paths: Annotated[str, Parameter(allow_leading_hyphen=True)],
    model: str | None = None,
    encoder: str | None = None,
    task: str | None = None,
    format: str | None = None,
    output: Annotated[str | None, Parameter(alias="-o", allow_leading_hyphen=True)] = None,
    channel: str | None = None,
    batch_seconds: float | None = None,
    threads: int | None = None,
    device: str = "cpu",
    classes: str | None = None,
    prior: str | None = None,
    profile: str | None = None,
    adapt: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    over_time: OverTime | None = None,
    segment_flags: SegmentFlags | None = None,
    resume: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    bulk: Bulk | None = None,
) -> int:
    """Recognise the emotion of audio files, of the audio files in folders, of patterns, or of standard input.

    With --segments emotion over time, with --summary summed up, with --microphone live. Exit code 1 if some inputs
    failed, 2 for wrong usage.

    Example: genser predict calls/ -o calls.csv

    Args:
        paths: Audio or video files, folders (searched to any depth), patterns, URLs of them such as s3://bucket/folder
            (needs the extra [s3]), or "-" for standard input.
        model: "base" (default) or "tiny", an ONNX file, a model folder, or "hf:owner/name".
        encoder: Present source of the encoder of a model folder, if it was moved: "kind:path", a path, or a hub id.
        task: emotion (default), or gender: the gender of the voice as the corpora of the model label it.
        format: text (default), json, jsonl, csv, tsv or parquet; if omitted, the ending of the output decides. With
            --segments also labels (Audacity), textgrid, rttm, srt, vtt, png, svg or pdf; the default is then text on
            a terminal and csv elsewhere, and jsonl for live audio.
        output: File or URL to write instead of standard output ("-"); it appears once it is complete. With --segments
            also a folder (an existing one, or a name without an ending or with a final "/") for one file per recording.
        channel: Channel to recognise: a number from 1, "each" for a result per channel, or "mix" (default) for the
            mean of all channels, of those that cancel each other one. Mixing different channels, such as the two sides
            of a call, gives a hint unless this is given.
        batch_seconds: Length of audio in a batch in seconds, if omitted 60, on a GPU 600; smaller batches need less
            memory.
        threads: CPU cores to use; all if omitted.
        device: Where the model runs: "cpu", a GPU such as "cuda" or "cuda:1" (needs the extra [train]), or "auto": the
            GPU if there is one, else the CPU.
        classes: Classes that can occur in the recordings, such as anger,happiness,neutral; all if omitted.
        prior: Share of each class in the recordings, such as anger=0.2,neutral=0.8; equal shares if omitted.
        profile: Adapt the model to recordings from elsewhere, by a file that genser adapt has made of such recordings.
        adapt: Learn a profile from the inputs themselves first, and apply it to all of them. They should come from one
            microphone, room, language or speaker. With --segments, each recording gets a profile of its own, with
            --turns each of its speakers. Takes twice as long.
        over_time: What is recognised over time, and the files and devices for it.
        segment_flags: How segments are cut and smoothed.
        resume: Continue a run with -o that was stopped: skip what it has recognised, and try failed inputs again. Until
            the output is complete, results are kept beside it, in a file with the further ending ".part".
        bulk: Where a bulk run is computed.

    Returns:
        0 if all went well, 1 if some inputs failed.
    """
    from genser.audio.mixing import check_channel
    from genser.cli._channels import MixedChannels
    from genser.cli._inputs import find_inputs
    from genser.cli._outputs import check_file, output_path
    from genser.cli._resume import model_digest
    from genser.inference.load import load
    from genser.inference.profile import Profile
    from genser.output.formats import find_format

    _refuse_options(paths)
    over_time = over_time or OverTime()
    mixed = MixedChannels(is_chosen=channel is not None)
    chosen_channel = check_channel("mix" if channel is None else int(channel) if channel.isdecimal() else channel)
    options = check_combination(over_time, segment_flags, paths, output, batch_seconds)
    given = {"--format": format, "--adapt": adapt, "--resume": resume}
    if chosen_bulk := bulk_of(bulk, _without_bulk(given, over_time, paths)):
        job = {"model": model, "task": task, "classes": classes, "prior": prior, "profile": profile}
        job |= {"source": encoder, "channel": chosen_channel, "segments": options}
        kind = "segments" if over_time.of_recordings else "predict"
        return predict_bulk(chosen_bulk, kind, job, paths, output, device, threads, batch_seconds, mixed)
    path = output_path(output)
    if resume and not isinstance(path, Path):
        raise ConfigError("--resume continues the output of -o. Name a local file or folder.")
    if adapt and profile:
        raise ConfigError("--adapt learns a profile, and --profile names one. Omit one of them.")
    learned = Profile.load(profile) if profile else None
    about_model = {"task": task, "encoder": encoder, "profile": learned, "classes": classes, "prior": prior}
    load_model = partial(load, model, threads=threads, device=device, **about_model)
    if over_time.microphone:
        if adapt:
            raise ConfigError("--adapt needs recordings. For a microphone, use --profile.")
        if chosen_channel != "mix":
            raise ConfigError("--channel has no effect with --microphone, which has one channel. Omit it.")
        from genser.cli._segments import predict_microphone

        return predict_microphone(load_model, options, format=format, device=over_time.input_device)
    inputs = find_inputs(paths)
    # Whatever else decides the results belongs here too, so that a run is never resumed with other options.
    about: dict[str, Any] = {"--segments": over_time.of_recordings, "--model": output and model_digest(model)}
    about |= {"--task": task, "--channel": chosen_channel, "--classes": classes, "--prior": prior, "--adapt": adapt}
    about["--profile"] = learned and learned.digest
    if adapt and "-" in inputs:
        raise ConfigError("--adapt reads every input twice, which standard input does not allow. Name files.")
    if over_time.of_recordings:
        from genser.cli._segments import predict_segments

        how: dict[str, Any] = {"format": format, "channel": chosen_channel, "adapt": adapt, "about": about}
        how |= {"resume": resume, "model": model, "summary": over_time.summary, "given": paths, "mixed": mixed}
        files = {"output": output, "picture": over_time.picture, "turns": over_time.turns}
        return predict_segments(load_model, inputs, options, **files, **how)
    if path is not None:
        check_file(path, inputs)
    chosen = find_format("predictions", path, format, "text")
    recognizer = _adapted(load_model(), inputs, chosen_channel) if adapt else load_model()
    if adapt and recognizer.profile:  # other recordings, or mended ones, give all of them other results
        about["--adapt with the profile"] = recognizer.profile.digest
    with _pool(device, inputs) as pool:
        run = _ClipRun(recognizer, paths, inputs, chosen, chosen_channel, mixed, batch_seconds, model, pool)
        run.write(path, about, resume)
    return run.report()


@contextmanager
def _pool(device: str, inputs: Sequence[str]) -> "Iterator[Executor | None]":
    """Processes that decode many inputs for a GPU where there are many cores; None if threads suffice."""
    from genser.inference.load import found_device

    if len(inputs) < MANY or found_device(device) == "cpu":
        yield None
        return
    from genser.data.features import decoding_pool

    with decoding_pool() as pool:
        yield pool


def _adapted(recognizer: "Recognizer", inputs: list[str], channel: "Channel") -> "Recognizer":
    """The model, adapted to the inputs."""
    profile = recognizer.learn_profile(inputs, channel=channel)
    if profile.remark:
        note(f"genser: {profile.remark}")
    return recognizer.adapted(profile)


@dataclass
class _ClipRun:
    """Recognises clips, writes them, and counts what deserves a remark."""

    recognizer: "Recognizer"
    given: Sequence[str]
    inputs: list[str]
    format: "Format"
    channel: "Channel"
    mixed: "MixedChannels"
    batch_seconds: float | None
    model: str | None
    pool: "Executor | None" = None
    failed: set[str] = field(default_factory=set)
    remarked: int = 0
    out_of_domain: int = 0
    long: int = 0

    def write(self, output: "Path | StoredFile | None", about: Mapping[str, Any], resume: bool) -> None:
        """Write the results as they come, or keep them in a journal until the output can be written."""
        from genser.cli._outputs import open_output
        from genser.cli._progress import progress_bars
        from genser.cli._resume import fill, is_journaled, locked, open_run
        from genser.inference.prediction import Prediction

        is_shown = len(self.inputs) == 1 or output is not None or not sys.stdout.isatty()  # rows show progress too
        labels = self.recognizer.labels
        with progress_bars(is_shown) as bars:
            if output is None or not is_journaled(output, self.inputs):
                with locked(output), open_output(output) as file:
                    results = chain.from_iterable(self._recognized(self.inputs, bars))
                    self.format.write("predictions", self._counted(results), file, labels)
                return
            assert isinstance(output, Path)  # others are not journaled
            with open_run(output, about, resume=resume) as journal:
                failed = fill(journal, self.inputs, lambda some: self._recognized(some, bars))
                results = (Prediction(**row) for row in journal.results(self.inputs))
                with open_output(output) as file:
                    self.format.write("predictions", self._counted(results), file, labels)
                journal.finish(failed=failed > 0)

    def _recognized(self, inputs: Sequence[str], bars: "Bars") -> Iterator[list["Prediction"]]:
        """The results of each input."""
        for done, results in enumerate(self._grouped(inputs, bars), len(self.inputs) - len(inputs) + 1):
            if len(self.inputs) > 1:
                bars("predict", done, len(self.inputs))
            yield results

    def _grouped(self, inputs: Sequence[str], bars: "Bars") -> Iterator[list["Prediction"]]:
        """One result per input as soon as it comes, or those of all its channels."""
        from genser.cli._progress import show_minutes

        def within(done: float, total: float) -> None:
            if total > LONG:
                show_minutes(bars, done, total)

        how: dict[str, Any] = {"channel": self.channel, "batch_seconds": self.batch_seconds, "pool": self.pool}
        predictions = self.recognizer.predict_many(inputs, progress=within, **how)
        if self.channel != "each":
            yield from ([prediction] for prediction in predictions)
            return
        results: list[Prediction] = []
        for prediction in predictions:
            if results and prediction.channel in (None, 1):
                yield results
                results = []
            results.append(prediction)
        if results:
            yield results

    def _counted(self, predictions: Iterator["Prediction"]) -> Iterator["Prediction"]:
        for prediction in predictions:
            if prediction.error is not None:
                self.failed.add(prediction.path)
            self.remarked += self.mixed.others(prediction.path, prediction.remark, prediction.mixed) is not None
            self.out_of_domain += prediction.is_out_of_domain
            self.long += (prediction.duration or 0) > LONG
            yield prediction

    def report(self) -> int:
        """Print the remarks on all results, and return the exit code."""
        remarks = []
        if self.failed and self.format.name != "text":
            remarks.append(
                f"{len(self.failed)} of {counted(len(self.inputs), 'input')} failed; see the column 'error'."
            )
        if self.remarked and self.format.name != "text":
            remarks.append(f"{counted(self.remarked, 'result has', 'results have')} a remark; see the column 'remark'.")
        if self.out_of_domain:
            from genser.cli._unfamiliar import unfamiliar_hint

            usable = [name for name in self.given if name not in self.failed]
            about = self.out_of_domain, "result", usable, self.recognizer, self.model
            remarks.append(unfamiliar_hint(*about, channel=self.channel))
        if self.long:
            remarks.append(
                f"{counted(self.long, 'recording is', 'recordings are')} longer than {LONG / 60:.0f} minutes, and a "
                "recording gets one label. To recognise emotion over time, add --segments."
            )
        for remark in [*remarks, *self.mixed.hint()]:
            notes(f"genser: {remark}")
        return 1 if self.failed else 0


def _without_bulk(given: Mapping[str, Any], over_time: OverTime, paths: Sequence[str]) -> dict[str, Any]:
    """Options that a bulk run does not take, with their values."""
    about = {f"--{name}": getattr(over_time, name) for name in ("microphone", "turns", "picture", "summary")}
    return {**given, **about, "standard input": "-" in paths}


def _refuse_options(paths: tuple[str, ...]) -> None:
    """Refuse unknown options: as "-" is an input, all words that start with "-" arrive as paths.

    Raises:
        ConfigError: A path looks like an option and does not exist.
    """
    for path in paths:
        if path.startswith("-") and path != "-" and not os.path.exists(path):  # noqa: PTH110
            from genser.cli._options import is_option, unknown_option

            if is_option("predict", path):
                raise ConfigError(f"The option {path!r} stands after '--', where all words are files. Put it before.")
            raise ConfigError(f"{unknown_option('predict', path)} A file of that name is './{path}'.")
