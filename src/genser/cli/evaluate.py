"""``genser evaluate``: score a model on a manifest, with intervals."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from genser.errors import ConfigError

if TYPE_CHECKING:
    from genser.data.utterance import Utterance


def evaluate(
    model: str,
    manifest: Path,
    *,
    encoder: str | None = None,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    split: str | None = None,
    speakers: Literal["unseen", "all"] = "unseen",
    task: str = "emotion",
    labels: str | None = None,
    steps: str = "1,2,4,10,20",
    store: Path = Path("features"),
    device: str = "cpu",
    resamples: int = 2000,
) -> int:
    """Score a model: WA, UA, F1, scores of each class, confusion and calibration, with bootstrap intervals.

    Speakers are resampled for the intervals if the manifest names them. Speakers that the model was trained on are
    omitted, as far as it records them.

    Args:
        model: Model folder, ONNX file, or name of a bundled model.
        manifest: CSV, JSON lines or Parquet with the columns path and label.
        encoder: Present source of the encoder of a model folder, if it was moved: "kind:path", a path, or a hub id.
        output: Folder for report.json, report.md, report.html and pictures; by default the report is printed.
        split: Score only the rows of this split: train, validation or test.
        speakers: "unseen" omits the speakers that the model was trained on, "all" scores all.
        task: emotion or gender.
        labels: Label map for the labels of the manifest, by name or as file.toml:name.
        steps: Numbers N of transport steps to compare (model folders only; the N of an ONNX file is fixed).
        store: Folder of the feature store (model folders only).
        device: "cpu" or "cuda" (model folders only).
        resamples: Number of bootstrap resamples.

    Returns:
        0 on success, 1 if some clips could not be read; they count as wrong.
    """
    from genser import load
    from genser.bench.score_manifest import labelled, score_folder, score_recognizer, speaker_warnings, unseen
    from genser.cli._extras import training_extra
    from genser.cli._outputs import check_folder
    from genser.cli._progress import progress_bars
    from genser.data.labels import find_label_map
    from genser.data.manifest import read_manifest
    from genser.metrics.bootstrap import Resampling
    from genser.metrics.evaluate import evaluate as score
    from genser.report.document import to_markdown, write_report
    from genser.report.evaluation import evaluation_document

    if output is not None:
        check_folder(output)
    resampling, counts = Resampling(resamples), _step_counts(steps)
    utterances = read_manifest(manifest, check_files=False)
    label_map = find_label_map(labels) if labels else None
    omitted = 0

    def choose(classes: Sequence[str], info: Mapping[str, Any]) -> "list[Utterance]":
        nonlocal omitted
        inside = labelled(utterances, classes, task, label_map, split)
        kept = inside if speakers == "all" else unseen(inside, info)
        omitted = len(inside) - len(kept)
        return kept

    with progress_bars() as bars:
        progress = lambda done, total: bars("evaluate", done, total)  # noqa: E731
        if Path(model).is_dir():
            with training_extra("Evaluating a model folder"):
                check_folder(store)
                scored = score_folder(
                    Path(model), choose, store, encoder=encoder, steps=counts, device=device, progress=progress
                )
        else:
            scored = score_recognizer(load(model, encoder=encoder), choose, progress=progress)
    predictions = scored.predictions
    document = evaluation_document(
        score(predictions, resampling=resampling),
        title=f"Evaluation of {Path(model).name}",
        about={"model": model, "manifest": str(manifest), "task": task, "split": split or "all", "speakers": speakers},
        steps={
            count: score(replace(predictions, probabilities=rows), resampling=resampling)
            for count, rows in sorted(scored.steps.items())
        },
        warnings=speaker_warnings(scored),
    )
    if omitted:
        print(f"genser: {omitted} clips of training speakers are omitted; see --speakers.", file=sys.stderr)
    for problem in scored.problems:
        print(problem, file=sys.stderr)
    if output is None:
        print(to_markdown(document))
    else:
        for path in write_report(document, output):
            print(path, file=sys.stderr)
    return 1 if scored.problems else 0


def _step_counts(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() for part in parts):
        raise ConfigError(f"--steps must be numbers of steps separated by commas, such as 1,4,20, got {text!r}.")
    return sorted({int(part) for part in parts})
