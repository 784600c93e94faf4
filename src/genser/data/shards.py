"""The file format of stored features: append-only shards of checksummed blocks.

A shard is a head that says what its rows are, followed by blocks. A block is a table (32-byte keys and a CRC-32 for
every row) followed by the rows as raw numbers, so that a memory map is an array. Blocks are only ever appended, by one
writer, and reach the disk before the next begins: whatever a kill or a power cut tears is at the end of the file, where
the checksums find it. Rows of a torn block that are whole are still good.
"""

import json
import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genser.errors import StoreError

KEY_BYTES = 32  # of a SHA-256
ALIGNMENT = 64  # bytes; every block and its rows begin on a multiple
_HEAD = struct.Struct("<8sII")  # magic, bytes of JSON, CRC-32 of the JSON
_BLOCK = struct.Struct("<8sII")  # magic, rows, CRC-32 of rows and table
_HEAD_MAGIC = b"GNSRFEA1"
_BLOCK_MAGIC = b"GNSRBLK1"


@dataclass(frozen=True)
class Block:
    """Rows that lie together in a shard.

    Args:
        keys: Raw keys of the rows that are good.
        rows: Places of these rows in the block.
        checks: CRC-32 of the numbers of each.
        offset: Byte of the shard where the numbers begin.
    """

    keys: tuple[bytes, ...]
    rows: np.ndarray
    checks: np.ndarray
    offset: int


@dataclass(frozen=True)
class Scan:
    """What a look at a shard finds.

    Args:
        blocks: Blocks with their good rows.
        end: Byte behind the last whole block, where the next look begins.
        damage: What is wrong behind it; None where the file ends there.
    """

    blocks: tuple[Block, ...]
    end: int
    damage: str | None = None


def padded(size: int) -> int:
    """The next multiple of the alignment."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def encode_head(identity: str) -> bytes:
    """The first bytes of a shard whose rows belong to the store of this identity."""
    text = json.dumps({"format": 1, "identity": identity}).encode()
    head = _HEAD.pack(_HEAD_MAGIC, len(text), zlib.crc32(text)) + text
    return head.ljust(padded(len(head)), b"\0")


def read_head(path: Path, identity: str) -> int | None:
    """Check the first bytes of a shard.

    Args:
        path: The shard.
        identity: Identity of the store that reads it.

    Returns:
        The byte where the blocks begin; None where the file ends before that, torn.

    Raises:
        StoreError: The head was altered or belongs to another encoder.
    """
    expected = encode_head(identity)
    with path.open("rb") as file:
        found = file.read(len(expected))
    if found == expected:
        return len(expected)
    if expected.startswith(found):
        return None
    raise StoreError(
        f"{path} does not hold the features of this encoder and these settings, or its head was altered. "
        "Move the file away; what it held is computed anew."
    )


def encode_block(keys: Sequence[bytes], rows: np.ndarray, begin: int) -> tuple[Block, bytes]:
    """One block: what it will be once written, and its bytes.

    Args:
        keys: 32 raw bytes a row.
        rows: Array of shape (rows, …).
        begin: Byte of the shard where the block will begin.
    """
    rows = np.ascontiguousarray(rows)
    checks = np.array([zlib.crc32(row) for row in rows], dtype="<u4")
    table = b"".join(keys) + checks.tobytes()
    check = zlib.crc32(table, zlib.crc32(struct.pack("<I", len(keys))))
    head = (_BLOCK.pack(_BLOCK_MAGIC, len(keys), check) + table).ljust(_rows_begin(len(keys)), b"\0")
    numbers = rows.tobytes()
    block = Block(tuple(keys), np.arange(len(keys)), checks, begin + len(head))
    return block, head + numbers.ljust(padded(len(numbers)), b"\0")


def append(path: Path, begin: int, content: bytes) -> None:
    """Bring bytes to the disk at the end of a shard; where the disk refuses them the shard is as before.

    Args:
        path: The shard.
        begin: Its end.
        content: A whole block.

    Raises:
        OSError: The disk refuses.
    """
    with path.open("r+b", buffering=0) as file:
        file.seek(begin)
        rest = memoryview(content)
        try:
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:
            file.truncate(begin)
            raise


def scan_blocks(path: Path, begin: int, row_bytes: int) -> Scan:
    """Look through the blocks of a shard from a byte on.

    Tables are checked everywhere, numbers in the last block alone: the others were on the disk before it began.

    Args:
        path: The shard.
        begin: Byte where a block begins, or the file ends.
        row_bytes: Bytes of one row.
    """
    blocks: list[Block] = []
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        while begin < size:
            keys, checks = _read_table(file, begin, size)
            if not keys:
                return Scan(tuple(blocks), begin, f"a torn block from byte {begin} on")
            offset = begin + _rows_begin(len(keys))
            end = offset + padded(len(keys) * row_bytes)
            good = np.arange(len(keys))
            if end >= size:
                good = np.flatnonzero(_rows_hold(file, offset + good * row_bytes, checks, row_bytes))
            blocks.append(Block(tuple(keys[row] for row in good), good, checks[good], offset))
            if len(good) < len(keys) or end > size:
                return Scan(tuple(blocks), begin, f"{len(keys) - len(good)} torn rows from byte {offset} on")
            begin = end
    return Scan(tuple(blocks), begin)


def rows_hold(path: Path, block: Block, row_bytes: int) -> np.ndarray:
    """For every row of a block whether its numbers still have their checksum, as booleans."""
    with path.open("rb") as file:
        return _rows_hold(file, block.offset + block.rows * row_bytes, block.checks, row_bytes)


def _rows_begin(count: int) -> int:
    return padded(_BLOCK.size + count * (KEY_BYTES + 4))


def _read_table(file, begin: int, size: int) -> tuple[list[bytes], np.ndarray]:
    """Keys and checksums of the block that begins here; none where it is torn."""
    nothing: tuple[list[bytes], np.ndarray] = [], np.empty(0, dtype="<u4")
    file.seek(begin)
    head = file.read(_BLOCK.size)
    if len(head) < _BLOCK.size:
        return nothing
    magic, count, check = _BLOCK.unpack(head)
    if magic != _BLOCK_MAGIC or begin + _rows_begin(count) > size:
        return nothing
    table = file.read(count * (KEY_BYTES + 4))
    if zlib.crc32(table, zlib.crc32(struct.pack("<I", count))) != check:
        return nothing
    keys = [table[place : place + KEY_BYTES] for place in range(0, count * KEY_BYTES, KEY_BYTES)]
    return keys, np.frombuffer(table, dtype="<u4", offset=count * KEY_BYTES)


def _rows_hold(file, offsets: np.ndarray, checks: np.ndarray, row_bytes: int) -> np.ndarray:
    hold = np.zeros(len(checks), dtype=bool)
    for row, (offset, check) in enumerate(zip(offsets, checks, strict=True)):
        file.seek(offset)
        numbers = file.read(row_bytes)
        hold[row] = len(numbers) == row_bytes and zlib.crc32(numbers) == check
    return hold
