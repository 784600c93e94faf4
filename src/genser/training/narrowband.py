"""Have a head understand telephones: a map of features, learned from clips of which both bands are known."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from genser.model.head import TransportHead
from genser.model.narrowband import NarrowbandMapping

RANK, PENALTY = 128, 0.1
"""Rank of the map, and penalty of the regression that it is from, chosen on training speakers and a corpus left out."""


@torch.no_grad()
def learn_narrowband(
    head: TransportHead,
    full: Float[Tensor, "rows states dim"],
    narrow: Float[Tensor, "rows copies states dim"],
    others: Float[Tensor, "rows others states dim"],
    weights: Float[Tensor, " rows"],
) -> None:
    """Have a trained head bring narrow bands to full ones; see :class:`NarrowbandMapping`.

    Args:
        head: What it learned stays as it is.
        full: Features of clips in full band.
        narrow: Those of copies that lack a part of it.
        others: Those of copies in full band that are altered otherwise, such as by noise; they must not be mapped.
        weights: Of the rows.
    """
    front = head.config.front
    mapping = NarrowbandMapping(front.states, front.dim, RANK)
    head.narrowband = mapping.fit(full, narrow, others, weights, PENALTY)
    head.config = replace(head.config, narrowband=RANK)
