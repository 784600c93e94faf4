"""Progress bars, shown only on a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class Bars(Protocol):
    """Reports the progress of named stages."""

    def __call__(self, stage: str, done: float, total: int | None, **notes: Any) -> None:
        """Report that ``done`` of ``total`` parts of a stage are done; notes are numbers to show beside the bar.

        Without ``total`` the end of the stage is not known.
        """


@contextmanager
def progress_bars(is_shown: bool = True) -> Iterator[Bars]:
    """Progress bars on standard error; without a terminal, or if they are not to be shown, they do nothing."""
    if not (is_shown and sys.stderr.isatty()):
        yield lambda *_, **__: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[notes]}"), console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def report(stage: str, done: float, total: int | None, **notes: Any) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total, completed=int(done), notes="")
            shown = "  ".join(f"{name} {float(value):.4g}" for name, value in notes.items())
            fields: dict[str, Any] = {"notes": shown} if shown else {}
            bars.update(tasks[stage], completed=done, total=total, **fields)

        yield report
