"""The report on one evaluation of a model."""

from collections.abc import Mapping, Sequence

import numpy as np

from genser.errors import counted
from genser.metrics.evaluate import Evaluation
from genser.metrics.reliability import Calibration
from genser.report import plots
from genser.report.document import (
    READING,
    SCORE_NAMES,
    Block,
    Document,
    Heading,
    Paragraph,
    Picture,
    Table,
    percent,
    plain,
    range_cell,
)


def evaluation_document(
    evaluation: Evaluation,
    *,
    title: str = "Evaluation",
    about: Mapping[str, str] | None = None,
    steps: Mapping[int, Evaluation] | None = None,
    warnings: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Document:
    """Report one evaluation.

    Args:
        evaluation: The scores.
        title: Headline.
        about: What was evaluated, such as model, manifest and split, printed as a table.
        steps: N → evaluation with N transport steps.
        warnings: Sentences that a reader must not miss, such as that speakers were also trained on.
        notes: Further sentences.
    """
    warnings = [*warnings, *evaluation.interval_remarks]
    blocks: list[Block] = [Paragraph(text, "warning") for text in warnings]
    blocks += [Paragraph(text) for text in notes]
    if about:
        blocks.append(Table("What was evaluated", ("setting", "value"), tuple(about.items()), words=frozenset({1})))
    if evaluation.failed:
        blocks.append(
            Paragraph(f"{counted(evaluation.failed, 'input')} could not be read and count as wrong answers.", "warning")
        )
    blocks += [_scores(evaluation), *_classes(evaluation)]
    if evaluation.calibration is not None:
        blocks += _calibration(evaluation.calibration)
    if steps:
        blocks += _steps(steps)
    blocks += [Heading("How to read this"), Paragraph(READING)]
    data = {"title": title, "about": about or {}, "warnings": warnings, "notes": notes}
    return Document(title, tuple(blocks), plain(data | {"evaluation": evaluation, "steps": steps or {}}))


def _scores(evaluation: Evaluation) -> Table:
    rows = []
    for name, title in SCORE_NAMES.items():
        interval = evaluation.intervals.get(name)
        rows.append((title, percent(getattr(evaluation, name)), range_cell(interval) if interval else "–"))
    rows += [
        ("floor: WA of the most frequent class", percent(evaluation.floor_wa), ""),
        ("floor: UA of any one class", percent(evaluation.floor_ua), ""),
    ]
    caption, level = f"Scores in % over {counted(evaluation.utterances, 'utterance')}", "interval"
    if evaluation.intervals:
        one = next(iter(evaluation.intervals.values()))
        level = f"{100 * one.level:g} % interval"
        caption += f", intervals over {counted(one.units, one.unit)}"
    return Table(caption, ("score", "%", level), tuple(rows), marked=frozenset({4, 5}))


def _classes(evaluation: Evaluation) -> list[Block]:
    rows = tuple(
        (one.name, str(one.support), percent(one.precision), percent(one.recall), percent(one.f1))
        for one in evaluation.per_class
    )
    series = {
        "precision": {one.name: one.precision for one in evaluation.per_class},
        "recall": {one.name: one.recall for one in evaluation.per_class},
    }
    counts = {one.name: one.support for one in evaluation.per_class}
    return [
        Heading("Classes"),
        Table("Scores of each class in %", ("class", "utterances", "precision", "recall", "F1"), rows),
        Picture(
            "classes",
            "Precision and recall of each class in %; behind its name the number of utterances.",
            lambda: plots.per_class(series, counts, score="share"),
        ),
        Picture(
            "confusion",
            "Confusion: each row shows in % how the utterances of one true class were decided.",
            lambda: plots.confusion(np.array(evaluation.confusion), evaluation.classes),
        ),
    ]


def _calibration(calibration: Calibration) -> list[Block]:
    rows = (
        ("ECE, equal counts", percent(calibration.ece_mass)),
        ("ECE, equal widths", percent(calibration.ece_width)),
        ("ECE, adaptive", percent(calibration.ece_adaptive)),
        ("Brier", f"{calibration.brier:.3f}"),
        ("NLL", f"{calibration.nll:.3f}"),
    )
    return [
        Heading("Calibration"),
        Table("Calibration of the answered utterances (ECE in %)", ("measure", "value"), rows),
        Picture(
            "calibration",
            "Accuracy against confidence, with 95 % intervals. On the dashed line the scores are calibrated.",
            lambda: plots.reliability({"model": calibration.bins}),
        ),
    ]


def _steps(steps: Mapping[int, Evaluation]) -> list[Block]:
    def cell(one: Evaluation, name: str) -> str:
        interval = one.intervals.get(name)
        return percent(getattr(one, name)) + (f" ({range_cell(interval)})" if interval else "")

    head = ("score", *("direct" if count == 0 else f"N = {count}" for count in steps))
    rows = tuple((title, *(cell(one, name) for one in steps.values())) for name, title in SCORE_NAMES.items())
    blocks: list[Block] = [Heading("Transport steps"), Table("Scores in % over the number of steps", head, rows)]
    if all("ua" in one.intervals for one in steps.values()):
        series = {"UA": {count: one.intervals["ua"] for count, one in steps.items()}}
        caption = "UA over the number of transport steps, with its interval."
        blocks.append(Picture("steps", caption, lambda: plots.over_steps(series)))
    return blocks
