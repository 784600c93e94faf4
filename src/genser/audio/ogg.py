"""Finds the streams of an Ogg file, because decoders stop at the end of the first one.

Layouts: pages in RFC 3533, section 6; packets of Opus in RFC 6716, section 3.1; Vorbis I specification, section 4.2.2.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from genser.audio.view import ByteStream, Range, find_all, read_at, size_of

CONTINUED, FIRST, LAST = 1, 2, 4  # flags of a page
HEADER = 27  # bytes
LONGEST_STEP = 0.1  # seconds by which a time may exceed what the packets can hold
BLOCK = 1 << 20  # bytes searched at once


class Page(NamedTuple):
    """A page of an Ogg file."""

    start: int
    end: int
    flags: int
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
    """

    range: Range
    tracks: int = 0
    is_ended: bool = False
    has_gap: bool = False


def ogg_links(stream: ByteStream) -> list[Link]:
    """Return the streams of an Ogg file in their order."""
    links: list[Link] = []
    time, head, was_first = -1, b"", False
    for page in _pages(stream):
        is_first = bool(page.flags & FIRST)
        if is_first and not was_first:
            links.append(Link((page.start, page.end)))
            time, head = -1, page.head
        was_first = is_first
        if links:
            link = links[-1]
            link.range = link.range[0], page.end
            link.tracks += is_first
            link.is_ended |= bool(page.flags & LAST)
            if page.time > 0:
                link.has_gap |= 0 <= time < page.time - _most_samples(head, page)
                time = page.time
    return links


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


def _pages(stream: ByteStream) -> Iterator[Page]:
    offset, size = 0, size_of(stream)
    while offset + HEADER <= size:
        head = read_at(stream, offset, HEADER + 255 + 32)
        if head[:4] != b"OggS":  # damage, or what is not Ogg between two files
            offset = _next_page(stream, offset + 1, size)
            continue
        content = HEADER + head[26]
        lacing = head[HEADER:content]
        end = offset + content + sum(lacing)
        if end > size:
            return
        time = int.from_bytes(head[6:14], "little", signed=True)
        yield Page(offset, end, head[5], time, sum(length < 255 for length in lacing), head[content:])
        offset = end


def _next_page(stream: ByteStream, start: int, size: int) -> int:
    for offset in range(start, size, BLOCK):
        found = find_all(stream, b"OggS", offset, min(offset + BLOCK + 3, size))
        if found:
            return found[0]
    return size
