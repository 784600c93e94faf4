"""Features that stay on the device for a whole run, standardised once."""

import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from genser.config import to_mapping
from genser.errors import ConfigError
from genser.model.features import FeatureTransformConfig
from genser.training.recipe import TrainConfig

SEED_STRIDE = 1_000_003
"""Prime between the seeds of two runs, so that the steps of different seeds do not share their draws."""

VIEW_SEEDS = 1 << 48
"""Offset of the seeds that draw augmented copies, far from those that draw rows."""


@dataclass(frozen=True)
class TrainingData:
    """Rows to learn from.

    Attributes:
        features: Pooled hidden states, shape (rows, states, dim), any float type.
        labels: Class indices, shape (rows,).
        weights: How often a row is drawn, in proportion; None goes through all rows in turn.
        augmented: The same of altered copies, shape (rows, copies, states, dim); None leaves every row as it
            is.
        augmented_share: How often a drawn row is one of its copies.
    """

    features: Tensor
    labels: Tensor
    weights: Tensor | None = None
    augmented: Tensor | None = None
    augmented_share: float = 0.5

    def __post_init__(self) -> None:
        if not len(self.features) == len(self.labels) > 0:
            raise ConfigError(f"{len(self.features)} rows of features for {len(self.labels)} labels: nothing to learn.")
        if self.augmented is not None and (len(self.augmented), *self.augmented.shape[2:]) != tuple(
            self.features.shape
        ):
            raise ConfigError(
                f"copies of shape {tuple(self.augmented.shape)} for rows of {tuple(self.features.shape)}."
            )

    def __len__(self) -> int:
        return len(self.labels)


def draw_rows(data: TrainingData, batch_size: int, step: int, seed: int) -> Tensor:
    """Row indices of a step, a function of seed and step alone.

    Without weights the rows are gone through in shuffled epochs, and a batch may span two of them; with weights they
    are drawn with replacement.
    """
    if data.weights is not None:
        generator = torch.Generator().manual_seed(seed * SEED_STRIDE + step)
        return torch.multinomial(data.weights, batch_size, replacement=True, generator=generator)
    places = torch.arange(step * batch_size, (step + 1) * batch_size)
    epochs = places // len(data)
    orders = [_shuffled(len(data), int(epoch), seed)[places[epochs == epoch] % len(data)] for epoch in epochs.unique()]
    return torch.cat(orders)


def draw_copies(data: TrainingData, count: int, step: int, seed: int) -> Tensor | None:
    """Which copy stands for each of the rows of a step: 0 is the clip itself; None where there are no copies.

    Like the rows, the choice is a function of seed and step alone; it draws from a generator of its own, so that
    nothing else moves where there are no copies.
    """
    if data.augmented is None or not data.augmented.shape[1]:
        return None
    generator = torch.Generator().manual_seed(VIEW_SEEDS + seed * SEED_STRIDE + step)
    altered = torch.rand(count, generator=generator) < data.augmented_share
    return torch.where(altered, 1 + torch.randint(data.augmented.shape[1], (count,), generator=generator), 0)


def draw_features(data: TrainingData, rows: Tensor, step: int, seed: int) -> Tensor:
    """Features (batch, states, dim) of drawn rows, each the clip itself or one of its copies."""
    features, copies = data.features[rows], draw_copies(data, len(rows), step, seed)
    if copies is None:
        return features
    assert data.augmented is not None
    altered = copies > 0
    features[altered] = data.augmented[rows[altered], copies[altered] - 1].to(features.dtype)
    return features


def fitting_rows(data: TrainingData) -> tuple[Tensor, Tensor, Tensor | None]:
    """Features, labels and weights of all rows and copies, each weighing as often as training draws it.

    What needs no gradient is learned from these, so that it knows of alterations what the rest knows.
    """
    if data.augmented is None or not data.augmented.shape[1]:
        return data.features.float(), data.labels, data.weights
    copies = data.augmented.shape[1]
    clean = torch.ones(len(data), dtype=torch.float64) if data.weights is None else data.weights.double()
    weights = torch.cat(
        [clean * (1 - data.augmented_share), (clean * data.augmented_share / copies).repeat_interleave(copies)]
    )
    features = torch.cat([data.features, data.augmented.flatten(0, 1)]).float()
    return features, torch.cat([data.labels, data.labels.repeat_interleave(copies)]), weights


def balance_weights(keys: Sequence[tuple[str, ...]]) -> Tensor:
    """Weights that give every first key the same total, inside it every second key, and so on.

    Args:
        keys: For each row its keys from the outermost to the innermost, such as (class, corpus).

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
    """Hash of a recipe and its rows, by which a checkpoint knows its run."""
    digest = hashlib.sha256(json.dumps(to_mapping(config), sort_keys=True).encode())
    digest.update(str(tuple(data.features.shape)).encode())
    for tensor in (data.features, data.labels, *(() if data.augmented is None else (data.augmented,))):
        digest.update(tensor.contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


@lru_cache(maxsize=4)
def _shuffled(rows: int, epoch: int, seed: int) -> Tensor:
    return torch.randperm(rows, generator=torch.Generator().manual_seed(seed * SEED_STRIDE - epoch - 1))


PART = 1024  # rows standardised at once
SMALL = 2**30  # bytes of standardised features that are kept beside the raw ones on any machine
SHARE = 0.6  # of the free memory that features may take; the rest is for weights, moments and batches


def resident_features(head: Any, data: TrainingData, precision: str, device: torch.device) -> Tensor:
    """Standardised features, clean rows first and then all copies row by row; bfloat16 where the network computes so.

    They are standardised before they are rounded: bfloat16 would lose a small deviation about a large mean.
    """
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    tables = [data.features] if data.augmented is None else [data.features, data.augmented.flatten(0, 1)]
    with torch.no_grad():
        shape = head.feature_transform(data.features[:1].to(device).float()).shape[1:]
        kept = torch.empty((sum(map(len, tables)), *shape), dtype=dtype, device=device)
        place = 0
        for part in (part for table in tables for part in table.split(PART)):
            kept[place : place + len(part)] = head.feature_transform(part.to(device).float())
            place += len(part)
    return kept


def resident_places(data: TrainingData, rows: Tensor, step: int, seed: int) -> Tensor:
    """Where the drawn rows, or the copies drawn in their stead, lie among the resident features."""
    drawn = draw_copies(data, len(rows), step, seed)
    if drawn is None:
        return rows
    assert data.augmented is not None
    return torch.where(drawn > 0, len(data) + rows * data.augmented.shape[1] + drawn - 1, rows)


def fits_in_memory(data: TrainingData, feature_transform: FeatureTransformConfig) -> bool:
    """Whether standardised features are small enough to be kept beside the raw ones, whatever the machine.

    Projecting to components costs more than the whole step of a small network: kept, it is paid once.
    """
    rows = len(data) + (0 if data.augmented is None else data.augmented.shape[0] * data.augmented.shape[1])
    vectors, width = feature_transform.given
    return 4 * rows * vectors * width <= SMALL


def room_for(data: TrainingData, precision: str, device: torch.device) -> bool:
    """Whether a GPU has the memory to keep the features."""
    numbers = data.features.numel() + (0 if data.augmented is None else data.augmented.numel())
    free, _ = torch.cuda.mem_get_info(device)
    return numbers * (2 if precision == "bfloat16" else 4) <= SHARE * free
