"""Tables of a bench report: scores, differences, recall, ablations, calibration, cost."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass

import numpy as np

from genser.bench.pool_runs import System
from genser.bench.published import Published
from genser.bench.runs import BenchRun
from genser.bench.summary import Ablation, ProtocolSummary, Score
from genser.metrics.bootstrap import Interval, PairedDifference
from genser.report.document import Table

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


_MAIN = ("wa", "ua", "macro_f1")  # weighted F1 says what WA says; the JSON has it


def main_table(summary: ProtocolSummary, others: tuple[Published, ...]) -> Table:
    """Scores of every system with deviation and interval, then the floor and published rows."""
    rows = [
        (
            short_name(one.system, summary),
            str(len(one.seeds)),
            *(score_cell(one.scores[name]) for name in _MAIN),
            percent(one.fold_mean["ua"]),
        )
        for one in summary.systems
    ]
    ours = len(rows)
    rows.append(("floor: most frequent class", "", percent(summary.floor_wa), percent(summary.floor_ua), "", ""))
    for row in others:
        scores = ("" if value is None else f"{value:.1f}" for value in (row.wa, row.ua, row.macro_f1))
        rows.append((f"{row.model} (published)", "", *scores, ""))
    return Table(
        f"Scores in %, {summary.protocol.title}",
        ("system", "seeds", *(SCORE_NAMES[name] for name in _MAIN), "UA, mean of folds"),
        tuple(rows),
        marked=frozenset(range(ours, len(rows))),
    )


def sources_table(others: tuple[Published, ...]) -> Table:
    """Where each published row was read, and what to know of it."""
    rows = tuple((row.model, row.corpus, row.source, row.note) for row in others)
    words = frozenset({1, 2, 3})
    return Table("Where the published rows were read", ("system", "corpus", "source", "note"), rows, words=words)


def pair_table(summary: ProtocolSummary, *, seeds: bool = False) -> Table:
    """Difference of every ordered pair of systems in UA; with training seeds drawn as well if `seeds`."""
    systems = [one.system for one in summary.systems]
    pairs = summary.seed_pairs if seeds else summary.pairs
    rows = tuple(
        (short_name(a, summary), *("" if a == b else difference_cell(pairs[a, b]) for b in systems)) for a in systems
    )
    caption = "UA of the row minus UA of the column in points (interval), and how often the row wins"
    return Table(
        f"{caption}, training seeds drawn as well" if seeds else caption,
        ("row − column", *(short_name(one, summary) for one in systems)),
        rows,
    )


def fold_table(summary: ProtocolSummary) -> Table | None:
    """UA of every system on every fold, and how far the best system is ahead of each; None for one or many folds."""
    if not summary.folds:
        return None
    best, *others = (one.system for one in summary.systems)
    names = [short_name(one, summary) for one in (best, *others)]
    rows = tuple(
        (
            one.fold,
            str(one.utterances),
            *(score_cell(one.ua[system]) for system in (best, *others)),
            *(difference_cell(one.pairs[best, other]) for other in others),
        )
        for one in summary.folds
    )
    ahead = tuple(f"{names[0]} − {name}" for name in names[1:])
    caption = f"UA in % on every fold, and differences in points (interval), {summary.protocol.title}"
    return Table(caption, ("fold", "clips", *names, *ahead), rows)


def choice_table(summary: ProtocolSummary, runs: Iterable[BenchRun]) -> Table | None:
    """What each head chose inside the training sides, and on how many folds; None where nothing was chosen."""
    chosen: dict[tuple[str, str], set[str]] = defaultdict(set)
    for run in runs:
        spec = run.spec
        if spec.protocol == summary.protocol and not spec.factor and spec.settings.get("chosen"):
            settings = ", ".join(f"{key} {value}" for key, value in spec.settings["chosen"].items())
            chosen[short_name(System(spec.head, spec.encoder), summary), settings].add(spec.fold)
    ranked = sorted(chosen.items(), key=lambda entry: (entry[0][0], -len(entry[1]), entry[0][1]))
    rows = tuple((system, settings, str(len(folds))) for (system, settings), folds in ranked)
    caption = "Settings of each head, where it had candidates chosen inside the training sides, and on how many folds"
    return Table(caption, ("system", "settings", "folds"), rows, words=frozenset({1})) if rows else None


def ablation_table(summary: ProtocolSummary, ablation: Ablation) -> Table:
    """One setting varied, against the default of the same head."""
    rows = [
        (
            row.value,
            str(len(row.summary.seeds)),
            *(score_cell(row.summary.scores[name]) for name in _MAIN),
            difference_cell(row.difference),
        )
        for row in ablation.rows
    ]
    default = next(
        (one for one in summary.systems if (one.system.head, one.system.encoder) == (ablation.head, ablation.encoder)),
        None,
    )
    if default:
        scores = (score_cell(default.scores[name]) for name in _MAIN)
        rows.insert(0, ("default", str(len(default.seeds)), *scores, ""))
    return Table(
        f"Ablation of {ablation.head} on {ablation.encoder}: {ablation.factor}, {summary.protocol.title}",
        (ablation.factor, "seeds", "WA", "UA", "macro F1", "UA minus default, and how often it wins"),
        tuple(rows),
    )


def cost_table(summary: ProtocolSummary) -> Table:
    """Parameters and seconds of every system, ablations included."""
    ablated = [row.summary for ablation in summary.ablations for row in ablation.rows]
    rows = tuple(
        (
            short_name(one.system, summary),
            f"{one.cost.parameters:,}",
            duration(one.cost.train_seconds),
            duration(one.cost.predict_milliseconds / 1000),
            one.cost.device,
        )
        for one in (*summary.systems, *ablated)
    )
    head = ("system", "parameters of the head", "training of one fold", "head, one utterance", "device")
    return Table("Cost on stored features", head, rows)


def recall_table(summary: ProtocolSummary) -> Table:
    """Recall of each class and system."""
    rows = tuple(
        (short_name(one.system, summary), *(percent(one.recall[name]) for name in summary.classes))
        for one in summary.systems
    )
    return Table(f"Recall of each class in %, {summary.protocol.title}", ("system", *summary.classes), rows)


def calibration_table(summary: ProtocolSummary) -> Table:
    """Calibration of every system that answered anything."""
    rows = []
    for one in summary.systems:
        if one.calibration is not None:
            errors = (percent(getattr(one.calibration, name)) for name in ("ece_mass", "ece_width", "ece_adaptive"))
            proper = (f"{one.calibration.brier:.3f}", f"{one.calibration.nll:.3f}")
            rows.append((short_name(one.system, summary), *errors, *proper))
    head = ("system", "ECE, equal counts", "ECE, equal widths", "ECE, adaptive", "Brier", "NLL")
    return Table(f"Calibration, mean over seeds (ECE in %), {summary.protocol.title}", head, tuple(rows))
