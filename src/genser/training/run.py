"""A complete training run: a manifest becomes a model folder."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genser._version import __version__
from genser.config import to_mapping
from genser.data.features import FeatureProblem, extract_features, open_store
from genser.data.manifest import read_manifest
from genser.data.utterance import Utterance
from genser.encoders import SpeechEncoder, load_encoder
from genser.errors import each_once
from genser.files import atomic_write
from genser.metrics.few import without_interval
from genser.model.folder import CARD, save_model
from genser.model.head import Head
from genser.model.heads import make_head
from genser.training.batches import TrainingData
from genser.training.calibration import (
    Calibration,
    HeldOutPredictions,
    calibrate,
    drop_in_domain_score,
    fit_in_domain_score,
)
from genser.training.card import model_card
from genser.training.checks import calibration_remarks, check_table, claim_folder
from genser.training.clips import Clips
from genser.training.data import (
    Dataset,
    Report,
    build_dataset,
    calibration_folds,
    corpus_folds,
    sides,
    speakers_known,
)
from genser.training.distributed import ALONE, Processes, processes
from genser.training.gender import GenderHead, calibrate_gender, gender_config, gender_rows
from genser.training.lora import adapted_encoder
from genser.training.recipe import TrainConfig
from genser.training.speech_gate import train_gate
from genser.training.train import TrainResult, train

Progress = Callable[[str, int, int, dict[str, Any]], None]
"""Called with the stage (``"features"``, ``"adaptation"``, ``"steps"`` or ``"calibration"``), the amount done, the
amount to do, and the latest metrics."""


@dataclass(frozen=True)
class TrainedModel:
    """Result of a run.

    Attributes:
        folder: The model folder.
        dataset: All utterances of the run, with their features.
        result: Metrics of the training.
        inside: Predictions of unseen speakers; None without validation side and folds.
        outside: Predictions of unseen corpora; None unless the recipe asks for them.
        calibration: Fitted to both; None if there is one exponent.
        gender: The second answer, if the recipe asks for it.
    """

    folder: Path
    dataset: Dataset
    result: TrainResult
    inside: HeldOutPredictions | None = None
    outside: HeldOutPredictions | None = None
    calibration: Calibration | None = None
    gender: GenderHead | None = None


def run_training(
    manifest: Path,
    config: TrainConfig,
    out: Path,
    store: Path,
    device: str = "cpu",
    *,
    progress: Progress = lambda *_: None,
    report: Report = lambda _: None,
    info: dict[str, Any] | None = None,
) -> TrainedModel:
    """Encode what is not stored yet, train a head, calibrate it, train a speech gate, and write the model folder.

    Under torchrun the processes share the encoding, the steps and the trainings of the calibration; the first one
    adapts the encoder and writes.

    Args:
        manifest: CSV, JSON lines or Parquet.
        config: Recipe.
        out: Output folder: the model with its card, and the run's checkpoints and metrics in ``run/``.
        store: Folder of the feature store.
        device: Where to encode and train, such as ``"cuda"``.
        progress: See :data:`Progress`.
        report: Called with a message about omitted rows and settings without effect.
        info: Further facts for the model's description, such as its name.

    Raises:
        GenserError: The manifest, the recipe or a resumed run does not fit.
    """
    (out / "run").mkdir(parents=True, exist_ok=True)
    with processes(device, out / "run" / "shared") as (group, device):
        report = each_once(report) if group.rank == 0 else lambda _: None
        progress = progress if group.rank == 0 else lambda *_: None
        utterances, encoder = read_manifest(manifest), load_encoder(config.encoder, device)
        check_table(utterances, encoder, config, report)
        if group.rank == 0:
            claim_folder(out / "run", config)
        where = (store, out / "run", device, progress, group)
        setup = TrainingSetup.open(utterances, config, *where, encoder=encoder)
        training, validation = sides(setup.dataset.utterances, config, report)
        for sentence in calibration_remarks(setup.dataset.utterances, training, validation, config):
            report(sentence)  # clips that could not be read may have left too few
        encoder, dataset = setup.features(training)
        head, result = setup.fit(dataset, training, validation, folder=out / "run")
        if not result.steps:
            report(
                f"The head in {out} was trained before and is kept; what follows it is done again. Use another -o to "
                "train anew."
            )
        trained = TrainedModel(out, dataset, result)
        trained = _calibrated(trained, setup, head, training, validation)
        if config.gender:
            trained = replace(trained, gender=_gender_head(setup, dataset, training))
        if group.rank == 0:
            unread = _save(trained, setup, head, encoder, training, validation, info or {})
            trained = replace(trained, dataset=replace(trained.dataset, problems=(*dataset.problems, *unread)))
    return trained


@dataclass(frozen=True)
class TrainingSetup:
    """Recipe, encoder and features from which all models of a run are trained.

    Attributes:
        config: Recipe.
        encoder: The published encoder, before any adaptation.
        dataset: Its features; with augmented copies unless the recipe adapts the encoder.
        store: Folder of the feature store.
        folder: Folder of adapted weights.
        device: Where to encode and train.
        progress: See :data:`Progress`.
        clips: Waveforms that adaptations of this run share.
        group: Processes that share the work.
    """

    config: TrainConfig
    encoder: SpeechEncoder
    dataset: Dataset
    store: Path
    folder: Path
    device: str
    progress: Progress
    clips: Clips = field(default_factory=Clips)
    group: Processes = ALONE

    @classmethod
    def open(
        cls,
        utterances: Sequence[Utterance],
        config: TrainConfig,
        store: Path,
        folder: Path,
        device: str = "cpu",
        progress: Progress = lambda *_: None,
        group: Processes = ALONE,
        *,
        encoder: SpeechEncoder | None = None,
    ) -> "TrainingSetup":
        """Load the encoder, unless it is given, and encode all utterances."""
        encoder = encoder or load_encoder(config.encoder, device)
        copies = 0 if config.adaptation.rank else config.augmented_copies
        dataset = build_dataset(
            utterances,
            encoder,
            str(store),
            task=config.task,
            labels=config.labels,
            augmented_copies=copies,
            augmentation=config.augmentation,
            is_copied=lambda item: item.split in (None, "train"),
            progress=_stage(progress, "features"),
            processes=group,
        )
        return cls(config, encoder, dataset, store, folder, device, progress, group=group)

    def features(self, training: np.ndarray, *, copies: bool = True) -> tuple[SpeechEncoder, Dataset]:
        """The encoder, adapted to some rows if the recipe asks for it, and its features of all rows.

        Without ``copies``, an adapted encoder encodes no augmented copies, and the clips themselves take their place.
        """
        if not self.config.adaptation.rank:
            return self.encoder, self.dataset
        progress, config = _stage(self.progress, "adaptation"), self.config
        with self.group.first_alone():
            encoder = adapted_encoder(self.encoder, self.dataset, training, config, self.folder, progress, self.clips)
        copied = training if copies else training[:0]
        return encoder, self.clips.dataset(encoder, self.dataset, copied, config, self.group)

    def fit(
        self,
        dataset: Dataset,
        training: np.ndarray,
        validation: np.ndarray | None = None,
        *,
        folder: Path | None = None,
    ) -> tuple[Head, TrainResult]:
        """Train a head on some rows of a dataset."""
        config = self.config
        _, states, dim = dataset.features.shape
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)  # the initial weights follow from the seed alone
            head = make_head(config.head_config(dataset.classes, states, dim)).to(self.device)
        result = train(
            head,
            _shared(self.group, lambda: dataset.training_rows(training, config)),
            config,
            dataset.rows(validation) if validation is not None and len(validation) else None,
            folder=folder,
            on_step=(lambda step, metrics: self.progress("steps", step, config.steps, metrics)) if folder else None,
            processes=self.group,
        )
        if config.calibration.across_corpora and not self.group.rank:
            fit_in_domain_score(head, torch.from_numpy(dataset.features[training]), dataset.corpora[training])
        return head.eval(), result

    def held_out(self, parts: Iterable[tuple[np.ndarray, np.ndarray]]) -> HeldOutPredictions:
        """Train the recipe anew for each part, on some rows, and predict others; each process trains its share.

        Heads on adapted encoders learn without augmented copies here, which would double the time.
        """
        parts, found = list(parts), []
        alone = replace(self, group=ALONE)
        for number in self.group.share(len(parts)).tolist():
            training, test = parts[number]
            self.progress("calibration", number, len(parts), {})
            _, dataset = alone.features(training, copies=False)
            head, _ = alone.fit(dataset, training)
            found.append((number, HeldOutPredictions.of(head, test, dataset.rows(test), dataset.corpora[test])))
        found = [predictions for _, predictions in sorted(self.group.joined(found), key=itemgetter(0))]
        self.progress("calibration", len(parts), len(parts), {})
        return HeldOutPredictions.joined(found)


def _shared(group: Processes, make: Callable[[], TrainingData]) -> TrainingData:
    """Rows that the first process collects; the others map its files."""
    if group.world == 1:
        return make()

    def arrays() -> dict[str, np.ndarray]:
        data = make()
        values = {one.name: getattr(data, one.name) for one in fields(TrainingData)}
        return {f"training-{name}": np.asarray(value) for name, value in values.items() if value is not None}

    found = group.once(arrays)
    share = float(found["training-augmented_share"])
    tensors = {name.removeprefix("training-"): torch.from_numpy(array) for name, array in found.items() if array.ndim}
    return TrainingData(**tensors, augmented_share=share)


def _stage(progress: Progress, name: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(name, done, total, {})


def _calibrated(
    trained: TrainedModel,
    setup: TrainingSetup,
    head: Head,
    training: np.ndarray,
    validation: np.ndarray,
) -> TrainedModel:
    """Calibrate a head on held-out predictions, as the recipe asks.

    Rows of the split ``test`` are predicted with their corpus, but the calibration is not fitted to them.
    """
    settings, dataset = setup.config.calibration, trained.dataset
    inside = outside = None
    parts = calibration_folds(dataset.utterances, training, settings.folds)
    if parts:
        inside = setup.held_out(parts)
    elif len(validation):
        inside = HeldOutPredictions.of(head, validation, dataset.rows(validation), dataset.corpora[validation])
    corpora = corpus_folds(dataset.utterances, training) if settings.across_corpora else []
    if corpora:
        outside = setup.held_out(corpora)
    if setup.group.rank:  # the first process calibrates and saves
        return trained
    if inside is None:
        drop_in_domain_score(head)
        return trained
    known = None if outside is None else outside.where(np.isin(outside.rows, training))
    calibration = calibrate(head, inside, known)
    if calibration is None:
        drop_in_domain_score(head)
    return replace(trained, inside=inside, outside=outside, calibration=calibration)


def _gender_head(setup: TrainingSetup, dataset: Dataset, training: np.ndarray) -> GenderHead | None:
    """Train and calibrate the second answer; None if the training rows do not have two genders."""
    settings = setup.config.calibration
    labelled, rows = gender_rows(dataset, training)
    if len(labelled.classes) < 2:
        return None
    genders = replace(setup, config=gender_config(setup.config), dataset=labelled)
    head, _ = replace(genders, group=ALONE).fit(labelled, rows)
    parts = calibration_folds(labelled.utterances, rows, settings.folds)
    inside = genders.held_out(parts) if parts else None
    corpora = corpus_folds(labelled.utterances, rows) if settings.across_corpora else []
    outside = genders.held_out(corpora) if corpora else None
    known = [inside, outside and outside.where(np.isin(outside.rows, rows))]
    calibrate_gender(head, [one for one in known if one is not None])
    return GenderHead(head, inside, outside)


def _save(
    trained: TrainedModel,
    setup: TrainingSetup,
    head: Head,
    encoder: SpeechEncoder,
    training: np.ndarray,
    validation: np.ndarray,
    info: dict[str, Any],
) -> list[FeatureProblem]:
    """Write the model folder with its speech gate and its card; return the recordings without speech not read."""
    config, dataset = setup.config, trained.dataset
    gate, unread = None, []
    if config.speech_gate:
        speech = torch.from_numpy(dataset.features[training])
        if dataset.augmented is not None:
            speech = torch.cat([speech, torch.from_numpy(dataset.augmented[training, 0])])
        silent = [item for item in dataset.silent if (item.split or "train") == "train"]
        recordings = np.empty((0, *dataset.features.shape[1:]), np.float32)
        if silent:
            recordings, unread = extract_features(silent, encoder, open_store(str(setup.store), encoder))
        stage = _stage(setup.progress, "speech gate")
        gate = train_gate(encoder, config.encoder.pooling, speech, recordings, stage)
    info = {**_info(trained, config, training, validation), **info}
    embed = encoder if config.adaptation.rank else None
    save_model(
        trained.folder,
        head.cpu(),
        config.encoder,
        encoder.fingerprint,
        info,
        license=config.license,
        gate=gate,
        gender=trained.gender.head.cpu() if trained.gender else None,
        embed=embed,
    )
    card = model_card(
        trained.folder.name, config, dataset, training, info, gate is not None, trained.calibration is not None
    )
    atomic_write(trained.folder / CARD, card.encode())
    return unread


def _info(trained: TrainedModel, config: TrainConfig, training: np.ndarray, validation: np.ndarray) -> dict[str, Any]:
    """Facts about the run that the model keeps."""
    dataset, best = trained.dataset, trained.result.best
    info = {
        "genser": __version__,
        "recipe": to_mapping(config),
        "task": config.task,
        "corpora": sorted({name or "unnamed" for name in dataset.corpora.tolist()}),
        "utterances": len(dataset.utterances),
        "training_utterances": len(training),
        "speakers": len({item.speaker_key for item in dataset.utterances if item.speaker_key}),
        "validation_ua": best if best >= 0 else None,
    }
    if speakers_known(dataset.utterances):
        learned = [dataset.utterances[index] for index in (*training, *validation)]
        info["training_speakers"] = sorted({str(item.speaker_digest) for item in learned})
    held_out = {"validation": dataset.labels[validation]} if best >= 0 else {}
    if len(validation) and not speakers_known([dataset.utterances[index] for index in training]):
        info["validation_split"] = "recordings"
    if trained.inside is not None and config.calibration.folds:
        info["out_of_fold_ua"] = trained.inside.ua
        held_out["out of fold"] = trained.inside.labels
    if trained.outside is not None:
        info["across_corpora_ua"] = {name: part.ua for name, part in trained.outside.by_corpus.items()}
        held_out |= {name: part.labels for name, part in trained.outside.by_corpus.items()}
    if trained.gender is not None:
        info["gender_ua"] = {name: part.ua for name, part in trained.gender.held_out.items()}
        held_out |= {f"gender: {name}": part.labels for name, part in trained.gender.held_out.items()}
    info["few_clips"] = [name for name, labels in held_out.items() if "ua" in without_interval(np.bincount(labels))]
    return info
