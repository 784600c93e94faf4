"""Positions of rows by key, in sorted arrays: 24 bytes a row, where a dictionary of strings takes some 200."""

import numpy as np

KEY_BYTES = 32
"""Bytes of a key, of which the index keeps and compares the first 16."""


class RowIndex:
    """Keys and the positions of their rows; the first position of a key stays valid."""

    def __init__(self) -> None:
        self._first, self._second = np.empty(0, np.uint64), np.empty(0, np.uint64)
        self._positions = np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self._positions)

    def add(self, keys: np.ndarray, positions: np.ndarray) -> None:
        """Add keys, uint8 of shape (rows, 32), and their positions, int64 of shape (rows,), which are at least 0."""
        first, second = (np.concatenate(pair) for pair in zip((self._first, self._second), _words(keys), strict=True))
        order = np.argsort(first, kind="stable")
        first, second = first[order], second[order]
        is_new = np.ones(len(order), bool)
        is_new[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
        self._first, self._second = first[is_new], second[is_new]
        self._positions = np.concatenate([self._positions, positions])[order[is_new]]

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Positions of keys, int64 of shape (rows,); −1 for a key that is not there."""
        first, second = _words(keys)
        places = np.searchsorted(self._first, first)
        found, rest = np.full(len(keys), -1), np.arange(len(keys))
        while len(rest):  # once, unless different keys begin with the same 8 bytes
            rest = rest[places[rest] < len(self)]
            rest = rest[self._first[places[rest]] == first[rest]]
            same = self._second[places[rest]] == second[rest]
            found[rest[same]] = self._positions[places[rest[same]]]
            rest = rest[~same]
            places[rest] += 1
        return found


def _words(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    words = np.ascontiguousarray(keys).view(np.uint64)
    return words[:, 0].copy(), words[:, 1].copy()
