"""Rows of many shards as one thing to read at random, through memory maps."""

import mmap
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from genser.data.shards import Block, rows_hold

_ROW_BITS = 32  # a place is (block << 32) + row


class MappedRows:
    """Blocks of rows; a place names one row, and reading it costs a copy out of the page cache.

    Args:
        shape: Shape of one row.
        dtype: Number format on disk.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.shape = shape
        self.dtype = dtype
        self.row_bytes = int(np.prod(shape)) * dtype.itemsize
        self._blocks: list[tuple[Path, Block]] = []
        self._views: list[np.ndarray | None] = []
        self._maps: dict[Path, mmap.mmap] = {}
        self._lock = threading.Lock()

    def register(self, shard: Path, block: Block) -> Iterator[tuple[bytes, int]]:
        """Take a block in and give the key and place of each of its rows."""
        first = len(self._blocks) << _ROW_BITS
        self._blocks.append((shard, block))
        self._views.append(None)
        return zip(block.keys, (first + block.rows).tolist(), strict=True)

    def take(self, places: np.ndarray) -> np.ndarray:
        """Rows at places, float32 of shape (places, \\*shape)."""
        rows = np.empty((len(places), *self.shape), dtype=np.float32)
        views, mask = self._views, (1 << _ROW_BITS) - 1
        for target, place in enumerate(places.tolist()):
            view = views[place >> _ROW_BITS]
            if view is None:
                view = self._view(place >> _ROW_BITS)
            rows[target] = view[place & mask]
        return rows

    def changed(self) -> Iterator[tuple[bytes, int]]:
        """Read all rows and give key and place of those whose numbers have lost their checksum."""
        for number, (shard, block) in enumerate(self._blocks):
            for place in np.flatnonzero(~rows_hold(shard, block, self.row_bytes)).tolist():
                yield block.keys[place], (number << _ROW_BITS) + int(block.rows[place])

    def _view(self, number: int) -> np.ndarray:
        shard, block = self._blocks[number]
        count = int(block.rows[-1]) + 1
        end = block.offset + count * self.row_bytes
        with self._lock:
            known = self._maps.get(shard)
            if known is None or len(known) < end:
                with shard.open("rb") as file:
                    known = self._maps[shard] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        numbers = np.frombuffer(known, self.dtype, count * int(np.prod(self.shape)), block.offset)
        self._views[number] = numbers.reshape(count, *self.shape)
        return self._views[number]
