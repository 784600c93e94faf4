"""Tables of a bench report: scores, differences, recall, ablations, calibration, cost."""

from collections import defaultdict
from collections.abc import Iterable

from genser.evaluation.document import Table
from genser.evaluation.pooling import System
from genser.evaluation.published import Published
from genser.evaluation.results import BenchRun
from genser.evaluation.summary import Ablation, ProtocolSummary
from genser.evaluation.wording import SCORE_NAMES, difference_cell, duration, percent, score_cell, short_name

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
