"""Features that stay on the device for a whole run, standardised once."""

from typing import Any

import torch
from torch import Tensor

from genser.model.standardize import FrontConfig
from genser.training.rows import TrainingData, draw_copies

PART = 1024  # rows standardised at once
SMALL = 2**30  # bytes of standardised features that are kept beside the raw ones on any machine
SHARE = 0.6  # of the free memory that features may take; the rest is for weights, moments and batches


def resident_features(head: Any, data: TrainingData, precision: str, device: torch.device) -> Tensor:
    """Standardised features, clean rows first and then all copies row by row; bfloat16 where the network computes so.

    They are standardised before they are rounded: bfloat16 would lose a small deviation about a large mean.
    """
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    tables = [data.features] if data.views is None else [data.features, data.views.flatten(0, 1)]
    with torch.no_grad():
        shape = head.standardizer(data.features[:1].to(device).float()).shape[1:]
        kept = torch.empty((sum(map(len, tables)), *shape), dtype=dtype, device=device)
        place = 0
        for part in (part for table in tables for part in table.split(PART)):
            kept[place : place + len(part)] = head.standardizer(part.to(device).float())
            place += len(part)
    return kept


def resident_places(data: TrainingData, rows: Tensor, step: int, seed: int) -> Tensor:
    """Where the drawn rows, or the copies drawn in their stead, lie among the resident features."""
    drawn = draw_copies(data, len(rows), step, seed)
    if drawn is None:
        return rows
    assert data.views is not None
    return torch.where(drawn > 0, len(data) + rows * data.views.shape[1] + drawn - 1, rows)


def fits_in_memory(data: TrainingData, front: FrontConfig) -> bool:
    """Whether standardised features are small enough to be kept beside the raw ones, whatever the machine.

    Projecting to components costs more than the whole step of a small network: kept, it is paid once.
    """
    rows = len(data) + (0 if data.views is None else data.views.shape[0] * data.views.shape[1])
    vectors, width = front.given
    return 4 * rows * vectors * width <= SMALL


def room_for(data: TrainingData, precision: str, device: torch.device) -> bool:
    """Whether a GPU has the memory to keep the features."""
    numbers = data.features.numel() + (0 if data.views is None else data.views.numel())
    free, _ = torch.cuda.mem_get_info(device)
    return numbers * (2 if precision == "bfloat16" else 4) <= SHARE * free
