"""From a manifest to rows to learn from, divided into a training and a validation side."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from genser.audio.augment import Augmentation, AugmentedCopy
from genser.data.features import FeatureProblem, extract_features, open_store
from genser.data.labels import NO_SPEECH, classes_of, find_label_map, for_task
from genser.data.splits import folds, recordings_of, validation_split
from genser.data.store import FeatureStore
from genser.data.utterance import Utterance
from genser.encoders import SpeechEncoder
from genser.encoders.encode_clips import has_fast_bf16
from genser.errors import ConfigError, ManifestError, counted
from genser.training.batches import TrainingData, balance_weights
from genser.training.distributed import ALONE, Processes
from genser.training.recipe import TrainConfig

Report = Callable[[str], None]
"""Called with a message for the user."""


@dataclass(frozen=True)
class Dataset:
    """Labelled utterances with their features.

    Attributes:
        utterances: Those that have both a class and features.
        features: Pooled hidden states, float32 of shape (utterances, states, dim).
        classes: Class names in the order of their indices.
        problems: Utterances that could not be read.
        omitted: Number of utterances that are omitted, because they have no class in this task.
        silent: Utterances without speech (label "no speech"), from which only the speech gate learns.
        augmented: Features of augmented copies, shape (utterances, copies, states, dim); None without copies. A copy
            that could not be encoded is the clip itself.
    """

    utterances: tuple[Utterance, ...]
    features: np.ndarray
    classes: tuple[str, ...]
    problems: tuple[FeatureProblem, ...]
    omitted: int
    augmented: np.ndarray | None = None
    silent: tuple[Utterance, ...] = ()

    @cached_property
    def labels(self) -> np.ndarray:
        """Class indices, int64 of shape (utterances,)."""
        index: dict[str | None, int] = {name: position for position, name in enumerate(self.classes)}
        return np.array([index[item.label] for item in self.utterances], dtype=np.int64)

    @cached_property
    def corpora(self) -> np.ndarray:
        """Name of the corpus of every utterance; empty if it has none."""
        return np.array([item.corpus or "" for item in self.utterances])

    def rows(self, indices: np.ndarray) -> TrainingData:
        """Rows to score: features and labels without balance, centring and copies."""
        return TrainingData(torch.from_numpy(self.features[indices]), torch.from_numpy(self.labels[indices]))

    def weights(self, indices: np.ndarray, balance: str) -> Tensor | None:
        """Relative frequency with which each row is drawn, shape (rows,); None draws all rows in turn."""
        keys = [_balance_key(self.utterances[index], balance) for index in indices]
        return None if balance == "none" else balance_weights(keys)

    def training_rows(self, indices: np.ndarray, config: TrainConfig) -> TrainingData:
        """Rows to train on: balanced, with the augmented copies that a recipe asks for, and once more centred.

        Raises:
            ConfigError: The recipe asks for more augmented copies than there are.
        """
        rows, weights = self.rows(indices), self.weights(indices, config.balance)
        augmented = (
            torch.from_numpy(self._copies(config.augmented_copies)[indices]) if config.augmented_copies else None
        )
        rows = replace(rows, weights=weights, augmented=augmented, augmented_share=config.augmented_share)
        if not config.centre:
            return rows
        shifts = self._shifts(indices, weights)
        return TrainingData(
            torch.cat([rows.features, rows.features + shifts]),
            rows.labels.repeat(2),
            None if weights is None else weights.repeat(2) / 2,
            None if augmented is None else torch.cat([augmented, augmented + shifts[:, None]]),
            config.augmented_share,
        )

    def _shifts(self, indices: np.ndarray, weights: Tensor | None) -> Tensor:
        """Shifts after which all speakers have the same mean, the classes of each counting alike.

        The mean of a speaker reflects voice, microphone, room and language. After the shift, a head cannot rely on it.
        Where a speaker is unknown, the corpus takes its place.
        """
        groups = np.array(
            ["/".join(self.utterances[index].speaker_key or (str(self.corpora[index]),)) for index in indices]
        )
        labels, rows = self.labels[indices], self.features[indices].astype(np.float64)
        overall = np.average(rows, axis=0, weights=None if weights is None else weights.numpy())
        shifts = np.empty_like(rows)
        for group in sorted(set(groups)):
            inside = groups == group
            means = [rows[inside & (labels == label)].mean(0) for label in sorted(set(labels[inside]))]
            shifts[inside] = overall - np.mean(means, axis=0)
        return torch.from_numpy(shifts).float()

    def _copies(self, count: int) -> np.ndarray:
        present = 0 if self.augmented is None else self.augmented.shape[1]
        if self.augmented is None or count > present:
            raise ConfigError(
                f"The recipe asks for {count} augmented copies of every clip, the features have {present}."
            )
        return self.augmented[:, :count]


def labelled(
    utterances: Sequence[Utterance], task: str, labels: str | None
) -> tuple[list[Utterance], list[Utterance], tuple[str, ...]]:
    """Give every utterance its class.

    Args:
        utterances: From a manifest.
        task: Task whose column is the class.
        labels: Label map, by name or as ``file.toml:name``; None takes the labels as they are, sorted.

    Returns:
        Utterances with a class, those without, and the classes.

    Raises:
        ManifestError: There are fewer than two classes.
    """
    label_map = find_label_map(labels) if labels else None
    kept, omitted = for_task(utterances, task, label_map)
    classes = classes_of(kept, label_map)
    if len(classes) < 2:
        raise ManifestError(
            f"The manifest has {counted(len(classes), 'class', 'classes')} of the task {task!r}. Training needs two or "
            "more. Check its column and the label map."
        )
    return kept, omitted, classes


def build_dataset(
    utterances: Sequence[Utterance],
    encoder: SpeechEncoder,
    store: str,
    *,
    task: str = "emotion",
    labels: str | None = None,
    augmented_copies: int = 0,
    augmentation: Augmentation | None = None,
    is_copied: Callable[[Utterance], bool] = lambda _: True,
    bf16: bool | None = None,
    progress: Callable[[int, int], None] | None = None,
    processes: Processes = ALONE,
) -> Dataset:
    """Give every utterance its class and its features.

    Args:
        utterances: From a manifest.
        encoder: Computes the features.
        store: Folder of the feature store.
        task: Task whose column is the class.
        labels: Label map, by name or as ``file.toml:name``; None takes the labels as they are, sorted.
        augmented_copies: Augmented copies of every clip to encode.
        augmentation: How copies are augmented; None for the defaults.
        is_copied: Whether an utterance may be trained on; a copy of any other is the clip itself.
        bf16: Whether clips are encoded in bfloat16, as copies are on devices that compute in it; None does so on a GPU.
        progress: Called with the number of rows done and to do.
        processes: Processes that share the work; each encodes its part of the utterances.

    Raises:
        ManifestError: There are fewer than two classes.
    """
    kept, omitted, classes = labelled(utterances, task, labels)
    opened = open_store(store, encoder, bf16=bf16)
    features, problems = _extracted("features", kept, encoder, opened, progress, processes)
    if problems:
        bad = {problem.row for problem in problems}
        read = np.array([index for index in range(len(kept)) if index not in bad], dtype=np.int64)
        kept = [kept[index] for index in read]
        features = processes.once(lambda: {"readable": features[read]})["readable"]
    silent = tuple(item for item in omitted if item.label == NO_SPEECH)
    count = len(omitted) - len(silent)
    dataset = Dataset(tuple(kept), features, classes, tuple(problems), count, silent=silent)
    copies = [AugmentedCopy(augmentation or Augmentation(), number) for number in range(1, augmented_copies + 1)]
    copied = np.array([index for index, item in enumerate(kept) if is_copied(item)], dtype=np.int64)
    return _with_copies(dataset, copied, copies, encoder, store, progress, processes) if copies else dataset


def _with_copies(
    dataset: Dataset,
    copied: np.ndarray,
    copies: list[AugmentedCopy],
    encoder: SpeechEncoder,
    store: str,
    progress: Callable[[int, int], None] | None,
    processes: Processes,
) -> Dataset:
    """Encode augmented copies of some rows; one that fails is replaced by the clip and listed among the problems.

    Copies are encoded in bfloat16 where the device computes in it: 2.5 times as fast (0.0081 against 0.0207 CPU seconds
    per second of audio, Whisper base), and the error is far smaller than the effect of the augmentation.
    """
    tables, problems = [], list(dataset.problems)
    utterances = [dataset.utterances[index] for index in copied.tolist()]
    for copy in copies:
        opened = open_store(store, encoder, augmented_copy=copy, bf16=has_fast_bf16(encoder.device))
        name = f"copy-{copy.number}"
        features, failed = _extracted(name, utterances, encoder, opened, progress, processes)
        tables.append(features)
        about = f"augmented copy {copy.number}: "
        problems += [replace(one, row=int(copied[one.row]), reason=about + one.reason) for one in failed]

    def augmented() -> dict[str, np.ndarray]:
        found = np.repeat(dataset.features[:, None], len(copies), axis=1)
        for index in range(len(copies)):
            rows = tables.pop(0)  # frees its memory
            is_read = ~np.isnan(rows).any(axis=(1, 2))
            found[copied[is_read], index] = rows[is_read]
        return {"augmented": found}

    return replace(dataset, augmented=processes.once(augmented)["augmented"], problems=tuple(problems))


def _extracted(
    name: str,
    utterances: Sequence[Utterance],
    encoder: SpeechEncoder,
    store: FeatureStore,
    progress: Callable[[int, int], None] | None,
    processes: Processes,
) -> tuple[np.ndarray, list[FeatureProblem]]:
    """Features of all utterances, of which each process encodes and reads its share, and the problems in order."""
    rows = processes.share(len(utterances))
    part, failed = extract_features([utterances[row] for row in rows], encoder, store, progress=progress)
    problems = processes.joined([replace(one, row=int(rows[one.row])) for one in failed])
    return processes.table(name, part, len(utterances)), sorted(problems, key=lambda one: one.row)


def sides(
    utterances: Sequence[Utterance], config: TrainConfig, report: Report = lambda _: None
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training and the validation side; rows of the split ``test`` are on neither.

    The validation side is the manifest's own, else whole speakers, else single recordings where a speaker is unknown.

    Args:
        utterances: Those with a class.
        config: Its share and seed of validation.
        report: Called if speakers are unknown, or are on both sides.

    Raises:
        ManifestError: There is no training side.
    """
    splits = np.array([item.split or "train" for item in utterances])
    train, validation = np.flatnonzero(splits == "train"), np.flatnonzero(splits == "validation")
    if not len(train):
        raise ManifestError("No row of the manifest is in the split 'train'. Mark some, or leave the column empty.")
    if len(validation) or not config.validation:
        _report_shared_speakers(utterances, train, validation, report)
        return train, validation
    learned = [utterances[index] for index in train.tolist()]
    if speakers_known(learned):
        inner, held_out = validation_split(learned, config.validation, config.seed)
    else:
        inner, held_out = _recording_split(learned, config.validation, config.seed)
        report(
            "Some rows have no speaker, so the validation side is a random share of the recordings. Its scores are "
            "optimistic, since its speakers may be on the training side: fill the column 'speaker'."
            if len(held_out)
            else "There is no validation side, since the recordings of each class are too few for it."
        )
    return train[inner], train[held_out]


def _report_shared_speakers(
    utterances: Sequence[Utterance], train: np.ndarray, validation: np.ndarray, report: Report
) -> None:
    voices = [{utterances[index].speaker_key for index in side.tolist()} - {None} for side in (train, validation)]
    if shared := voices[0] & voices[1]:
        speakers = counted(len(shared), "speaker is", "speakers are")
        report(
            f"{speakers} on the training and the validation side by the column 'split', so the validation scores are "
            "optimistic."
        )


def speakers_known(utterances: Sequence[Utterance]) -> bool:
    """Whether every utterance names its speaker."""
    return all(item.speaker is not None for item in utterances)


def _recording_split(utterances: Sequence[Utterance], share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Hold out a share of the recordings of each class, never all; all parts of a recording are on one side."""
    classes: dict[str, set[str]] = defaultdict(set)
    for path, label in {item.path: item.label or "" for item in utterances}.items():
        classes[label].add(path)
    generator, held_out = np.random.default_rng(seed), set()
    for _, paths in sorted(classes.items()):
        drawn = generator.permutation(sorted(paths))
        held_out |= set(drawn[: min(round(share * len(drawn)), len(drawn) - 1)].tolist())
    chosen = np.array([item.path in held_out for item in utterances])
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def calibration_folds(
    utterances: Sequence[Utterance], train: np.ndarray, count: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Divide a training side into folds of whole speakers, or of recordings if a speaker is unknown.

    Returns:
        Indices of the rows to train on and to predict in each fold; none for a count of 0, and none for a
        single speaker.
    """
    learned = [utterances[index] for index in train.tolist()]
    is_known = speakers_known(learned)
    recordings = recordings_of(learned)
    several = len({item.speaker_key for item in learned}) if is_known else int(recordings.max(initial=-1)) + 1
    count = min(count, several)
    if count < 2:
        return []
    if is_known:
        return [(train[fold.train], train[fold.test]) for fold in folds(learned, "kfold-speaker", k=count)]
    parts = np.array_split(np.random.default_rng(0).permutation(several), count)
    tests = [np.isin(recordings, part) for part in parts]
    return [(train[~test], train[test]) for test in tests]


def corpus_folds(utterances: Sequence[Utterance], train: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Hold out each corpus of a training side in turn, if the others have two classes or more.

    Returns:
        Indices of the rows to train on, and of all rows of the held-out corpus whose classes these have.
    """
    corpora = np.array([item.corpus or "" for item in utterances])
    labels = np.array([item.label or "" for item in utterances])
    found = []
    for name in sorted(set(corpora[train].tolist())):
        rows = train[corpora[train] != name]
        known = np.unique(labels[rows])
        test = np.flatnonzero((corpora == name) & np.isin(labels, known))
        if len(known) > 1 and len(test):
            found.append((rows, test))
    return found


def _balance_key(utterance: Utterance, balance: str) -> tuple[str, ...]:
    parts = {"corpus": utterance.corpus or "", "class": utterance.label or ""}
    return tuple(parts[part] for part in balance.split("-")) if balance != "none" else ()
