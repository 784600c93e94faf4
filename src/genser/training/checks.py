"""What a table cannot give a recipe, said before its clips are encoded, which may take hours."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from genser.config import to_mapping
from genser.data.labels import NO_SPEECH
from genser.data.utterance import Utterance
from genser.encoders import SpeechEncoder
from genser.errors import ManifestError, ModelError, counted
from genser.files import atomic_write
from genser.model.features import check_rows
from genser.training.calibration import FEWEST
from genser.training.data import Report, calibration_folds, corpus_folds, labelled, sides
from genser.training.gender import gender_config
from genser.training.lora import adaptable
from genser.training.recipe import TrainConfig


def check_table(utterances: Sequence[Utterance], encoder: SpeechEncoder, config: TrainConfig, report: Report) -> None:
    """Refuse a table that is too small for a recipe, and a recipe that does not fit the encoder.

    Args:
        utterances: From a manifest.
        encoder: Of the recipe.
        config: Recipe.
        report: Called with each sentence on omitted rows and on what will have no effect.

    Raises:
        GenserError: The run would end with this error after the clips are encoded.
    """
    kept, omitted, classes = labelled(utterances, config.task, config.labels)
    config.head_config(classes, encoder.states, encoder.dim)
    if config.adaptation.rank:
        adaptable(encoder)
    count = sum(item.label != NO_SPEECH for item in omitted)
    if count:
        rows = counted(count, "row has", "rows have")
        report(f"{rows} no class in the task {config.task!r}, and training omits them.")
    training, validation = sides(kept, config, report)
    learned = [kept[index] for index in training]
    check_classes(learned, "The training side")
    present = {item.label for item in learned}
    if missing := [name for name in classes if name not in present]:
        report(f"No clip to train on has the class {', '.join(missing)}, so the model will not recognise it.")
    _check_rows(kept, training, config)
    genders, spoken = _with_gender(kept, training)
    if config.gender and len({genders[index].label for index in spoken}) > 1:
        _check_rows(genders, spoken, gender_config(config), config)
    for sentence in calibration_remarks(kept, training, validation, config):
        report(sentence)


def check_classes(training: Sequence[Utterance], side: str) -> None:
    """Refuse a training side with fewer than two classes; ``side`` names it for the message.

    Raises:
        ManifestError: It has.
    """
    if len(present := {item.label for item in training}) < 2:
        raise ManifestError(
            f"{side} has only the class {', '.join(map(str, present))}. Add clips or speakers of others, or divide the "
            "table in another way."
        )


def _check_rows(
    utterances: Sequence[Utterance], training: np.ndarray, config: TrainConfig, calibrated: TrainConfig | None = None
) -> None:
    """Refuse a training side, or one of a head of the calibration, that is too small for the components."""
    settings = (calibrated or config).calibration
    folds = calibration_folds(utterances, training, settings.folds)
    folds += corpus_folds(utterances, training) if settings.across_corpora else []
    for side in (training, *(side for side, _ in folds)):
        rows = len(side) * (1 + config.augmented_copies) * (2 if config.centre else 1)
        check_rows(rows, config.feature_transform.components)


def _with_gender(utterances: Sequence[Utterance], training: np.ndarray) -> tuple[list[Utterance], np.ndarray]:
    """The utterances with their gender as the label, and the training rows that have one."""
    genders = [replace(item, label=item.gender) for item in utterances]
    return genders, np.array([index for index in training if genders[index].label is not None], np.int64)


def calibration_remarks(
    utterances: Sequence[Utterance], training: np.ndarray, validation: np.ndarray, config: TrainConfig
) -> Iterator[str]:
    """Sentences on what the calibration and the gender lack, which needs no features."""
    settings = config.calibration
    folds = calibration_folds(utterances, training, settings.folds)
    if settings.across_corpora and not corpus_folds(utterances, training):
        has_one = len({utterances[index].corpus for index in training}) == 1
        reason = "the manifest has one corpus" if has_one else "the corpora other than one do not have two classes"
        yield (
            f"calibration.across_corpora has no effect, since {reason}: one exponent calibrates all clips, and the "
            "model has no in-domain score."
        )
    held_out = sum(len(test) for _, test in folds) or len(validation)
    if not held_out:
        yield "The model is not calibrated, since no clips were held out. Set validation or calibration.folds."
    elif held_out < FEWEST:
        yield f"The model is not calibrated, since there are fewer than {FEWEST} held-out clips: {held_out}."
    if not config.gender:
        return
    genders, spoken = _with_gender(utterances, training)
    if len({genders[index].label for index in spoken}) < 2:
        yield (
            "The model does not recognise the gender, since the column 'gender' of the manifest does not have two "
            "values."
        )
    elif not calibration_folds(utterances, spoken, settings.folds) and not (
        settings.across_corpora and corpus_folds(genders, spoken)
    ):
        yield "The gender is not calibrated, since no clips were held out. Set calibration.folds."


def claim_folder(folder: Path, config: TrainConfig) -> None:
    """Refuse the folder of a run whose checkpoint is of another recipe; else keep the recipe in it.

    The checkpoint itself knows recipe and data by one hash, which needs the features.

    Raises:
        ModelError: The folder is of another recipe.
    """
    checkpoint, path = folder / "last.safetensors", folder / "recipe.json"
    recipe = json.dumps(to_mapping(config), sort_keys=True, indent=1) + "\n"
    if checkpoint.exists() and path.exists() and path.read_text("utf-8") != recipe:
        raise ModelError(f"{checkpoint} belongs to another recipe or other data. Use an empty output folder.")
    atomic_write(path, recipe.encode())
