"""Reports: an evaluation or a bench as JSON, Markdown, one self-contained HTML page, and PNG pictures."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from genser.errors import ConfigError
from genser.files import atomic_write
from genser.metrics.bootstrap import Interval
from genser.metrics.evaluate import Evaluation
from genser.metrics.reliability import Calibration
from genser.report import plots
from genser.report.document import Block, Document, Heading, Paragraph, Picture, Table, to_html, to_markdown
from genser.report.document import write_pictures as _write_pictures
from genser.report.tables import SCORE_NAMES, interval_cell, percent, plain

FORMATS = ("json", "md", "html", "png")
_PICTURES = "pictures"

READING = (
    "WA is accuracy; UA is the mean recall over the classes that are present, so that frequent classes do not hide "
    "rare ones. F1 is averaged over classes (macro) or weighted by how often each is true. Intervals are bootstrap "
    "percentile intervals; whole speakers are drawn where speakers are known, because clips of one speaker fail "
    "together. The calibration error (ECE) is the mean gap between confidence and accuracy over 15 bins of equal "
    "count, 15 of equal width, or as many equal counts as keep accuracies rising (adaptive); Brier and NLL are the "
    "Brier score (0 to 2) and the negative log-likelihood in nats."
)


def write_report(
    document: Document, folder: str | os.PathLike[str], *, formats: tuple[str, ...] = FORMATS
) -> list[Path]:
    """Write a report into a folder as report.json, report.md, report.html, and pictures/*.png.

    Args:
        document: What to write.
        folder: Created if missing; files of the same name are replaced, each whole or not at all.
        formats: Any of ``json``, ``md``, ``html``, ``png``; the last two need matplotlib.

    Returns:
        The files written.

    Raises:
        ConfigError: If a format is unknown.
        MissingExtraError: If pictures are asked for and matplotlib is not installed.
    """
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown:
        raise ConfigError(f"unknown report format {', '.join(unknown)}: choose from {', '.join(FORMATS)}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    makers = {
        "json": lambda: json.dumps(document.data, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        "md": lambda: to_markdown(document, pictures=_PICTURES if "png" in formats else None),
        "html": lambda: to_html(document),
    }
    written = []
    for name in (one for one in makers if one in formats):
        written.append(folder / f"report.{name}")
        atomic_write(written[-1], makers[name]().encode())
    return written + (_write_pictures(document, folder / _PICTURES) if "png" in formats else [])


def evaluation_document(
    evaluation: Evaluation,
    *,
    title: str = "Evaluation",
    about: Mapping[str, str] | None = None,
    steps: Mapping[int, Evaluation] | None = None,
    speaker_dependent: bool = False,
) -> Document:
    """Report one evaluation.

    Args:
        evaluation: What was measured.
        title: Headline.
        about: What was evaluated, such as model, manifest and encoder, printed as a table.
        steps: N → evaluation with N transport steps.
        speaker_dependent: Whether the model was trained on speakers of the test set; the report then says so.
    """
    blocks: list[Block] = [warning()] if speaker_dependent else []
    if about:
        blocks.append(Table("What was evaluated", ("setting", "value"), tuple(about.items()), words=frozenset({1})))
    blocks += [*_answers(evaluation), _scores(evaluation), *_classes(evaluation)]
    if evaluation.calibration is not None:
        blocks += _calibration(evaluation.calibration)
    if steps:
        blocks += _steps(steps)
    blocks += [Heading("How to read this"), Paragraph(READING)]
    data = {
        "about": dict(about or {}),
        "speaker_dependent": speaker_dependent,
        "evaluation": evaluation.to_dict(),
        "steps": {str(count): one.to_dict() for count, one in (steps or {}).items()},
    }
    return Document(title, tuple(blocks), plain({"title": title, **data}))


def warning() -> Paragraph:
    """The mark of every protocol whose test speakers were trained on."""
    return Paragraph(
        "Speaker-dependent: speakers of the test clips are also in the training data. These scores say little about "
        "voices that the model has not heard.",
        "warning",
    )


def _answers(evaluation: Evaluation) -> list[Block]:
    if not evaluation.failed + evaluation.abstained:
        return []
    how = "count as wrong" if evaluation.missing == "wrong" else "are left out of the scores"
    return [
        Paragraph(
            f"{evaluation.failed} inputs failed and {evaluation.abstained} got no answer for lack of confidence; "
            f"they {how}.",
            "warning",
        )
    ]


def _scores(evaluation: Evaluation) -> Table:
    rows = []
    for name, title in SCORE_NAMES.items():
        interval = evaluation.intervals.get(name)
        value = getattr(evaluation, name)
        rows.append((title, percent(value), _ends(interval) if interval else "–"))
    rows += [
        ("floor: WA of the most frequent class", percent(evaluation.floor_wa), ""),
        ("floor: UA of any one class", percent(evaluation.floor_ua), ""),
    ]
    caption, level = f"Scores in % over {evaluation.utterances} utterances", "interval"
    for one in list(evaluation.intervals.values())[:1]:
        level = f"{100 * one.level:g} % interval"
        caption += f", intervals over {one.units} {one.unit}s"
    return Table(caption, ("score", "%", level), tuple(rows), marked=frozenset({4, 5}))


def _ends(interval: Interval) -> str:
    return f"{percent(interval.low)} to {percent(interval.high)}"


def _classes(evaluation: Evaluation) -> list[Block]:
    rows = tuple(
        (one.name, str(one.support), percent(one.precision), percent(one.recall), percent(one.f1))
        for one in evaluation.per_class
    )
    series = {"precision": {}, "recall": {}}
    for one in evaluation.per_class:
        series["precision"][one.name], series["recall"][one.name] = one.precision, one.recall
    return [
        Heading("Classes"),
        Table("Scores of each class in %", ("class", "utterances", "precision", "recall", "F1"), rows),
        Picture(
            "classes",
            "Precision and recall of each class in %.",
            lambda theme: plots.per_class(series, score="share", theme=theme),
        ),
        Picture(
            "confusion",
            "Confusion: each row shows in % how the utterances of one true class were decided.",
            lambda theme: plots.confusion(np.array(evaluation.confusion), evaluation.classes, theme=theme),
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
            "Accuracy against confidence; on the dashed line scores are probabilities.",
            lambda theme: plots.reliability({"model": calibration.bins}, theme=theme),
        ),
    ]


def _steps(steps: Mapping[int, Evaluation]) -> list[Block]:
    head = ("score", *("direct" if count == 0 else f"N = {count}" for count in steps))
    rows = [(title, *(_value(one, name) for one in steps.values())) for name, title in SCORE_NAMES.items()]
    blocks: list[Block] = [Heading("Transport steps"), Table("Scores in % over the number of steps", head, tuple(rows))]
    if all("ua" in one.intervals for one in steps.values()):
        series = {"UA": {count: one.intervals["ua"] for count, one in steps.items()}}
        caption = "UA over the number of transport steps, with its interval."
        blocks.append(Picture("steps", caption, lambda theme: plots.over_steps(series, theme=theme)))
    return blocks


def _value(evaluation: Evaluation, name: str) -> str:
    interval = evaluation.intervals.get(name)
    return interval_cell(interval) if interval else percent(getattr(evaluation, name))
