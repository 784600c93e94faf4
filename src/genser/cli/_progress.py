"""Progress bars on a terminal; silence in a pipe."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class Bars(Protocol):
    """Tells how far each named stage is."""

    def __call__(self, stage: str, done: int, total: int, **notes: Any) -> None:
        """Report that ``done`` of ``total`` parts of a stage are through, with numbers worth showing."""


def _silence(*_: Any, **__: Any) -> None:
    """Bars that nobody watches."""


@contextmanager
def progress_bars() -> Iterator[Bars]:
    """Bars on standard error if it is a terminal."""
    if not sys.stderr.isatty():
        yield _silence
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[notes]}"), console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def report(stage: str, done: int, total: int, **notes: Any) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total, notes="")
            shown = "  ".join(f"{name} {float(value):.4g}" for name, value in notes.items())
            bars.update(tasks[stage], completed=done, total=total, **({"notes": shown} if shown else {}))

        yield report
