"""What a training step sees: rows and augmented copies, drawn by seed and step alone."""

import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from genser.config import to_mapping
from genser.errors import ConfigError
from genser.model.features import FeatureTransformConfig
from genser.model.head import Head
from genser.training.recipe import TrainConfig

SEED_STRIDE = 1_000_003
"""Prime between the seeds of two runs, so that steps under different seeds have different draws."""

COPY_SEEDS = 1 << 48
"""Offset of the seeds that draw augmented copies, so that they differ from those that draw rows."""


@dataclass(frozen=True)
class TrainingData:
    """Rows of features with their classes.

    Attributes:
        features: Pooled hidden states, shape (rows, states, dim), any float type.
        labels: Class indices, shape (rows,).
        weights: Relative frequency with which each row is drawn; None draws all rows in turn.
        augmented: Features of augmented copies, shape (rows, copies, states, dim); None has no copies.
        augmented_share: How often a drawn row is replaced by one of its copies.
    """

    features: Tensor
    labels: Tensor
    weights: Tensor | None = None
    augmented: Tensor | None = None
    augmented_share: float = 0.5

    def __post_init__(self) -> None:
        if not len(self.features) == len(self.labels) > 0:
            raise ConfigError(
                f"Training needs one label for every row of features, got {len(self.features)} rows and "
                f"{len(self.labels)} labels."
            )
        if self.augmented is not None and (len(self.augmented), *self.augmented.shape[2:]) != tuple(
            self.features.shape
        ):
            raise ConfigError(
                f"Augmented copies of shape {tuple(self.augmented.shape)} do not fit rows of shape "
                f"{tuple(self.features.shape)}."
            )

    def __len__(self) -> int:
        return len(self.labels)


def draw_rows(data: TrainingData, batch_size: int, step: int, seed: int) -> Tensor:
    """Indices of the rows of a step, a function of seed and step alone.

    With weights, rows are drawn with replacement. Without, every epoch has all rows in a new order, and a batch may
    span two epochs.
    """
    if data.weights is not None:
        generator = torch.Generator().manual_seed(seed * SEED_STRIDE + step)
        return torch.multinomial(data.weights, batch_size, replacement=True, generator=generator)
    indices = torch.arange(step * batch_size, (step + 1) * batch_size)
    epochs = indices // len(data)
    orders = [_shuffled(len(data), int(epoch), seed)[indices[epochs == epoch] % len(data)] for epoch in epochs.unique()]
    return torch.cat(orders)


def draw_copies(data: TrainingData, count: int, step: int, seed: int) -> Tensor | None:
    """Number of the copy that replaces each row of a step; 0 keeps the clip, None means that there are no copies.

    Like the rows, the choice is a function of seed and step alone. Its generator is its own, so that other draws are
    the same with and without copies.
    """
    if data.augmented is None or not data.augmented.shape[1]:
        return None
    generator = torch.Generator().manual_seed(COPY_SEEDS + seed * SEED_STRIDE + step)
    is_copy = torch.rand(count, generator=generator) < data.augmented_share
    return torch.where(is_copy, 1 + torch.randint(data.augmented.shape[1], (count,), generator=generator), 0)


def draw_features(data: TrainingData, rows: Tensor, step: int, seed: int) -> Tensor:
    """Features (batch, states, dim) of drawn rows, or of the copies drawn in their place."""
    features, copies = data.features[rows], draw_copies(data, len(rows), step, seed)
    if copies is None:
        return features
    assert data.augmented is not None
    is_copy = copies > 0
    features[is_copy] = data.augmented[rows[is_copy], copies[is_copy] - 1].to(features.dtype)
    return features


def fitting_rows(data: TrainingData) -> tuple[Tensor, Tensor, Tensor | None]:
    """Features, labels and weights of all clips and copies, each weighted by how often training draws it.

    The feature transform and the ridge prior are fitted to these, so that they see what the network sees.
    """
    if data.augmented is None or not data.augmented.shape[1]:
        return data.features.float(), data.labels, data.weights
    copies = data.augmented.shape[1]
    clips = torch.ones(len(data), dtype=torch.float64) if data.weights is None else data.weights.double()
    weights = torch.cat(
        [clips * (1 - data.augmented_share), (clips * data.augmented_share / copies).repeat_interleave(copies)]
    )
    features = torch.cat([data.features, data.augmented.flatten(0, 1)]).float()
    return features, torch.cat([data.labels, data.labels.repeat_interleave(copies)]), weights


def balance_weights(keys: Sequence[tuple[str, ...]]) -> Tensor:
    """Weights under which all first keys have the same total, all second keys within each first key too, and so on.

    Args:
        keys: Keys of each row from the outermost to the innermost, such as (class, corpus).

    Returns:
        Shape (rows,), summing to 1.
    """
    children: dict[tuple[str, ...], set[tuple[str, ...]]] = defaultdict(set)
    for key in keys:
        for depth in range(len(key)):
            children[key[:depth]].add(key[: depth + 1])
    counts = Counter(keys)
    shares = [math.prod(len(children[key[:depth]]) for depth in range(len(key))) * counts[key] for key in keys]
    return 1 / torch.tensor(shares, dtype=torch.float64)


def identity(config: TrainConfig, data: TrainingData) -> str:
    """Hash of a recipe and its rows; a checkpoint is resumed only by a run with the same one."""
    digest = hashlib.sha256(json.dumps(to_mapping(config), sort_keys=True).encode())
    digest.update(str(tuple(data.features.shape)).encode())
    for tensor in (data.features, data.labels, data.augmented, data.weights):
        if tensor is not None:
            digest.update(tensor.contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


@lru_cache(maxsize=4)
def _shuffled(rows: int, epoch: int, seed: int) -> Tensor:
    return torch.randperm(rows, generator=torch.Generator().manual_seed(seed * SEED_STRIDE - epoch - 1))


PART = 1024
"""Rows that are transformed at once."""

SMALL = 2**30
"""Bytes of transformed features that are kept beside the raw ones on any machine."""

SHARE = 0.6
"""Share of a GPU's free memory that features may take; the rest is for weights, moments and batches."""


def fits_on_device(data: TrainingData, transform: FeatureTransformConfig, device: torch.device) -> bool:
    """Whether all transformed features can stay on the device.

    Projecting to components costs more than the rest of a small network's step. It is done once for features that stay.
    """
    rows = len(data) + (0 if data.augmented is None else data.augmented.shape[0] * data.augmented.shape[1])
    size = 4 * rows * math.prod(transform.given)
    return size <= SMALL or (device.type == "cuda" and size <= SHARE * torch.cuda.mem_get_info(device)[0])


@torch.no_grad()
def resident_features(head: Head, data: TrainingData, device: torch.device) -> Tensor:
    """Transformed features on a device: the clips first, then all augmented copies row by row."""
    tables = [data.features] if data.augmented is None else [data.features, data.augmented.flatten(0, 1)]
    parts = [part for table in tables for part in table.split(PART)]
    return torch.cat([head.feature_transform(part.to(device).float()) for part in parts])


def resident_indices(data: TrainingData, rows: Tensor, step: int, seed: int) -> Tensor:
    """Indices of the drawn rows, or of the copies drawn in their place, in :func:`resident_features`."""
    drawn = draw_copies(data, len(rows), step, seed)
    if drawn is None:
        return rows
    assert data.augmented is not None
    return torch.where(drawn > 0, len(data) + rows * data.augmented.shape[1] + drawn - 1, rows)
