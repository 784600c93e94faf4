"""Speech through a telephone: its features are mapped to those that the same speech has in full band."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

SMALLEST = 1e-6
"""Deviation of a constant feature, and share of variance under which nothing is left."""

DETECTOR_PENALTY = 0.3
"""Of the ridge regression that tells the bands apart, in squares of a standardised feature."""


class NarrowbandMapping(nn.Module):
    """Feature mapping (Reynolds, ICASSP 2003) for the one channel that is both common and easily told.

    What is missing of a band limit's features, against those of full-band speech, is a linear function of what is
    there, of a low rank: one that is learned from clips of which both are known. Whether a clip lacks the upper band is
    told from its features by a linear discriminant; full-band speech stays as it is.

    Args:
        states: Number of hidden states.
        dim: Their width L.
        rank: Of the map.
    """

    def __init__(self, states: int, dim: int, rank: int) -> None:
        super().__init__()
        width = states * dim
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("shift", torch.zeros(width))
        self.register_buffer("down", torch.zeros(width, rank))
        self.register_buffer("up", torch.zeros(rank, width))
        self.register_buffer("axis", torch.zeros(width))
        self.register_buffer("threshold", torch.ones(()))

    @torch.no_grad()
    def fit(
        self,
        full: Float[Tensor, "rows states dim"],
        narrow: Float[Tensor, "rows copies states dim"],
        others: Float[Tensor, "rows others states dim"],
        weights: Float[Tensor, " rows"],
        penalty: float,
    ) -> "NarrowbandMapping":
        """Learn the map, and when it is to be used.

        Args:
            full: Features of clips as they are.
            narrow: Those of copies that lack a part of the band.
            others: Those of copies that lack none, which the discriminant shall not take for such.
            weights: Of the rows.
            penalty: Of the ridge regression from narrow to full, in squares of a standardised feature.
        """
        share = (weights / weights.sum()).double()
        rows = full.flatten(1).double()
        scale = _deviation(rows, share)
        self._learn_map(rows, narrow.flatten(2).double(), share, scale, penalty)
        self._learn_axis(torch.cat([full[:, None], others], 1).flatten(2).double(), narrow.flatten(2).double(), share)
        return self

    def _learn_map(self, full: Tensor, narrow: Tensor, share: Tensor, scale: Tensor, penalty: float) -> None:
        """Reduced-rank ridge regression from what there is to what is missing, both in deviations.

        Both factors are rounded to half precision, so that a file need not hold more.
        """
        copies = narrow.shape[1]
        share = share.repeat_interleave(copies) / copies
        there, wanted = narrow.flatten(0, 1), full.repeat_interleave(copies, 0)
        mean, shift = share @ there, share @ (wanted - there)
        own = _deviation(there, share)
        missing = (wanted - there - shift) / scale
        there = (there - mean) / own
        gram = (share[:, None] * there).T @ there + penalty * torch.eye(len(mean)).to(there)
        weight = torch.linalg.solve(gram, (share[:, None] * there).T @ missing)
        # Of all maps of this rank, the one whose predictions are nearest to those of the whole map.
        directions = torch.linalg.svd(torch.linalg.cholesky(gram).T @ weight, full_matrices=False)[2][: len(self.up)]
        self.mean.copy_(mean)
        self.shift.copy_(shift)
        self.down.copy_((weight @ directions.T / own[:, None]).half())
        self.up.copy_((directions * scale).half())

    def _learn_axis(self, full: Tensor, narrow: Tensor, share: Tensor) -> None:
        """Linear discriminant: ridge regression to which band it is, as log odds between two normal distributions."""
        sides = [(full, 0.0), (narrow, 1.0)]
        rows = torch.cat([side.flatten(0, 1) for side, _ in sides])
        is_narrow = torch.cat([torch.full((side.shape[0] * side.shape[1],), kind) for side, kind in sides]).double()
        share = torch.cat([share.repeat_interleave(side.shape[1]) / side.shape[1] / 2 for side, _ in sides])
        mean, scale = share @ rows, _deviation(rows, share)
        rows = (rows - mean) / scale
        gram = (share[:, None] * rows).T @ rows + DETECTOR_PENALTY * torch.eye(len(mean)).to(rows)
        axis = torch.linalg.solve(gram, (share * (is_narrow - 0.5)) @ rows)
        scores = rows @ axis
        means = [2 * (share * chosen) @ scores for chosen in (is_narrow == 0, is_narrow == 1)]
        expected = torch.where(is_narrow == 1, means[1], means[0])
        slope = (means[1] - means[0]) / (share @ (scores - expected).square()).clamp(min=SMALLEST)
        self.axis.copy_(slope * axis / scale)
        self.threshold.copy_(slope * (mean @ (axis / scale) + (means[0] + means[1]) / 2))

    def narrowness(self, features: Float[Tensor, "batch states dim"]) -> Float[Tensor, " batch"]:
        """The probability that the upper band is missing."""
        return torch.sigmoid(features.flatten(1) @ self.axis - self.threshold)

    def forward(self, features: Float[Tensor, "batch states dim"]) -> Float[Tensor, "batch states dim"]:
        """Features as they would be in full band."""
        rows = features.flatten(1)
        missing = self.shift + (rows - self.mean) @ self.down @ self.up
        return features + (self.narrowness(features)[:, None] * missing).reshape(features.shape)


def _deviation(rows: Tensor, share: Tensor) -> Tensor:
    """Of every column, never 0."""
    return (share @ (rows - share @ rows).square()).sqrt().clamp(min=SMALLEST)
