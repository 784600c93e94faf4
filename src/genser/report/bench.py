"""The report of a bench: for each protocol the systems, their differences, ablations, calibration and cost."""

import os
from collections.abc import Mapping
from pathlib import Path

from genser.bench.folder import bench_result, entries
from genser.bench.pool_runs import System
from genser.bench.published import Published, published
from genser.bench.runs import BenchResult
from genser.bench.summary import FoldScores, ProtocolSummary, SystemSummary, summarize
from genser.bench.trace import Trace
from genser.metrics.bootstrap import PairedDifference, Resampling
from genser.report import figure1, plots
from genser.report.document import Block, Document, Heading, Paragraph, Picture, slug
from genser.report.evaluation import READING, warning, write_report
from genser.report.paper import paper_tables, published_rows
from genser.report.tables import (
    ablation_table,
    calibration_table,
    choice_table,
    cost_table,
    fold_table,
    main_table,
    pair_table,
    percent,
    plain,
    recall_table,
    short_name,
    sources_table,
    system_name,
)

_SHOWN = 4  # systems in a picture: more curves hide one another; the tables have them all
_BENCH_READING = (
    "Scores are over the test clips of all folds together; ± is the deviation between training seeds, the interval in "
    "brackets that of the mean over seeds. Two systems are compared on the same resampled test sets: the difference in "
    "points of UA, its interval (* where that leaves out 0) and the share of resamples in which the first one wins; a "
    "second table also draws the training seeds anew, which are a sample as well. "
    "Rows in italics were not measured here."
)


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
        ConfigError: If runs do not fit together; see :func:`genser.bench.summary.summarize`.
    """
    resampling = resampling or Resampling()
    summaries = summarize(result, resampling=resampling)
    blocks: list[Block] = [Paragraph(note) for note in result.notes]
    for summary in summaries:
        blocks += _protocol(summary, result)
    blocks += paper_tables(summaries)
    for title, trace in (traces or {}).items():
        blocks += _figure_one(title, trace)
    blocks += [Heading("How to read this"), Paragraph(_BENCH_READING), Paragraph(READING), *_sources(summaries)]
    data = {"title": result.title, "notes": result.notes, "resampling": resampling}
    return Document(result.title, tuple(blocks), plain(data | {"protocols": [_data(one) for one in summaries]}))


def _sources(summaries: tuple[ProtocolSummary, ...]) -> list[Block]:
    rows = [row for one in summaries for row in published_rows(one.protocol)]
    for task, tables in (("emotion", ("gen-ser-1", "gen-ser-3")), ("gender", ("gen-ser-2",))):
        if any(one.protocol.task == task for one in summaries):
            rows += [row for table in tables for row in published(table=table)]
    unique = tuple(dict.fromkeys(rows))
    return [Heading("Sources"), sources_table(unique)] if unique else []


def _protocol(summary: ProtocolSummary, result: BenchResult) -> list[Block]:
    protocol = summary.protocol
    others = published_rows(protocol)
    blocks: list[Block] = [Heading(protocol.title)]
    if protocol.speaker_dependent:
        blocks.append(warning())
    blocks += [Paragraph(_facts(summary)), main_table(summary, others)]
    if summary.systems:
        blocks += [*_forest(summary, others), *_pairs(summary), *_folds(summary), *_classes(summary), *_steps(summary)]
    for ablation in summary.ablations:
        blocks.append(ablation_table(summary, ablation))
    choices = choice_table(summary, result.runs)
    return [*blocks, *_calibration(summary), *([choices] if choices else []), cost_table(summary)]


def _pairs(summary: ProtocolSummary) -> list[Block]:
    several = any(len(one.seeds) > 1 for one in summary.systems)
    return [pair_table(summary), *([pair_table(summary, seeds=True)] if several else [])]


def _folds(summary: ProtocolSummary) -> list[Block]:
    table = fold_table(summary)
    return [table] if table else []


def _facts(summary: ProtocolSummary) -> str:
    protocol = summary.protocol
    encoders = ", ".join(dict.fromkeys(one.system.encoder for one in summary.systems))
    voices = f", {summary.speakers} speakers" if summary.speakers else ""
    incomplete = [
        f"{short_name(one.system, summary)} {', '.join(map(str, one.incomplete))}"
        for one in summary.systems
        if one.incomplete
    ]
    sentences = [
        f"Corpus {protocol.corpus}, {protocol.task}, {len(summary.classes)} classes ({', '.join(summary.classes)}).",
        f"{sum(summary.support)} test utterances{voices}, folds: {protocol.folds}, encoder: {encoders or 'none'}.",
        f"Always giving the most frequent class scores WA {percent(summary.floor_wa)}, UA {percent(summary.floor_ua)}.",
    ]
    if incomplete:
        sentences.append(f"Seeds left out because folds are missing: {'; '.join(incomplete)}.")
    return " ".join(sentences)


def _forest(summary: ProtocolSummary, others: tuple[Published, ...]) -> list[Block]:
    above = [one for one in summary.systems if not _is_floor(summary, one)]
    rows = {short_name(one.system, summary): one.scores["ua"].interval for one in above}
    hollow = {row.model: row.ua / 100 for row in others if row.ua is not None and row.kind != "Floor"}
    if not rows:
        return []
    return [
        Picture(
            f"{slug(summary.protocol.title)}-systems",
            f"UA with its interval on {summary.protocol.title}; hollow marks are published scores.",
            lambda theme: plots.forest(rows, published=hollow, floor=summary.floor_ua, theme=theme),
        )
    ]


def _is_floor(summary: ProtocolSummary, one: SystemSummary) -> bool:
    return abs(one.scores["ua"].mean - summary.floor_ua) < 1e-9


def _classes(summary: ProtocolSummary) -> list[Block]:
    best = summary.systems[0]
    shown = {short_name(one.system, summary): one.recall for one in summary.systems[:_SHOWN]}
    title, winner = summary.protocol.title, short_name(best.system, summary)
    return [
        recall_table(summary),
        Picture(
            f"{slug(title)}-classes",
            f"Recall of each class in %, {title}.",
            lambda theme: plots.per_class(shown, theme=theme),
        ),
        Picture(
            f"{slug(title)}-confusion",
            f"Confusion of {winner} in % of each true class, {title}, all seeds.",
            lambda theme: plots.confusion(best.confusion, summary.classes, theme=theme),
        ),
    ]


def _steps(summary: ProtocolSummary) -> list[Block]:
    stepped = [one for one in summary.systems if one.steps]
    if not stepped:
        return []
    series = {}
    for one in stepped[:_SHOWN]:
        series[short_name(one.system, summary)] = {count: scores["ua"].interval for count, scores in one.steps.items()}
    return [
        Picture(
            f"{slug(summary.protocol.title)}-steps",
            f"UA over the number of transport steps with its interval, {summary.protocol.title}.",
            lambda theme: plots.over_steps(series, theme=theme),
        )
    ]


def _calibration(summary: ProtocolSummary) -> list[Block]:
    measured = [one for one in summary.systems if one.calibration is not None]
    if not measured:
        return []
    curves = {short_name(one.system, summary): one.calibration.bins for one in measured[:_SHOWN]}
    return [
        calibration_table(summary),
        Picture(
            f"{slug(summary.protocol.title)}-calibration",
            f"Accuracy against confidence, {summary.protocol.title}; on the dashed line scores are probabilities.",
            lambda theme: plots.reliability(curves, theme=theme),
        ),
    ]


def _figure_one(title: str, trace: Trace) -> list[Block]:
    name = slug(title)
    return [
        Heading(f"From speech to class: {title}"),
        Picture(
            f"{name}-curves",
            "One utterance on its way: the speech embedding x₁, the state at falling times t (blue), and the code x₀ "
            "of its class (orange).",
            lambda theme: figure1.curves(trace, theme=theme),
        ),
        Picture(
            f"{name}-plane",
            "All utterances at falling times t, on the plane that gives every class code a place on a circle.",
            lambda theme: figure1.plane(trace, theme=theme),
        ),
        Picture(
            f"{name}-pca",
            "The same utterances on the first two principal components of their last states.",
            lambda theme: figure1.plane(trace, projection="pca", theme=theme),
        ),
    ]


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
        "published": published_rows(summary.protocol),
    }


def _fold_data(found: FoldScores) -> dict[str, object]:
    return {
        "fold": found.fold,
        "utterances": found.utterances,
        "ua": [{"system": system_name(system), **plain(score)} for system, score in found.ua.items()],
        "pairs": _pair_data(found.pairs),
    }


def _pair_data(pairs: Mapping[tuple[System, System], PairedDifference]) -> list[dict[str, object]]:
    return [{"a": system_name(a), "b": system_name(b), **pair.to_dict()} for (a, b), pair in pairs.items()]


def report_bench(
    folder: str | os.PathLike[str],
    *,
    title: str = "",
    notes: tuple[str, ...] = (),
    resampling: Resampling | None = None,
) -> tuple[BenchResult, list[Path]]:
    """Write the report on what is finished into the folder.

    Args:
        folder: Of the bench.
        title: Headline; empty names the protocols.
        notes: Sentences under it.
        resampling: How intervals are drawn.

    Returns:
        The runs, and the files written.

    Raises:
        StoreError: If no run is finished, or a file is damaged.
        ConfigError: If no seed has all its folds yet.
    """
    result = bench_result(folder, title=title, notes=notes)
    traces = {name: title for entry in entries(folder) for name, title in entry.traces.items()}
    loaded = {
        title: Trace.load(Path(folder, "traces", name))
        for name, title in traces.items()
        if Path(folder, "traces", name).exists()
    }
    return result, write_report(bench_document(result, traces=loaded, resampling=resampling), folder)
