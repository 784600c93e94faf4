"""A view of parts of a byte stream, which reads like a file of its own."""

import io
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

ByteStream = io.RawIOBase | io.BytesIO
"""An open file that can seek."""

Range = tuple[int, int]
"""First byte and the byte after the last."""


BLOCK = 1 << 20  # bytes read at once
MOST_PARTS = 10_000  # streams one after the other in a file


class View(io.RawIOBase):
    """Ranges of a stream and literal bytes, one after the other.

    Args:
        stream: The stream; other views may share it.
        pieces: Ranges of it, and bytes that stand between them.
    """

    def __init__(self, stream: ByteStream, pieces: Sequence[Range | bytes]) -> None:
        self._stream, self._pieces = stream, pieces
        lengths = (len(piece) if isinstance(piece, bytes) else piece[1] - piece[0] for piece in pieces)
        self._starts = list(accumulate(lengths, initial=0))
        self._position = 0

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as the view goes, as libsndfile takes a short read for the end."""
        target, done = memoryview(buffer).cast("B"), 0
        while done < len(target) and self._position < self._starts[-1]:
            index = bisect_right(self._starts, self._position) - 1
            inside = self._position - self._starts[index]
            count = min(len(target) - done, self._starts[index + 1] - self._position)
            piece = self._pieces[index]
            if isinstance(piece, bytes):
                block = piece[inside : inside + count]
            else:
                self._stream.seek(piece[0] + inside)
                block = self._stream.read(count) or b""
            if not block:
                break
            target[done : done + len(block)] = block
            done += len(block)
            self._position += len(block)
        return done

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move as `io.IOBase.seek` does."""
        self._position = max(offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position}.get(whence, self._starts[-1]), 0)
        return self._position

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._position

    def seekable(self) -> bool:
        """Return True."""
        return True

    def readable(self) -> bool:
        """Return True."""
        return True


def size_of(stream: ByteStream) -> int:
    """Return the length of a stream in bytes."""
    return stream.seek(0, os.SEEK_END)


def read_at(stream: ByteStream, offset: int, count: int) -> bytes:
    """Return bytes from an offset on, fewer at the end."""
    stream.seek(offset)
    return stream.read(count) or b""


def find_all(stream: ByteStream, pattern: bytes, start: int, end: int) -> Iterator[int]:
    """Yield the offsets at which a pattern begins between two offsets, the first `MOST_PARTS` of them."""
    count = 0
    for offset in range(start, end, BLOCK):
        data = read_at(stream, offset, min(BLOCK + len(pattern) - 1, end - offset))
        at = data.find(pattern)
        while at >= 0:
            yield offset + at
            count += 1
            if count == MOST_PARTS:
                return
            at = data.find(pattern, at + 1)
