"""Numbers as a report writes them, and values as JSON takes them."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass

import numpy as np

from genser.evaluation.intervals import Interval, PairedDifference
from genser.evaluation.pooling import System
from genser.evaluation.scores import Score
from genser.evaluation.summary import ProtocolSummary

SCORE_NAMES = {"wa": "WA", "ua": "UA", "macro_f1": "macro F1", "weighted_f1": "weighted F1"}


def percent(share: float | None, digits: int = 1) -> str:
    """A share in percent; a dash where it is undefined."""
    return "–" if share is None or share != share else f"{100 * share:.{digits}f}"


def interval_cell(interval: Interval) -> str:
    """A score with its interval in percent, such as ``75.2 (73.1 to 77.4)``."""
    return f"{percent(interval.estimate)} ({percent(interval.low)} to {percent(interval.high)})"


def score_cell(score: Score) -> str:
    """Mean ± deviation between seeds (interval), in percent; one seed has no deviation."""
    spread = "" if score.deviation != score.deviation else f" ± {percent(score.deviation)}"
    return f"{percent(score.mean)}{spread} ({percent(score.interval.low)} to {percent(score.interval.high)})"


def difference_cell(pair: PairedDifference | None) -> str:
    """A difference in points with its interval and win probability; a star where the interval leaves out 0."""
    if pair is None:
        return "–"
    one = pair.interval
    star = "*" if one.low > 0 or one.high < 0 else ""
    points = " to ".join(_points(end) for end in (one.low, one.high))
    return f"{_points(one.estimate)}{star} ({points}), {100 * pair.win_probability:.0f} %"


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}".replace("-", "−")


def duration(seconds: float) -> str:
    """Seconds in a unit that reads well."""
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 120 else f"{seconds / 60:.3g} min"


def plain(value: object) -> object:
    """Turn dataclasses, mappings, arrays and undefined numbers into what JSON can say."""
    if is_dataclass(value):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def system_name(system: System) -> str:
    """A system in words: head, encoder, and in an ablation what is varied."""
    varied = f", {system.factor} = {system.value}" if system.factor else ""
    return f"{system.head} · {system.encoder}{varied}"


def short_name(system: System, summary: ProtocolSummary) -> str:
    """A system in words, without the encoder where a protocol was run with one alone."""
    several = len({one.system.encoder for one in summary.systems}) > 1
    name = system_name(system)
    return name if several else name.replace(f" · {system.encoder}", "", 1)
