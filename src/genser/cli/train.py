"""``genser train``: a manifest becomes a model folder."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter


def train(
    manifest: Path,
    *overrides: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    recipe: str = "small",
    encoder: str | None = None,
    output: Annotated[Path, Parameter(alias="-o")] = Path("model"),
    store: Path = Path("features"),
    device: str = "cpu",
) -> int:
    """Train a transport head on a manifest (Algorithm 1); a run that was stopped goes on.

    Any setting of the recipe can be given by its dotted name, such as --optimizer.lr 1e-4 or --path.k=4. Under torchrun
    the processes share every batch.

    Args:
        manifest: CSV, JSON lines or Parquet with at least the columns path and label.
        recipe: "small", "paper", or a YAML file.
        encoder: "whisper:FILE-OR-HUB-ID", "hubert:FOLDER-OR-HUB-ID", a path or hub id alone, or "fbank". The default
            is the encoder of the recipe, whose pooling is kept.
        output: Model folder; checkpoints and metrics.jsonl go into run/ inside.
        store: Folder of the feature store.
        device: "cpu" or "cuda".

    Returns:
        0 if all went well, 1 if some utterances could not be read and were left out.
    """
    from genser.cli._extras import training_extra
    from genser.cli._overrides import parse_overrides
    from genser.cli._progress import progress_bars

    with training_extra("Training"):
        from genser.encoders import named_encoder
        from genser.training.recipe import load_recipe
        from genser.training.run import run_training
    config = load_recipe(recipe, parse_overrides(overrides))
    config = replace(config, encoder=named_encoder(encoder, config.encoder)) if encoder else config
    with progress_bars() as bars:
        trained = run_training(
            manifest,
            config,
            output,
            store,
            device,
            lambda stage, done, total, notes: bars(stage, done, total, **_notable(notes)),
        )
    for problem in trained.dataset.problems:
        print(problem, file=sys.stderr)
    print(_summary(trained), file=sys.stderr)
    return 1 if trained.dataset.problems else 0


def _notable(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: metrics[name] for name in ("loss", "validation_ua") if name in metrics}


def _summary(trained: Any) -> str:
    best = trained.result.best
    validation = f", best validation UA {100 * best:.1f} %" if best >= 0 else ""
    rows, classes = len(trained.dataset.utterances), ", ".join(trained.dataset.classes)
    omitted = trained.dataset.left_out
    without = f" ({omitted} more have no class in this task and are omitted)" if omitted else ""
    return f"{rows} utterances{without}; classes: {classes}{validation} → {trained.folder}"
