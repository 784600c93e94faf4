"""Finds the sound in files of chunks, because sizes in their headers may be missing or wrong.

WAV, RF64, BW64, Wave64, AIFF, CAF and AU state the size of their sound. A recorder that was stopped leaves 0 there, a
program that writes into a pipe the largest value, and a copy that was interrupted more than there is.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from genser.audio.mpeg import tag_length
from genser.audio.view import ByteStream, Range, View, find_all, read_at, size_of

Order = Literal["little", "big"]

W64_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # of the identifiers of all chunks but the first


class Layout(NamedTuple):
    """How a family of files writes its chunks; lengths in bytes."""

    first: int  # offset of the first chunk
    identifier: int
    size: int
    order: Order
    counted: int  # of the header, in the size
    align: int
    sound: bytes  # identifier of the chunk of the sound
    before: int  # in that chunk before the sound


LAYOUTS = {
    b"RIFF": Layout(12, 4, 4, "little", 0, 2, b"data", 0),
    b"RIFX": Layout(12, 4, 4, "big", 0, 2, b"data", 0),
    b"RF64": Layout(12, 4, 4, "little", 0, 2, b"data", 0),
    b"BW64": Layout(12, 4, 4, "little", 0, 2, b"data", 0),
    b"FORM": Layout(12, 4, 4, "big", 0, 2, b"SSND", 8),
    b"riff": Layout(40, 16, 8, "little", 24, 8, b"data" + W64_TAIL, 0),
    b"caff": Layout(8, 4, 8, "big", 0, 1, b"data", 4),
}
AU_ORDERS: dict[bytes, Order] = {b".snd": "big", b"dns.": "little"}
AU_CHUNKS = Layout(24, 4, 4, "big", 0, 1, b"", 0)  # it has none; what follows its sound can only be another file
WAVES = (b"RIFF", b"RIFX", b"RF64", b"BW64")
OTHERS = (b"OggS", b"fLaC", b"\x1a\x45\xdf\xa3")
"""First bytes of other formats, with which no chunk begins."""
MOST_CHUNKS = 10_000
MOST_REMAINDER = 16  # bytes at the end of a file that cannot be sound worth a remark
FREE_SIZES = ((0x7FFF_0000, 0x8001_0000), (0xFFFF_0000, 0x1_0000_0000), (1 << 62, 1 << 64))
"""Sizes that mean "unknown"; every program that writes into a pipe has its own."""
MP3 = 0x55  # format tag of a WAV


class Declared(NamedTuple):
    """What the header of a file states about its sound."""

    start: int  # its first byte
    size: int
    field: Range  # where the size is written
    extra: int  # bytes that the field counts in addition
    coding: int  # format tag of a WAV


@dataclass(frozen=True)
class Sound:
    """The sound of a file of chunks.

    Attributes:
        start: Its first byte.
        end: The byte after its last.
        declared: Its size by the header; None if the header leaves it open.
        coding: Format tag of a WAV.
        corrected: The file with the right size.
        next_file: Where another file follows; None without one.
        unread: Bytes at the end of the file that are neither sound nor chunks.
    """

    start: int
    end: int
    declared: int | None
    coding: int
    corrected: ByteStream
    next_file: int | None
    unread: int


def find_sound(stream: ByteStream) -> Sound | None:
    """Find the sound of a file of chunks; None if it is not one, or has none."""
    head, size = read_at(stream, 0, 16), size_of(stream)
    layout = AU_CHUNKS if head[:4] in AU_ORDERS else LAYOUTS.get(head[:4])
    if layout is None or (head[:4] in WAVES and head[8:12] != b"WAVE"):
        return None
    declared = _au(head) if layout is AU_CHUNKS else _walk(stream, layout)
    if declared is None or declared.start >= size:
        return None
    start, length = declared.start, max(declared.size, 0)
    end, next_file, rest = _end_of(stream, declared, layout, size)
    is_open = length == 0 or (end - start < length and any(low <= length < high for low, high in FREE_SIZES))
    if end == start:
        return None
    corrected = stream
    if length != end - start or head[:4] == b"BW64" or next_file or rest < size:
        first, last = declared.field
        # libsndfile reads tags behind the sound of a Wave64 as sound; only CAF has chunks there that it needs.
        last_byte = rest if rest == size or head[:4] == b"caff" else end
        right = end - start + declared.extra & (1 << 8 * (last - first)) - 1
        order = AU_ORDERS.get(head[:4], layout.order)
        magic = b"RF64" if head[:4] == b"BW64" else head[:4]
        corrected = View(
            stream, [magic, (4, first), right.to_bytes(last - first, order), (last, next_file or last_byte)]
        )
    unread = size - rest if any(read_at(stream, rest, 4096)) else 0  # else filled up with zeros
    return Sound(start, end, None if is_open else length, declared.coding, corrected, next_file, unread)


def _au(head: bytes) -> Declared:
    start, length = (int.from_bytes(head[i : i + 4], AU_ORDERS[head[:4]]) for i in (4, 8))
    return Declared(start, length, (8, 12), 0, 0)


def _walk(stream: ByteStream, layout: Layout) -> Declared | None:
    offset, coding, long_size, long_field = layout.first, 0, 0, (0, 0)
    for _ in range(MOST_CHUNKS):
        head_length = layout.identifier + layout.size
        head = read_at(stream, offset, head_length + 16)
        content = offset + head_length
        if len(head) < head_length:
            return None
        length = int.from_bytes(head[layout.identifier : head_length], layout.order) - layout.counted
        if head[: layout.identifier] == layout.sound:
            field = offset + layout.identifier, content
            if long_field[1] and length >= 0xFFFF_FFFF:
                length, field = long_size, long_field
            extra = layout.before + layout.counted
            return Declared(content + layout.before, length - layout.before, field, extra, coding)
        if head[:4] == b"ds64":  # the size of the file, then that of the sound
            long_size, long_field = int.from_bytes(head[16:24], "little"), (content + 8, content + 16)
        if head[:3] == b"fmt":
            coding = int.from_bytes(head[head_length : head_length + 2], layout.order)
        offset = _aligned(content + max(length, 0), layout)
    return None


def _end_of(stream: ByteStream, declared: Declared, layout: Layout, size: int) -> tuple[int, int | None, int]:
    """Where the sound ends, where another file begins, and where what is neither sound nor a chunk begins.

    What follows the declared end and is not a chunk belongs to the sound, as the size was not brought up to date,
    unless the header gives the whole file the same end, or another format begins there.
    """
    stated = declared.start + max(declared.size, 0)
    if stated > size:
        return _before_next_wave(stream, declared.start, size)
    ends = _aligned(stated, layout), stated
    for offset in ends:
        if size - offset < MOST_REMAINDER or _is_file(stream, offset) or _chunk_end(stream, offset, layout, size):
            return stated, *_next_file(stream, offset, layout, size)
    if declared.size > 0 and not any(read_at(stream, stated, 4096)):  # filled up with zeros
        return stated, None, size
    if declared.size > 0 and (_stated_end(stream) in ends or read_at(stream, stated, 4) in OTHERS):
        return stated, None, stated
    return _before_next_wave(stream, declared.start, size)


def _stated_end(stream: ByteStream) -> int | None:
    """Where a file ends by its header; None if its format does not state it."""
    head = read_at(stream, 0, 28)
    if head[:4] in (b"RF64", b"BW64") and head[12:16] == b"ds64":
        return int.from_bytes(head[20:28], "little") + 8
    if head[:4] in (b"RIFF", b"RIFX", b"FORM"):
        return int.from_bytes(head[4:8], "little" if head[:4] == b"RIFF" else "big") + 8
    return int.from_bytes(head[16:24], "little") if head[:4] == b"riff" else None


def _before_next_wave(stream: ByteStream, start: int, size: int) -> tuple[int, int | None, int]:
    """The end of a sound of open length, which is that of the file unless another WAV follows."""
    for offset in find_all(stream, b"WAVEfmt ", start, size):
        if read_at(stream, offset - 8, 4) in WAVES:
            return offset - 8, offset - 8, size
    return size, None, size


def _aligned(offset: int, layout: Layout) -> int:
    return -(-offset // layout.align) * layout.align


def _chunk_end(stream: ByteStream, offset: int, layout: Layout, size: int) -> int | None:
    """Where the chunk or tag at an offset ends; None if none is there."""
    head_length = layout.identifier + layout.size
    head = read_at(stream, offset, max(head_length, 32))
    if length := tag_length(head):
        return offset + length
    if not all(32 <= byte < 127 for byte in head[:4]) or len(head) < head_length:
        return None
    length = int.from_bytes(head[layout.identifier : head_length], layout.order) - layout.counted
    end = _aligned(offset + head_length + max(length, 0), layout)
    return end if end <= size + layout.align or head[:4] in (b"LIST", b"id3 ") else None


def _is_file(stream: ByteStream, offset: int) -> bool:
    magic = read_at(stream, offset, 4)
    return magic in LAYOUTS or magic in AU_ORDERS


def _next_file(stream: ByteStream, offset: int, layout: Layout, size: int) -> tuple[int | None, int]:
    """Where another file begins, and where what is not a chunk begins."""
    for _ in range(MOST_CHUNKS):
        if _is_file(stream, offset):
            return offset, size
        end = _chunk_end(stream, offset, layout, size)
        if end is None or end >= size:
            return None, offset if end is None else size
        offset = end
    return None, size
