"""Progress bars on a terminal, and lines elsewhere."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol


class Bars(Protocol):
    """Reports the progress of named stages."""

    def __call__(self, stage: str, done: float, total: float | None, **notes: Any) -> None:
        """Report that ``done`` of ``total`` parts of a stage are done; notes are numbers to show beside the bar.

        Without ``total`` the end of the stage is not known.
        """


LINE_INTERVAL = 30.0  # s between two lines of a stage


@contextmanager
def progress_bars(is_shown: bool = True, *, has_lines: bool = False) -> Iterator[Bars]:
    """Progress bars on standard error.

    Args:
        is_shown: Whether they are to be shown.
        has_lines: Whether there are lines instead where standard error is no terminal; else nothing is.
    """
    if not (is_shown and sys.stderr.isatty()):
        yield _lines() if has_lines else lambda *_, **__: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[notes]}"), console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def report(stage: str, done: float, total: float | None, **notes: Any) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total, completed=int(done), notes="")
            shown = _noted(notes)
            fields: dict[str, Any] = {"notes": shown} if shown else {}
            bars.update(tasks[stage], completed=done, total=total, **fields)

        yield report


def show_minutes(bars: Bars, done: float, total: float) -> None:
    """Show how much of a recording is done; a header that states no length leaves the end unknown."""
    bars("minutes of this recording", done / 60, total / 60 if total > done else None)


def _lines() -> Bars:
    """One line at the beginning of a stage, one at its end, and one each half minute between them."""
    last: dict[str, tuple[float, float]] = {}

    def report(stage: str, done: float, total: float | None, **notes: Any) -> None:
        now = time.monotonic()
        before, count = last.get(stage, (-LINE_INTERVAL, -1.0))
        if count == done or (done != total and now - before < LINE_INTERVAL):
            return
        last[stage] = now, done
        shown = f" ({_noted(notes)})" if notes else ""
        print(f"genser: {stage}: {done:,} of {total or 0:,}{shown}", file=sys.stderr, flush=True)

    return report


def _noted(notes: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {float(value):.4g}" for name, value in notes.items())
