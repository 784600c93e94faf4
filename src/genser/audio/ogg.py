"""Finds the streams of an Ogg file, because decoders stop at the end of the first one.

Layouts: pages in RFC 3533, section 6; packets of Opus in RFC 6716, section 3.1; Vorbis I specification, section 4.2.2.
"""

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple

from genser.audio.view import BLOCK, MOST_PARTS, ByteStream, Range, find_all, read_at, size_of

CONTINUED, FIRST, LAST = 1, 2, 4  # flags of a page
HEADER = Struct("<4sxBq4xI4xB")  # magic, flags, granule position, number of the page, number of segments
LONGEST_PAGE = HEADER.size + 255 + 255 * 255  # bytes
CRC = slice(22, 26)  # of a page
MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))  # the bits of each byte in reverse
LONGEST_STEP = 0.1  # seconds by which a time may exceed what the packets can hold


class Page(NamedTuple):
    """A page of an Ogg file."""

    start: int
    end: int
    flags: int
    number: int  # in its stream
    time: int  # granule position: samples up to the end of the page, -1 where no packet ends
    packets: int  # that end on it
    head: bytes  # of its content


@dataclass
class Link:
    """One of the streams that follow each other in an Ogg file.

    Attributes:
        range: Where it lies.
        tracks: Number of streams that run at the same time.
        is_ended: Whether its last page is there.
        has_gap: Whether packets are missing in it.
        unread: Bytes after it that are not Ogg.
    """

    range: Range
    tracks: int = 0
    is_ended: bool = False
    has_gap: bool = False
    unread: int = 0


def ogg_links(stream: ByteStream) -> list[Link]:
    """Return the streams of an Ogg file in their order."""
    links: list[Link] = []
    time, number, head, was_first = -1, 0, b"", False
    for page in _pages(stream):
        is_first = bool(page.flags & FIRST)
        if is_first and not was_first:
            if len(links) > MOST_PARTS:
                break
            links.append(Link((page.start, page.end)))
            time, head = -1, page.head
        was_first = is_first
        if links:
            link = links[-1]
            link.range = link.range[0], page.end
            link.tracks += is_first
            link.is_ended |= bool(page.flags & LAST)
            link.has_gap |= time > 0 and link.tracks == 1 and page.number != number + 1
            number = page.number
            if page.time > 0:
                link.has_gap |= 0 <= time < page.time - _most_samples(head, page)
                time = page.time
    for link, next_start in zip(links, [*(link.range[0] for link in links[1:]), size_of(stream)], strict=False):
        end = link.range[1]
        is_damaged = next(find_all(stream, b"OggS", end, next_start), None) is not None
        link.unread = 0 if is_damaged or not any(read_at(stream, end, 4096)) else next_start - end
    return links


def has_page(stream: ByteStream, offset: int) -> bool:
    """Whether an intact page begins at or after an offset."""
    return next(_pages(stream, offset), None) is not None


def _most_samples(first: bytes, page: Page) -> float:
    """Bound of the samples that a page holds, by the first page of its stream; infinite if the coding has none."""
    if first.startswith(b"OpusHead") and not page.flags & CONTINUED and len(page.head) > 1:
        mode, code = page.head[0] >> 3, page.head[0] & 3
        if mode < 12:
            duration = (480, 960, 1920, 2880)[mode & 3]
        else:
            duration = (480, 960)[mode & 1] if mode < 16 else (120, 240, 480, 960)[mode & 3]
        frames = (1, 2, 2, page.head[1] & 63)[code]
        return page.packets * frames * duration + LONGEST_STEP * 48_000
    if first.startswith(b"\x01vorbis") and len(first) > 28:
        rate, longest_block = int.from_bytes(first[12:16], "little"), 1 << (first[28] >> 4)
        return page.packets * longest_block / 2 + LONGEST_STEP * rate
    return math.inf


def _pages(stream: ByteStream, offset: int = 0) -> Iterator[Page]:
    size, data, base = size_of(stream), b"", offset
    while offset + HEADER.size <= size:
        at = offset - base
        if at + LONGEST_PAGE > len(data) and base + len(data) < size:
            data, base, at = read_at(stream, offset, BLOCK), offset, 0
        magic, flags, time, number, segments = HEADER.unpack_from(data, at)
        if magic != b"OggS":  # damage, or what is not Ogg between two files
            found = data.find(b"OggS", at + 1)
            offset = base + found if found >= 0 else next(find_all(stream, b"OggS", base + len(data) - 3, size), size)
            continue
        content = at + HEADER.size + segments
        lacing = data[at + HEADER.size : content]
        end = base + content + sum(lacing)
        if end > size:
            return
        if _is_intact(data[at : end - base]):
            packets = segments - lacing.count(255)
            yield Page(offset, end, flags, number, time, packets, data[content : content + 32])
        offset = end


def _is_intact(page: bytes) -> bool:
    """Whether the checksum of a page is right; else decoders ignore it. It is that of zlib for mirrored bits."""
    content = page[: CRC.start] + bytes(4) + page[CRC.stop :]
    crc = zlib.crc32(content.translate(MIRRORED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return crc == int.from_bytes(page[CRC].translate(MIRRORED))
