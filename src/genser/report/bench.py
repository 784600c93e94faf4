"""The report of a bench: for each protocol scores, differences, folds, classes, steps, ablations, calibration, cost."""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from genser.bench.pool_runs import System, pool
from genser.bench.published import Published, published
from genser.bench.runs import BenchResult, BenchRun, bench_result, entries
from genser.bench.summary import Ablation, FoldScores, ProtocolSummary, Score, summarize
from genser.bench.trace import Trace
from genser.data.times import duration_text
from genser.errors import counted
from genser.metrics.bootstrap import PairedDifference, Resampling
from genser.metrics.classification import confusion_matrices, decide, unweighted_accuracy
from genser.metrics.few import few_remarks, speaker_remark
from genser.report import figure1, plots
from genser.report.across_corpora import across_corpora_blocks, across_corpora_data
from genser.report.document import (
    READING,
    SCORE_NAMES,
    Block,
    Document,
    Heading,
    Paragraph,
    Picture,
    Table,
    difference_cell,
    few_clips,
    few_speakers,
    percent,
    plain,
    range_cell,
    slug,
    speaker_dependent_warning,
    write_report,
)
from genser.report.paper import paper_tables, published_rows

MAX_CURVES = 4
"""Systems in one picture; more curves would cover one another. The tables list all systems."""

MAIN_SCORES = ("wa", "ua", "macro_f1")
"""Scores in the tables; weighted F1 is close to WA and is in the JSON file."""

BENCH_READING = (
    "Scores are computed over the test clips of all folds together. ± is the standard deviation between training "
    "seeds, the interval in brackets is that of the mean over seeds. Two systems are compared on the same resampled "
    "test sets: the difference in points of UA, its interval (* if it excludes 0) and the share of resamples in which "
    "the first system wins. A second table also resamples the training seeds. Rows in italics were not measured here."
)


def report_bench(
    folder: str | os.PathLike[str],
    *,
    title: str = "",
    notes: tuple[str, ...] = (),
    resampling: Resampling | None = None,
) -> tuple[BenchResult, list[Path]]:
    """Write the report on the finished runs into the folder of a bench.

    Args:
        folder: The folder.
        title: Headline; empty for the names of the protocols.
        notes: Further sentences.
        resampling: How intervals are drawn.

    Returns:
        The runs, and the written files.

    Raises:
        StoreError: No run is finished, or a file is damaged.
        ConfigError: No seed has all its folds yet.
    """
    result = bench_result(folder, title=title, notes=notes)
    titles = {name: title for entry in entries(folder) for name, title in entry.traces.items()}
    paths = {title: Path(folder, "traces", name) for name, title in titles.items()}
    traces = {title: Trace.load(path) for title, path in paths.items() if path.exists()}
    return result, write_report(bench_document(result, traces=traces, resampling=resampling), folder)


def score_lines(result: BenchResult) -> list[str]:
    """UA of every system and protocol, one line each, and what their clips are too few for, for the terminal."""
    lines, remarks = [], {}
    for one in pool(result.runs):
        few = few_remarks(one.support, one.classes, one.speaker_count)
        remarks |= {f"{one.protocol.title}: {remark}": None for remark in few}
        confusions = confusion_matrices(one.labels, decide(one.probabilities), len(one.classes))
        lines.append(
            f"{one.protocol.title}: {one.system.title}: UA {percent(float(unweighted_accuracy(confusions).mean()))} %"
        )
    return [*lines, *remarks]


def bench_document(
    result: BenchResult,
    *,
    traces: Mapping[str, Trace] | None = None,
    resampling: Resampling | None = None,
) -> Document:
    """Report a bench.

    Args:
        result: The runs.
        traces: Title → states along the transport, for the paper's Figure 1.
        resampling: How intervals are drawn.

    Raises:
        ConfigError: The runs do not fit together, see :func:`genser.bench.summary.summarize`.
    """
    resampling = resampling or Resampling()
    summaries = summarize(result, resampling=resampling)
    blocks: list[Block] = [Paragraph(note) for note in result.notes]
    for summary in summaries:
        blocks += _protocol(summary, result)
    blocks += paper_tables(summaries)
    blocks += [Heading("From speech to class")] if traces else []
    for title, trace in (traces or {}).items():
        blocks += _figure_1(title, trace)
    blocks += [Heading("How to read this"), Paragraph(BENCH_READING), Paragraph(READING), *_sources(summaries)]
    data = {"title": result.title, "notes": result.notes, "resampling": resampling}
    return Document(result.title, tuple(blocks), plain(data | {"protocols": [_data(one) for one in summaries]}))


def _protocol(summary: ProtocolSummary, result: BenchResult) -> list[Block]:
    """Everything on one protocol, in the order in which it is read."""
    others = published_rows(summary.protocol)
    blocks: list[Block] = [Heading(summary.protocol.title)]
    if summary.protocol.speaker_dependent:
        blocks.append(speaker_dependent_warning())
    blocks.append(Paragraph(_facts(summary)))
    if summary.across_corpora is not None:
        title = summary.protocol.title
        blocks += across_corpora_blocks(summary.across_corpora, title, lambda system: short_name(system, summary))
    blocks.append(_scores(summary, others))
    if summary.systems:
        remarks = few_remarks(summary.support, summary.classes, summary.speakers)
        blocks += [Paragraph(remark, "warning") for remark in remarks]
        blocks += [*_forest(summary, others), _differences(summary)]
        if any(len(one.seeds) > 1 for one in summary.systems):
            blocks.append(_differences(summary, with_seeds=True))
        blocks += [*_folds(summary), *_classes(summary), *_steps(summary)]
    blocks += [_ablation(summary, one) for one in summary.ablations]
    return [*blocks, *_calibration(summary), *_choices(summary, result.runs), _cost(summary)]


def short_name(system: System, summary: ProtocolSummary) -> str:
    """Name of a system, without the encoder if the protocol was run with a single one."""
    name = system.title
    several = len({one.system.encoder for one in summary.systems}) > 1
    return name if several else name.replace(f" · {system.encoder}", "", 1)


def score_cell(score: Score) -> str:
    """Mean ± standard deviation between seeds (interval) in percent; one seed has no standard deviation."""
    spread = "" if score.deviation != score.deviation else f" ± {percent(score.deviation)}"
    return f"{percent(score.mean)}{spread} ({range_cell(score.interval)})"


def _facts(summary: ProtocolSummary) -> str:
    protocol = summary.protocol
    encoders = ", ".join(dict.fromkeys(one.system.encoder for one in summary.systems))
    speakers = f", {counted(summary.speakers, 'speaker')}" if summary.speakers else ""
    incomplete = [
        f"{short_name(one.system, summary)} {', '.join(map(str, one.incomplete))}"
        for one in summary.systems
        if one.incomplete
    ]
    sentences = [
        f"Corpus {protocol.corpus}, {protocol.task}, {len(summary.classes)} classes ({', '.join(summary.classes)}).",
        f"{counted(sum(summary.support), 'test utterance')}{speakers}, {counted(protocol.folds, 'fold')}, "
        f"encoder: {encoders or 'none'}.",
        f"Always deciding the most frequent class gives WA {percent(summary.floor_wa)} and UA "
        f"{percent(summary.floor_ua)}.",
    ]
    if incomplete:
        sentences.append(f"Seeds omitted because folds are missing: {'; '.join(incomplete)}.")
    return " ".join(sentences)


def _scores(summary: ProtocolSummary, others: tuple[Published, ...]) -> Table:
    """Scores of every system, then the floor and published rows."""
    rows = [
        (
            short_name(one.system, summary),
            str(len(one.seeds)),
            *(score_cell(one.scores[name]) for name in MAIN_SCORES),
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
        ("system", "seeds", *(SCORE_NAMES[name] for name in MAIN_SCORES), "UA, mean of folds"),
        tuple(rows),
        marked=frozenset(range(ours, len(rows))),
    )


def _forest(summary: ProtocolSummary, others: tuple[Published, ...]) -> list[Block]:
    rows = {
        short_name(one.system, summary): one.scores["ua"].interval
        for one in summary.systems
        if abs(one.scores["ua"].mean - summary.floor_ua) > 1e-9  # the floor has a mark of its own
    }
    hollow = {row.model: row.ua / 100 for row in others if row.ua is not None and row.kind != "Floor"}
    caption = f"UA with its interval on {summary.protocol.title}; hollow marks are published scores."
    draw = lambda: plots.forest(rows, published=hollow, floor=summary.floor_ua)  # noqa: E731
    return [Picture(f"{slug(summary.protocol.title)}-systems", caption, draw)] if rows else []


def _differences(summary: ProtocolSummary, *, with_seeds: bool = False) -> Table:
    """Difference in UA of every ordered pair of systems, optionally with training seeds resampled as well."""
    systems = [one.system for one in summary.systems]
    pairs = summary.seed_pairs if with_seeds else summary.pairs
    rows = tuple(
        (short_name(a, summary), *("" if a == b else difference_cell(pairs[a, b]) for b in systems)) for a in systems
    )
    caption = "UA of the row minus UA of the column in points (interval), and how often the row wins"
    return Table(
        f"{caption}, training seeds resampled as well" if with_seeds else caption,
        ("row − column", *(short_name(one, summary) for one in systems)),
        rows,
    )


def _folds(summary: ProtocolSummary) -> list[Block]:
    """UA of every system on every fold, and how far the best system is ahead of each other one."""
    if not summary.folds:
        return []
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
    table = Table(caption, ("fold", "clips", *names, *ahead), rows)
    warnings = few_clips({one.fold: one.ua[best].interval for one in summary.folds})
    are_few = speaker_remark(summary.speakers) is not None  # then all folds are, and the report says so already
    warnings += [] if are_few else few_speakers({one.fold: one.speakers for one in summary.folds})
    return [table, *warnings]


def _classes(summary: ProtocolSummary) -> list[Block]:
    best, title = summary.systems[0], summary.protocol.title
    recall = {short_name(one.system, summary): one.recall for one in summary.systems}
    rows = tuple((name, *(percent(one[label]) for label in summary.classes)) for name, one in recall.items())
    shown = dict(list(recall.items())[:MAX_CURVES])
    counts = dict(zip(summary.classes, best.confusion.sum(axis=1) / len(best.seeds), strict=True))
    caption = f"Recall of each class in %, {title}; behind its name the number of clips."
    return [
        Table(f"Recall of each class in %, {title}", ("system", *summary.classes), rows),
        Picture(f"{slug(title)}-classes", caption, lambda: plots.per_class(shown, counts)),
        Picture(
            f"{slug(title)}-confusion",
            f"Confusion of {short_name(best.system, summary)} in % of each true class, {title}, all seeds.",
            lambda: plots.confusion(best.confusion, summary.classes),
        ),
    ]


def _steps(summary: ProtocolSummary) -> list[Block]:
    series = {
        short_name(one.system, summary): {count: scores["ua"].interval for count, scores in one.steps.items()}
        for one in [one for one in summary.systems if one.steps][:MAX_CURVES]
    }
    caption = f"UA over the number of transport steps with its interval, {summary.protocol.title}."
    picture = Picture(f"{slug(summary.protocol.title)}-steps", caption, lambda: plots.over_steps(series))
    return [picture] if series else []


def _ablation(summary: ProtocolSummary, ablation: Ablation) -> Table:
    """One setting varied, compared with the default of the same head."""
    default = [one for one in summary.systems if one.system == System(ablation.head, ablation.encoder)]
    compared = [("default", one, "") for one in default]
    compared += [(row.value, row.summary, difference_cell(row.difference)) for row in ablation.rows]
    rows = tuple(
        (value, str(len(one.seeds)), *(score_cell(one.scores[name]) for name in MAIN_SCORES), difference)
        for value, one, difference in compared
    )
    return Table(
        f"Ablation of {ablation.head} on {ablation.encoder}: {ablation.factor}, {summary.protocol.title}",
        (ablation.factor, "seeds", "WA", "UA", "macro F1", "UA minus default, and how often it wins"),
        rows,
    )


def _calibration(summary: ProtocolSummary) -> list[Block]:
    measured = {
        short_name(one.system, summary): one.calibration for one in summary.systems if one.calibration is not None
    }
    if not measured:
        return []
    rows = tuple(
        (
            name,
            *(percent(error) for error in (one.ece_mass, one.ece_width, one.ece_adaptive)),
            f"{one.brier:.3f}",
            f"{one.nll:.3f}",
        )
        for name, one in measured.items()
    )
    title = summary.protocol.title
    curves = {name: one.bins for name, one in list(measured.items())[:MAX_CURVES]}
    head = ("system", "ECE, equal counts", "ECE, equal widths", "ECE, adaptive", "Brier", "NLL")
    return [
        Table(f"Calibration, mean over seeds (ECE in %), {title}", head, rows),
        Picture(
            f"{slug(title)}-calibration",
            f"Accuracy against confidence with 95 % intervals, {title}. On the dashed line the scores are calibrated.",
            lambda: plots.reliability(curves),
        ),
    ]


def _choices(summary: ProtocolSummary, runs: Iterable[BenchRun]) -> list[Block]:
    """The settings that each head chose within the training sides, and on how many folds."""
    chosen: dict[tuple[str, str], set[str]] = defaultdict(set)
    for run in runs:
        spec = run.spec
        if spec.protocol == summary.protocol and not spec.factor and spec.settings.get("chosen"):
            settings = ", ".join(f"{key} {value}" for key, value in spec.settings["chosen"].items())
            chosen[short_name(System(spec.head, spec.encoder), summary), settings].add(spec.fold)
    ranked = sorted(chosen.items(), key=lambda entry: (entry[0][0], -len(entry[1]), entry[0][1]))
    rows = tuple((system, settings, str(len(folds))) for (system, settings), folds in ranked)
    caption = (
        "Settings of each head, chosen within the training sides if it has several candidates, and on how many folds"
    )
    return [Table(caption, ("system", "settings", "folds"), rows, words=frozenset({1}))] if rows else []


def _cost(summary: ProtocolSummary) -> Table:
    """Parameters and time of every system, ablations included."""
    ablated = [row.summary for ablation in summary.ablations for row in ablation.rows]
    rows = tuple(
        (
            short_name(one.system, summary),
            f"{one.cost.parameters:,}",
            duration_text(one.cost.train_seconds),
            duration_text(one.cost.predict_milliseconds / 1000),
            one.cost.device,
        )
        for one in (*summary.systems, *ablated)
    )
    head = ("system", "parameters of the head", "training of one fold", "head, one utterance", "device")
    return Table("Cost on stored features", head, rows)


def _figure_1(title: str, trace: Trace) -> list[Block]:
    name = slug(title)
    return [
        Paragraph(f"{title[:1].upper()}{title[1:]}."),
        Picture(
            f"{name}-curves",
            "One utterance: the speech embedding x₁, the state at decreasing times t (blue), and the code x₀ of its "
            "class (orange).",
            lambda: figure1.curves(trace),
        ),
        Picture(
            f"{name}-plane",
            "All utterances at decreasing times t, on the plane that arranges the class codes on a circle.",
            lambda: figure1.plane(trace),
        ),
        Picture(
            f"{name}-pca",
            "The same utterances on the first two principal components of their last states.",
            lambda: figure1.plane(trace, projection="pca"),
        ),
    ]


def _sources(summaries: tuple[ProtocolSummary, ...]) -> list[Block]:
    """The source of each published row, and what to know about it."""
    found = [row for one in summaries for row in published_rows(one.protocol)]
    for task, tables in (("emotion", ("gen-ser-1", "gen-ser-3")), ("gender", ("gen-ser-2",))):
        if any(one.protocol.task == task for one in summaries):
            found += [row for table in tables for row in published(table=table)]
    rows = tuple((row.model, row.corpus, row.source, row.note) for row in dict.fromkeys(found))
    head = ("system", "corpus", "source", "note")
    table = Table("Sources of the published rows", head, rows, words=frozenset({1, 2, 3}))
    return [Heading("Sources"), table] if rows else []


def _data(summary: ProtocolSummary) -> dict[str, object]:
    return {
        "protocol": summary.protocol,
        "classes": summary.classes,
        "support": summary.support,
        "speakers": summary.speakers,
        "floor": {"wa": summary.floor_wa, "ua": summary.floor_ua},
        "systems": summary.systems,
        "pairs": _pair_data(summary.pairs),
        "pairs_with_resampled_seeds": _pair_data(summary.seed_pairs),
        "folds": [_fold_data(one) for one in summary.folds],
        "ablations": summary.ablations,
        "across_corpora": across_corpora_data(summary.across_corpora) if summary.across_corpora else None,
        "published": published_rows(summary.protocol),
    }


def _fold_data(found: FoldScores) -> dict[str, object]:
    return {
        "fold": found.fold,
        "utterances": found.utterances,
        "speakers": found.speakers,
        "ua": [{"system": system.title, **plain(score)} for system, score in found.ua.items()],
        "pairs": _pair_data(found.pairs),
    }


def _pair_data(pairs: Mapping[tuple[System, System], PairedDifference]) -> list[dict[str, object]]:
    return [{"a": a.title, "b": b.title, **plain(pair)} for (a, b), pair in pairs.items()]
