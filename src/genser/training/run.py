"""A whole training run: manifest in, model folder out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from genser._version import __version__
from genser.config import to_mapping
from genser.data.manifest import read_manifest
from genser.data.utterance import Utterance
from genser.encoders import SpeechEncoder, load_encoder
from genser.model.folder import save_model
from genser.model.head import Head
from genser.model.heads import make_head
from genser.training.batches import TrainingData
from genser.training.calibration import calibrate
from genser.training.data import Dataset, build_dataset, divide, sides
from genser.training.distributed import processes
from genser.training.lora import adapted_encoder
from genser.training.recipe import TrainConfig
from genser.training.train import TrainResult, train

Progress = Callable[[str, int, int, dict[str, Any]], None]
"""Told the stage (``"features"``, ``"adaptation"``, ``"steps"``), what is done of it, of how much, latest metrics."""


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
    run = out / "run"
    run.mkdir(parents=True, exist_ok=True)
    encoder, dataset = gather(read_manifest(manifest), config, store, run, device, tell)
    data, validation = divide(dataset, config)
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
            embed = encoder if config.adaptation.rank else None
            info = _info(config, dataset, data, result)
            save_model(out, head.cpu(), config.encoder, encoder.fingerprint, info, embed=embed)
    return TrainedModel(out, dataset, result)


def gather(
    utterances: Sequence[Utterance],
    config: TrainConfig,
    store: Path,
    folder: Path,
    device: str = "cpu",
    tell: Progress = lambda *_: None,
) -> tuple[SpeechEncoder, Dataset]:
    """The encoder of a recipe, adapted where it says so, and the features that it gives.

    Args:
        utterances: Training, validation and other rows; adapted to are the training side's alone.
        config: Recipe.
        store: Folder of the feature store.
        folder: Where adapted weights are kept.
        device: Where to encode and adapt.
        tell: See :data:`Progress`; adaptation is the stage ``"adaptation"``.
    """

    def built(encoder: SpeechEncoder, copies: int) -> Dataset:
        options = {
            "task": config.task,
            "labels": config.labels,
            "augmented_copies": copies,
            "augmentation": config.augmentation,
        }
        return build_dataset(utterances, encoder, str(store), **options, progress=_stage(tell, "features"))

    encoder = load_encoder(config.encoder, device)
    if config.adaptation.rank:
        frozen = built(encoder, 0)
        train = sides(frozen, config)[0]
        encoder = adapted_encoder(encoder, frozen, train, config, folder, _stage(tell, "adaptation"))
    return encoder, built(encoder, config.augmented_copies)


def _stage(tell: Progress, name: str) -> Callable[[int, int], None]:
    return lambda done, total: tell(name, done, total, {})


def fresh_head(config: TrainConfig, classes: tuple[str, ...], shape: tuple[int, ...]) -> Head:
    """A head of a recipe with its first weights, which follow from the recipe's seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return make_head(config.head(classes, *shape))


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
