"""From a manifest to rows to learn from."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from genser.audio.augment import Augmentation, AugmentedCopy
from genser.data.features import FeatureProblem, extract_features, open_store
from genser.data.labels import find_label_map, for_task
from genser.data.splits import check_leaks, validation_split
from genser.data.utterance import Utterance
from genser.encoders import SpeechEncoder
from genser.errors import ConfigError, ManifestError
from genser.training.batches import TrainingData, balance_weights
from genser.training.recipe import TrainConfig


@dataclass(frozen=True)
class Dataset:
    """Labelled utterances with their features.

    Attributes:
        utterances: Those that have both a class and features.
        features: Pooled hidden states, float32 of shape (utterances, states, dim).
        classes: Class names in the order of their indices.
        problems: Utterances whose sound could not be read.
        left_out: Number of utterances without a class in this task.
        augmented: The same features of altered copies, shape (utterances, copies, states, dim); None without copies. A
            copy that could not be encoded is the clip itself.
    """

    utterances: tuple[Utterance, ...]
    features: np.ndarray
    classes: tuple[str, ...]
    problems: tuple[FeatureProblem, ...]
    left_out: int
    augmented: np.ndarray | None = None

    @property
    def labels(self) -> np.ndarray:
        """Class indices, int64 of shape (utterances,)."""
        index = {name: position for position, name in enumerate(self.classes)}
        return np.array([index[item.label] for item in self.utterances], dtype=np.int64)

    def rows(self, places: np.ndarray) -> TrainingData:
        """The utterances at the given positions as they are, to be scored."""
        return TrainingData(torch.from_numpy(self.features[places]), torch.from_numpy(self.labels[places]))

    def training_rows(self, places: np.ndarray, config: TrainConfig) -> TrainingData:
        """The utterances at the given positions to learn from, balanced and altered as a recipe says.

        Raises:
            ConfigError: If the recipe wants more altered copies than there are.
        """
        keys = [_balance_key(self.utterances[place], config.balance) for place in places]
        weights = None if config.balance == "none" else balance_weights(keys)
        rows = self.rows(places)
        augmented = torch.from_numpy(self._copies(config.augmented_copies)[places]) if config.augmented_copies else None
        if config.centre:
            shifts = self._shifts(places)
            rows = replace(rows, features=rows.features + shifts)
            augmented = None if augmented is None else augmented + shifts[:, None]
        return replace(rows, weights=weights, augmented=augmented, augmented_share=config.augmented_share)

    def _shifts(self, places: np.ndarray) -> Tensor:
        """What moves every row so that all corpora have one mean over the classes they share, classes counting alike.

        The mean of a corpus tells its microphones, rooms and language; moved, it can not be relied on.
        """
        corpora = np.array([self.utterances[place].corpus or "" for place in places])
        labels, rows = self.labels[places], self.features[places].astype(np.float64)
        names = sorted(set(corpora))
        shared = set.intersection(*(set(labels[corpora == name]) for name in names))
        if not shared:
            raise ConfigError(f"centre needs a class that all corpora share; {', '.join(names)} share none.")
        means = {
            name: np.mean([rows[(corpora == name) & (labels == label)].mean(0) for label in sorted(shared)], axis=0)
            for name in names
        }
        whole = np.mean(list(means.values()), axis=0)
        return torch.from_numpy(np.stack([whole - means[name] for name in corpora])).float()

    def _copies(self, count: int) -> np.ndarray:
        there = 0 if self.augmented is None else self.augmented.shape[1]
        if self.augmented is None or count > there:
            raise ConfigError(f"The recipe wants {count} altered copies of every clip; the features have {there}.")
        return self.augmented[:, :count]


def build_dataset(
    utterances: Sequence[Utterance],
    encoder: SpeechEncoder,
    store: str,
    *,
    task: str = "emotion",
    labels: str | None = None,
    augmented_copies: int = 0,
    augmentation: Augmentation | None = None,
    copied: Collection[Utterance] | None = None,
    bf16: bool | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Give every utterance its class and its features.

    Args:
        utterances: From a manifest.
        encoder: Where features come from.
        store: Folder of the feature store.
        task: Which column is the class.
        labels: Label map, by name or as ``file.toml:name``; None takes the labels as they are, sorted.
        augmented_copies: Augmented copies of every clip to encode beside the clip itself.
        augmentation: How these are altered; None for the defaults.
        copied: The utterances that need copies; the others' copies are the clips themselves. None for all.
        bf16: Whether the clips themselves are encoded in bfloat16 as well, as copies always are; None does so on a GPU.
        progress: Called with the rows done and the rows to do.

    Raises:
        ManifestError: If fewer than two classes are left.
    """
    chosen = find_label_map(labels) if labels else None
    kept, left_out = for_task(utterances, task, chosen)
    present = {item.label for item in kept}
    classes = tuple(name for name in chosen.classes if name in present) if chosen else tuple(sorted(present))
    if len(classes) < 2:
        raise ManifestError(f"The manifest has {len(classes)} class(es) of the task {task!r}; learning needs two.")
    features, problems = extract_features(kept, encoder, open_store(store, encoder, bf16=bf16), progress=progress)
    there = np.flatnonzero(~np.isnan(features).any(axis=(1, 2)))
    dataset = Dataset(tuple(kept[i] for i in there), features[there], classes, tuple(problems), len(left_out))
    numbered = [AugmentedCopy(augmentation or Augmentation(), number) for number in range(1, augmented_copies + 1)]
    if not numbered:
        return dataset
    chosen = dataset.utterances if copied is None else set(copied)
    places = np.array([place for place, item in enumerate(dataset.utterances) if item in chosen], dtype=np.int64)
    return _with_copies(dataset, places, numbered, encoder, store, progress)


def _with_copies(
    dataset: Dataset,
    places: np.ndarray,
    views: list[AugmentedCopy],
    encoder: SpeechEncoder,
    store: str,
    progress: Callable[[int, int], None] | None,
) -> Dataset:
    """Encode altered copies of some rows; one that fails is replaced by the clip itself and told among the problems.

    Copies are encoded in bfloat16: 2.5 times as fast on a CPU with its instructions (0.0081 against 0.0207 CPU seconds
    a second of sound, Whisper-base), with an error far below what the alteration itself changes.
    """
    copies = np.repeat(dataset.features[:, None], len(views), axis=1)
    utterances, problems = [dataset.utterances[place] for place in places], list(dataset.problems)
    for number, view in enumerate(views):
        opened = open_store(store, encoder, augmented_copy=view, bf16=True)
        features, failed = extract_features(utterances, encoder, opened, progress=progress)
        there = ~np.isnan(features).any(axis=(1, 2))
        copies[places[there], number] = features[there]
        problems += [replace(one, reason=f"altered copy {view.number}: {one.reason}") for one in failed]
    return replace(dataset, augmented=copies, problems=tuple(problems))


def divide(dataset: Dataset, config: TrainConfig) -> tuple[TrainingData, TrainingData | None]:
    """Rows of both sides, see :func:`sides`; None without a validation side."""
    train, validation = sides(dataset, config)
    return dataset.training_rows(train, config), dataset.rows(validation) if len(validation) else None


def sides(dataset: Dataset, config: TrainConfig) -> tuple[np.ndarray, np.ndarray]:
    """Places of the training and the validation side: the manifest's own, else whole speakers; never the test split.

    Raises:
        ManifestError: If a speaker or a sound is on both sides, or speakers are unknown.
    """
    splits = np.array([item.split or "train" for item in dataset.utterances])
    train, validation = np.flatnonzero(splits == "train"), np.flatnonzero(splits == "validation")
    if not len(train):
        raise ManifestError("No row of the manifest is in the split 'train'.")
    if not len(validation) and config.validation:
        inner, held_out = validation_split([dataset.utterances[i] for i in train], config.validation, config.seed)
        train, validation = train[inner], train[held_out]
        check_leaks(*([dataset.utterances[i] for i in side] for side in (train, validation)))
    return train, validation


def _balance_key(utterance: Utterance, balance: str) -> tuple[str, ...]:
    parts = {"corpus": utterance.corpus or "", "class": utterance.label or ""}
    return tuple(parts[part] for part in balance.split("-")) if balance != "none" else ()
