"""Runs of ``genser predict`` that can be resumed: results are kept beside the output until it is complete."""

import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genser._version import __version__
from genser.cli._notes import note
from genser.errors import ConfigError
from genser.storage import StoredFile

if TYPE_CHECKING:
    from genser.inference.prediction import Prediction
    from genser.output.journal import Journal
    from genser.segments.segment import Timeline


def journal_path(output: Path, *, is_folder: bool = False) -> Path:
    """Name of the journal: beside the file that is written, or in the folder."""
    if is_folder:
        return output / "genser.part"
    target = output.resolve() if output.is_symlink() else output
    return target.with_name(f"{target.name}.part")


def is_journaled(output: Path | StoredFile | None, inputs: Sequence[str], *, is_folder: bool = False) -> bool:
    """Whether the results for an output are kept in a journal: those of several inputs that go to local files."""
    if output is None or isinstance(output, StoredFile):
        return False
    if output.exists() and not (output.is_dir() if is_folder else output.is_file()):
        return False  # standard output, a device or a FIFO: results are written as they come
    return len(inputs) > 1 or journal_path(output, is_folder=is_folder).exists()


@contextmanager
def open_run(output: Path, about: Mapping[str, Any], *, resume: bool, is_folder: bool = False) -> Iterator["Journal"]:
    """Open the journal of a run; if the run does not end well, a message says how to continue it.

    Args:
        output: The file or the folder that is written.
        about: The options that decide the results.
        resume: Whether to continue a run that was stopped.
        is_folder: Whether the output is a folder.

    Raises:
        ConfigError: See :func:`genser.output.journal.open_journal`.
    """
    from genser.output.journal import open_journal

    path = journal_path(output, is_folder=is_folder)
    _make_folder(path.parent)
    about = {"genser": __version__, **about}
    with open_journal(path, about, resume=resume, report=_report) as journal:
        if output.is_file():
            path.chmod(stat.S_IMODE(output.stat().st_mode))
        yield journal


@contextmanager
def locked(output: Path | StoredFile | None) -> Iterator[None]:
    """Lock the output of one input against other runs, by the journal that several inputs have.

    Raises:
        ConfigError: Another run writes this output.
    """
    if not isinstance(output, Path) or (output.exists() and not output.is_file()):
        yield
        return
    from genser.output.journal import open_alone

    path = journal_path(output)
    _make_folder(path.parent)
    with open_alone(path):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made: {error.strerror}. Choose another output.") from error


def fill(
    journal: "Journal",
    inputs: Sequence[str],
    recognize: Callable[[Sequence[str]], Iterable["Sequence[Prediction | Timeline]"]],
    is_kept: Callable[[str], bool] = lambda _: True,
) -> int:
    """Recognise what the journal lacks, and keep each result at once.

    Args:
        journal: Of this run.
        inputs: All inputs.
        recognize: Recognises some inputs, in their order: for each one or more results, such as one per channel.
        is_kept: Whether the file that was written for an input is still there.

    Returns:
        Number of inputs that failed.
    """
    pending = journal.pending(inputs, is_kept)
    if skipped := len(set(inputs)) - len(pending):
        _report(f"{skipped:,} of {len(set(inputs)):,} inputs were recognised before and are skipped.")
    failed = 0
    for name, results in zip(pending, recognize(pending), strict=True):
        # tables do not need the envelope
        values = [{key: value for key, value in asdict(one).items() if key != "envelope"} for one in results]
        is_failed = any(one.error is not None for one in results)
        journal.add(name, values, failed=is_failed)
        failed += is_failed
    return failed


def model_digest(model: str | None) -> str | None:
    """Start of the SHA-256 of a model; None if it cannot be read."""
    from genser.inference.load import find_model, model_hash

    path = find_model(model)
    try:
        return model_hash(path)[:12]
    except OSError:
        return None  # loading the model says why


def _report(sentence: str) -> None:
    note(f"genser: {sentence}")
