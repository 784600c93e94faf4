"""Ticks at round times on the axis of a picture."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400)
"""Distances of ticks in seconds."""

MOST_TICKS = 12


def draw_times(ax: "Axes", duration: float, *, start: float = 0.0) -> None:
    """Mark round times on the horizontal axis, whose unit is the second.

    Args:
        ax: The axes, from 0 to ``duration`` plus ``start``.
        duration: Length of the axis in seconds.
        start: Time at its beginning.
    """
    step = next((step for step in STEPS if duration / step <= MOST_TICKS), STEPS[-1])
    times = [start + number * step for number in range(int(duration / step + 1e-9) + 1)]
    is_short = duration < 60
    texts = [f"{time:g} s" if is_short else time_text(time) for time in times]
    ax.set_xticks(times, texts)
    ax.set_xlim(start, start + duration)


def time_text(seconds: float) -> str:
    """A time as people write it: ``0:05``, ``1:05`` or ``2:01:05``."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
