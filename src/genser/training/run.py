"""A whole training run: manifest in, model folder out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from genser._version import __version__
from genser.configuration import to_mapping
from genser.data.manifest import read_manifest
from genser.encoders import load_encoder
from genser.model.folder import save_model
from genser.model.head import TransportHead
from genser.training.calibration import calibrate
from genser.training.config import TrainConfig
from genser.training.dataset import Dataset, build_dataset, divide
from genser.training.distributed import processes
from genser.training.rows import TrainingData
from genser.training.train import TrainResult, train

Progress = Callable[[str, int, int, dict[str, Any]], None]
"""Told the stage (``"features"`` or ``"steps"``), how much of it is done, of how much, and the latest metrics."""


@dataclass(frozen=True)
class TrainedModel:
    """What a run leaves behind.

    Attributes:
        folder: The model folder.
        dataset: What it was trained on.
        result: How training went.
    """

    folder: Path
    dataset: Dataset
    result: TrainResult


def run_training(
    manifest: Path, config: TrainConfig, out: Path, store: Path, device: str = "cpu", progress: Progress | None = None
) -> TrainedModel:
    """Encode what is not stored yet, train a transport head, calibrate it on the validation side, and write the model.

    Args:
        manifest: CSV, JSON lines or Parquet.
        config: Recipe.
        out: Output folder: the model folder, with the run's checkpoints and metrics in ``run/``.
        store: Folder of the feature store.
        device: Where to encode and train, such as ``"cuda"``.
        progress: See :data:`Progress`.

    Raises:
        GenserError: If the manifest, the recipe or a resumed run does not fit.
    """
    tell = progress or (lambda *_: None)
    encoder = load_encoder(config.encoder, device)
    dataset = build_dataset(
        read_manifest(manifest),
        encoder,
        str(store),
        task=config.task,
        labels=config.labels,
        views=config.views,
        augmentation=config.augmentation,
        progress=lambda done, total: tell("features", done, total, {}),
    )
    data, validation = divide(dataset, config)
    run = out / "run"
    run.mkdir(parents=True, exist_ok=True)
    with processes(device) as place:
        head = fresh_head(config, dataset.classes, dataset.features.shape[1:]).to(device)
        result = train(
            head,
            data,
            config,
            validation,
            folder=run,
            on_step=lambda step, metrics: tell("steps", step + 1, config.steps, metrics),
            processes=place,
        )
        if validation is not None:
            calibrate(head, validation)
        if place.rank == 0:
            save_model(out, head.cpu(), config.encoder, encoder.fingerprint, _info(config, dataset, data, result))
    return TrainedModel(out, dataset, result)


def fresh_head(config: TrainConfig, classes: tuple[str, ...], shape: tuple[int, ...]) -> TransportHead:
    """A head of a recipe with its first weights, which follow from the recipe's seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return TransportHead(config.head(classes, *shape))


def _info(config: TrainConfig, dataset: Dataset, data: TrainingData, result: TrainResult) -> dict[str, Any]:
    """What the model tells of its making."""
    corpora = sorted({item.corpus or "unnamed" for item in dataset.utterances})
    return {
        "genser": __version__,
        "recipe": to_mapping(config),
        "corpora": corpora,
        "utterances": len(dataset.utterances),
        "training_utterances": len(data),
        "speakers": len({item.speaker_key for item in dataset.utterances if item.speaker_key}),
        "validation_ua": result.best if result.best >= 0 else None,
    }
