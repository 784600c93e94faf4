"""``genser train``: train a model on a manifest."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from genser.cli._notes import note

if TYPE_CHECKING:
    from genser.training.run import TrainedModel


def train(
    manifest: Path,
    *overrides: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    recipe: str = "small",
    encoder: str | None = None,
    output: Annotated[Path, Parameter(alias="-o")] = Path("model"),
    store: Path = Path("features"),
    device: str = "cpu",
    track: str | None = None,
) -> int:
    """Train a model on a table of labelled clips; a run that was stopped is resumed.

    Every setting of the recipe is an option by its dotted name, such as --optimizer.lr 1e-4, --head mlp or
    --license "CC BY 4.0". Under torchrun the processes share the encoding and every batch.

    Example: genser train mine.csv -o model

    Args:
        manifest: Table (CSV, JSON lines or Parquet) with the columns path and label and, where known, speaker and
            corpus.
        recipe: "small" (a few thousand clips), "bundled" (as the bundled models: adapted encoder, two exponents of
            calibration; takes hours), "paper" (the paper's network), or a YAML file.
        encoder: "whisper:FILE-OR-HUB-ID", "hubert:FOLDER-OR-HUB-ID", a path or hub id alone, "fbank" or "egemaps". The
            default is the encoder of the recipe. Settings that another kind cannot have are reset, and a message names
            them.
        output: Model folder; checkpoints and metrics.jsonl are in run/ inside.
        store: Folder of the feature store.
        device: "cpu", a GPU such as "cuda" or "cuda:1", or "auto": the GPU if there is one, else the CPU.
        track: A tracker that also gets the metrics: "tensorboard" or "tensorboard:FOLDER" (files in run/tensorboard
            inside the model folder, or in FOLDER), "trackio" or "trackio:PROJECT" (files in run/trackio), or "wandb" or
            "wandb:PROJECT", which sends settings and metrics to Weights & Biases.

    Returns:
        0 if all went well, 1 if some utterances could not be read and were omitted.
    """
    from genser.cli._extras import training_extra
    from genser.cli._outputs import check_folder
    from genser.cli._overrides import parse_overrides
    from genser.cli._progress import progress_bars

    def report(sentence: str) -> None:
        note(f"genser: {sentence}")

    with training_extra("Training"):
        from genser.encoders import named_encoder
        from genser.inference.load import found_device
        from genser.training.recipe import KEYS, load_recipe
        from genser.training.run import run_training
        from genser.training.tracking import tracker
    for folder in (output, store):
        check_folder(folder)
    named = named_encoder(encoder) if encoder else None
    config = load_recipe(recipe, parse_overrides(overrides, "train", KEYS), named, report)
    with tracker(track, output, config) as log, progress_bars(has_lines=True) as bars:

        def progress(stage: str, done: int, total: int, metrics: dict) -> None:
            bars(stage, done, total, **{name: metrics[name] for name in ("loss", "validation_ua") if name in metrics})
            if stage == "steps":
                log(done, metrics)

        trained = run_training(manifest, config, output, store, found_device(device), progress=progress, report=report)
    if os.environ.get("RANK", "0") != "0":  # of the processes that torchrun starts, the first reports
        return 0
    for problem in trained.dataset.problems:
        note(problem)
    note(_summary(trained))
    return 1 if trained.dataset.problems else 0


def _summary(trained: "TrainedModel") -> str:
    best = trained.result.best
    validation = f", best validation UA {100 * best:.1f} %" if best >= 0 else ""
    rows, classes = len(trained.dataset.utterances), ", ".join(trained.dataset.classes)
    omitted = trained.dataset.omitted
    without = f" ({omitted} more have no class in this task and are omitted)" if omitted else ""
    return f"{rows} utterances{without}; classes: {classes}{validation} → {trained.folder}"
