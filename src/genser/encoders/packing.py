"""Clips end to end in one row of samples, so that a batch of any lengths has no padding.

Convolutions without padding commute with shifts by whole strides: a clip that begins at a multiple of the encoder's hop
gets the frames it gets alone. Between two clips there are only frames that would see both of them, or the rest of one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

OPEN_ROWS = 8  # rows that still take clips


@dataclass(frozen=True)
class Grid:
    """How an encoder's convolutions cut samples into frames.

    Attributes:
        hop: Samples from one frame to the next.
        field: Samples that a frame sees.
    """

    hop: int
    field: int

    @classmethod
    def of(cls, kernels: Sequence[int], strides: Sequence[int]) -> "Grid":
        """The grid of unpadded convolutions, first to last."""
        hops = list(accumulate(strides, lambda a, b: a * b, initial=1))
        return cls(hops[-1], 1 + sum((kernel - 1) * hop for kernel, hop in zip(kernels, hops, strict=False)))

    def room(self, samples: int) -> int:
        """Frames that a clip takes in a row: its own, and those that would see what comes behind it."""
        return max(-(-samples // self.hop), self.frames(samples) + -(-self.field // self.hop) - 1)

    def frames(self, samples: int) -> int:
        """Frames that lie within so many samples."""
        return (samples - self.field) // self.hop + 1

    def samples(self, frames: int) -> int:
        """Samples that so many frames see."""
        return frames * self.hop + self.field - self.hop


@dataclass(frozen=True)
class Pack:
    """A row of frames with clips in it.

    Attributes:
        clips: Positions of the clips in the list they came from.
        starts: First frame of each.
        counts: Frames of each.
        lengths: Samples of each.
        total: Frames of the row, gaps and unused ones too.
    """

    clips: tuple[int, ...]
    starts: np.ndarray
    counts: np.ndarray
    lengths: np.ndarray
    total: int

    def fill(self, row: np.ndarray, waveforms: Sequence[np.ndarray], hop: int) -> None:
        """Write the clips' samples into a row of zeros."""
        for start, clip in zip(self.starts.tolist(), self.clips, strict=True):
            row[start * hop : start * hop + len(waveforms[clip])] = waveforms[clip]

    def segments(self, longest: int) -> np.ndarray:
        """Ends of stretches that attend to themselves alone: every clip, and what lies between and behind them.

        Args:
            longest: Longest stretch behind the last clip.

        Returns:
            Cumulative frames, int32, from 0 to the total; some stretches may be empty.
        """
        ends = np.stack([self.starts, self.starts + self.counts], axis=1).reshape(-1)
        tail = np.arange(ends[-1], self.total, longest)
        return np.concatenate([[0], ends, tail[1:], [self.total]]).astype(np.int32)


def pack_clips(lengths: Sequence[int], grid: Grid, total: int) -> Iterable[Pack]:
    """Distribute clips over rows, longest first, each where it is the first to fit.

    Args:
        lengths: Samples of each clip, at least the grid's field.
        grid: The encoder's.
        total: Frames of a row; a longer clip gets a row of its own length.

    Yields:
        Packs, which together hold every clip once.
    """
    rows: list[tuple[list[int], int]] = []  # clips and frames used; those last added to behind
    for clip in sorted(range(len(lengths)), key=lambda clip: -lengths[clip]):
        room = grid.room(lengths[clip])
        place = next((place for place, (_, used) in enumerate(rows) if used + room <= total), None)
        clips, used = ([], 0) if place is None else rows.pop(place)
        rows.append(([*clips, clip], used + room))
        if len(rows) > OPEN_ROWS:
            yield _pack(*rows.pop(0), lengths, grid, total)
    for clips, used in rows:
        yield _pack(clips, used, lengths, grid, total)


def _pack(clips: list[int], used: int, lengths: Sequence[int], grid: Grid, total: int) -> Pack:
    held = np.array([lengths[clip] for clip in clips])
    counts = (held - grid.field) // grid.hop + 1
    starts = np.cumsum([0, *(grid.room(length) for length in held[:-1].tolist())])
    return Pack(tuple(clips), starts, counts, held, max(total, used))
