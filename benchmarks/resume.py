"""Time that a journal takes: a run over many files, and the same run stopped at 99 % and resumed, without a model.

Times per file must not grow with the number of files, or some work is quadratic.
"""

import contextlib
import io
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from _common import Claim, parser, taken

from genser import cli
from genser.inference.prediction import Prediction

LABELS = ("anger", "happiness", "neutral", "sadness")
SCORES = dict.fromkeys(LABELS, 0.25)


def recognizer(stop_after: float = float("inf")) -> Any:
    """Something that recognises at once, and is stopped after so many files."""

    def predict_many(sources: Sequence[str], **_: Any) -> Iterator[Prediction]:
        for done, source in enumerate(sources):
            if done == stop_after:
                raise KeyboardInterrupt
            yield Prediction(source, LABELS[0], SCORES, duration=2.0, speech=0.9, familiar=0.8)

    return SimpleNamespace(labels=LABELS, predict_many=predict_many)


def run(folder: Path, output: str, *more: str, stop_after: float = float("inf")) -> None:
    words = ["predict", str(folder / "calls"), "--model", str(folder / "model"), "-o", str(folder / output), *more]
    with (
        mock.patch("genser.inference.load.load", return_value=recognizer(stop_after)),
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.suppress(SystemExit),
    ):
        cli.app(words)


def measure(claim: Claim, folder: Path, count: int, ending: str) -> None:
    whole = taken(lambda: run(folder, f"whole.{ending}")).processor
    run(folder, f"out.{ending}", stop_after=count * 99 // 100)
    size = (folder / f"out.{ending}.part").stat().st_size
    resumed = taken(lambda: run(folder, f"out.{ending}", "--resume")).processor
    if (folder / f"out.{ending}").read_bytes() != (folder / f"whole.{ending}").read_bytes():
        raise AssertionError(f"The resumed {ending} differs from the whole one.")
    claim.add(
        f"{ending}, {count:,} files",
        **{"whole run, processor s": whole, "resumed at 99 %": resumed, "µs a file": 1e6 * resumed / count},
        **{"journal in MB": size / 1e6},
    )


def main() -> None:
    options = parser(__doc__, toy="60 files")
    options.add_argument("--files", type=int, default=100_000)
    arguments = options.parse_args()
    most = 60 if arguments.toy else arguments.files
    claim = Claim("resume", "100,000 finished results are read in seconds, and the time per file does not grow")
    claim.settings |= {"files": most, "toy": arguments.toy}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model").write_bytes(b"model")
        (folder / "calls").mkdir()
        for count in (most // 10, most):
            for index in range(count):
                (folder / "calls" / f"{index:06}.wav").touch()
            for ending in ("csv", "json"):
                measure(claim, folder, count, ending)
    claim.report(arguments.json)


if __name__ == "__main__":
    main()
