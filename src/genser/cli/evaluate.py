"""``genser evaluate``: a model against a manifest, with intervals."""

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter


def evaluate(
    model: str,
    manifest: Path,
    *,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    split: str | None = None,
    task: str = "emotion",
    labels: str | None = None,
    steps: str = "1,2,4,10,20",
    store: Path = Path("features"),
    device: str = "cpu",
    resamples: int = 2000,
) -> int:
    """Score a model: WA, UA, F1, per class, confusion and calibration, each score with a bootstrap interval.

    Intervals are drawn by speaker where the manifest names speakers.

    Args:
        model: Model folder, ONNX file, or name of a bundled model.
        manifest: CSV, JSON lines or Parquet with the columns path and label.
        output: Folder for report.json, report.md, report.html and pictures; without it the report is printed.
        split: Only rows of this split: train, validation or test.
        task: emotion or gender.
        labels: Label map for the manifest's labels, by name or as file.toml:name.
        steps: Numbers N of transport steps to compare (model folders only; an ONNX graph has its N built in).
        store: Folder of the feature store (model folders only).
        device: "cpu" or "cuda".
        resamples: Number of bootstrap draws.

    Returns:
        0 if all went well, 1 if some utterances could not be read; they count as wrong.
    """
    from genser.cli._progress import progress_bars
    from genser.metrics.bootstrap import Resampling
    from genser.metrics.evaluate import evaluate as measure
    from genser.metrics.evaluate import evaluate_steps
    from genser.report.document import to_markdown
    from genser.report.evaluation import evaluation_document, write_report

    with progress_bars() as bars:
        choose = _chooser(manifest, task, labels, split)
        tell = lambda done, total: bars("evaluate", done, total)  # noqa: E731
        scored = _score(model, choose, store, [int(n) for n in steps.split(",") if n], device, tell)
    resampling = Resampling(resamples)
    document = evaluation_document(
        measure(scored.predictions, resampling=resampling),
        title=f"Evaluation of {Path(model).name}",
        about={"model": model, "manifest": str(manifest), "task": task, "split": split or "all"},
        steps=evaluate_steps(scored.steps, scored.predictions, resampling=resampling),
    )
    for problem in scored.problems:
        print(problem, file=sys.stderr)
    if output is None:
        print(to_markdown(document))
    else:
        for path in write_report(document, output):
            print(path, file=sys.stderr)
    return 1 if scored.problems else 0


def _chooser(manifest: Path, task: str, labels: str | None, split: str | None) -> Any:
    from genser.bench.score_manifest import labelled
    from genser.data.labels import find_label_map
    from genser.data.manifest import read_manifest

    utterances = read_manifest(manifest, check_files=False)
    chosen = find_label_map(labels) if labels else None
    return lambda classes: labelled(utterances, classes, task, chosen, split)


def _score(model: str, choose: Any, store: Path, steps: list[int], device: str, tell: Any) -> Any:
    from genser.bench.score_manifest import score_folder, score_recognizer
    from genser.cli._extras import training_extra

    if Path(model).is_dir():
        with training_extra("Evaluating a model folder"):
            return score_folder(Path(model), choose, store, steps=steps, device=device, progress=tell)
    from genser import load

    return score_recognizer(load(model), choose, progress=tell)
