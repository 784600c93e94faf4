"""Finds the frames of MP3 files, because their headers state the length of the first stream only, or of none.

A decoder must estimate the length of an MP3 without a Xing header, and stops there: too early where the rate varies.
Here the frames are counted, and a Xing header with the true number stands before them. Layout: ISO 11172-3, section
2.4.1; Xing header: http://gabriel.mp3-tech.org/mp3infotag.html.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from genser.audio.view import BLOCK, MOST_PARTS, ByteStream, Range, View, read_at, size_of

BIT_RATES = {  # kbit/s by whether it is MPEG-1, index 1 to 14
    True: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
SAMPLE_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # by version
SEARCHED = 1 << 18  # bytes in which the first frame must lie, or the next one after damage
MOST_TAGS = 1000  # one after the other
LONGEST_FRAME = 1441  # bytes
DECODER_DELAY = 529  # samples, of every MP3 decoder
CONFIRMING = 4  # frames in a row that make the first one certain


class Header(NamedTuple):
    """What the first three bytes of a frame of layer III state."""

    length: int  # bytes
    is_mpeg_1: bool
    sample_rate: int


@lru_cache(4096)
def parse_header(second: int, third: int) -> Header | None:
    """Parse the second and third byte of a frame; None if they begin no frame of layer III of a known length."""
    version, rate_index, bits_index = second >> 3 & 3, third >> 2 & 3, third >> 4
    if second & 0xE6 != 0xE2 or version == 1 or rate_index == 3 or not 0 < bits_index < 15:
        return None
    is_mpeg_1, rate = version == 3, SAMPLE_RATES[version][rate_index]
    bits, padding = 1000 * BIT_RATES[is_mpeg_1][bits_index - 1], third >> 1 & 1
    return Header((144 if is_mpeg_1 else 72) * bits // rate + padding, is_mpeg_1, rate)


@dataclass
class Part:
    """Frames of one encoding.

    Attributes:
        ranges: Where they lie, without the tags between them.
        head: First bytes of the first frame.
        declared: Number of frames that a Xing header declares; None without one.
        frames: Number of frames, without that header.
        unread: Bytes after the last frame that are a frame cut off, or none at all.
    """

    head: bytes
    declared: int | None
    ranges: list[Range] = field(default_factory=list)
    frames: int = 0
    unread: int = 0


def xing_of(frame: bytes) -> tuple[int, int] | None:
    """Return the numbers of frames and bytes in the Xing header of a frame, 0 where missing; None without a header."""
    side = (32, 17) if frame[1] & 8 else (17, 9)
    at = 4 + side[frame[3] >> 6 == 3]
    if frame[at : at + 4] not in (b"Xing", b"Info") or len(frame) < at + 16:
        return None
    flags, numbers = frame[at + 7], [int.from_bytes(frame[i : i + 4]) for i in (at + 8, at + 12)]
    return numbers[0] if flags & 1 else 0, numbers[flags & 1] if flags & 2 else 0


def tag_length(head: bytes) -> int:
    """Return the length of the ID3, APE or Lyrics3 tag that begins with these 32 bytes, 0 if none does."""
    if head[:3] == b"ID3" and len(head) > 9:
        return 10 + sum((byte & 127) << 7 * (3 - i) for i, byte in enumerate(head[6:10])) + 10 * (head[5] >> 4 & 1)
    if head[:3] == b"TAG":
        return 128
    if head[:8] == b"APETAGEX":
        return int.from_bytes(head[12:16], "little") + 32 * (head[23] >> 7)
    return 0


def after_tags(stream: ByteStream) -> int:
    """Return the offset after the ID3 tags at the beginning, at most the size of the stream."""
    offset, size = 0, size_of(stream)
    for _ in range(MOST_TAGS):
        head = read_at(stream, offset, 32)
        if not head.startswith(b"ID3"):
            break
        offset += tag_length(head)
    return min(offset, size)


def first_frame(stream: ByteStream) -> int | None:
    """Return the offset of the first of several frames in a row near the start of the stream; None without."""
    data = read_at(stream, 0, SEARCHED)
    at = data.find(b"\xff")
    while at >= 0 and not _follow(data, at):
        at = data.find(b"\xff", at + 1)
    return at if at >= 0 else None


def _follow(data: bytes, at: int) -> bool:
    """Whether several frames of one kind begin here; fewer are enough at the end of a file."""
    kind = None
    for count in range(CONFIRMING):
        if at + 2 >= len(data):
            return count > 1 and at == len(data)
        header = parse_header(data[at + 1], data[at + 2]) if data[at] == 0xFF else None
        if header is None or kind not in (None, header[1:]):
            return False
        kind = header[1:]
        at += header.length
    return True


def mpeg_parts(stream: ByteStream) -> list[tuple[View, int]] | None:
    """Divide an MP3 into streams whose lengths a decoder knows.

    Args:
        stream: The file, from its first frame on.

    Returns:
        A view of each encoding, and the bytes after it that are no complete frame; None if the header's own length is
        that of the file.
    """
    head = read_at(stream, 0, 1500).ljust(4, b"\0")
    header, xing, end = parse_header(head[1], head[2]), xing_of(head), _end(stream)
    if header is None or (xing and all(xing) and end - xing[1] <= 2 * header.length + 1500):
        return None
    return [(_view(stream, part), part.unread) for part in _parts(stream, end)]


def _end(stream: ByteStream) -> int:
    """Offset at which the tags at the end of a file begin."""
    end = size_of(stream)
    if read_at(stream, max(end - 128, 0), 3) == b"TAG":
        end -= 128
    footer = read_at(stream, max(end - 32, 0), 32)
    if footer[:8] == b"APETAGEX":
        end -= int.from_bytes(footer[12:16], "little") + 32 * (footer[23] >> 7)
    return max(end, 0)


def _parts(stream: ByteStream, end: int) -> list[Part]:
    parts: list[Part] = []
    kind, last = None, 0
    for begin, offset, frame, header in _frames(stream, end):
        xing = xing_of(frame)
        part = parts[-1] if parts else None
        last_kind, kind = kind, (header[1:], frame[3] >> 6 == 3)
        if len(parts) + (len(part.ranges) if part else 0) > MOST_PARTS:
            break
        if part is None or xing or kind != last_kind or (part.declared and part.frames >= part.declared):
            parts.append(part := Part(frame, xing and xing[0]))
            begin = offset
        if part.ranges and part.ranges[-1][1] == begin:
            begin = part.ranges.pop()[0]
        last = offset + header.length
        part.ranges.append((begin, last))
        part.frames += not xing
    rest = read_at(stream, last, 3).ljust(3, b"\0")
    is_cut = rest[0] == 0xFF and parse_header(rest[1], rest[2]) is not None
    if parts and (end - last > LONGEST_FRAME or (is_cut and not parts[-1].declared)):  # else the decoder misses frames
        parts[-1].unread = end - last
    return parts


def _view(stream: ByteStream, part: Part) -> View:
    if part.declared:
        return View(stream, part.ranges)
    ranges, head = part.ranges, part.head
    if part.declared == 0:  # a Xing header without a number
        header = parse_header(head[1], head[2])
        assert header is not None
        ranges = [(ranges[0][0] + header.length, ranges[0][1]), *ranges[1:]]
    return View(stream, [_xing_frames(head, part.frames), *ranges])


def _xing_frames(head: bytes, frames: int) -> bytes:
    """Two frames to stand before a stream: a Xing header that declares its length, and one of silence.

    A decoder takes the samples of the second and its own delay off, so what it returns is exactly the stream.
    """
    second, third = head[1] | 1, head[2] & 0x0C | 0xE0  # without CRC, at the highest rate, which has room enough
    header = parse_header(second, third)
    assert header is not None
    side = (32, 17) if header.is_mpeg_1 else (17, 9)
    start = bytes((0xFF, second, third, head[3]))
    delay = (1152 if header.is_mpeg_1 else 576) - DECODER_DELAY
    trim = (delay << 12 | DECODER_DELAY).to_bytes(3)
    lame = b"LAME".ljust(21, b"\0") + trim
    content = start + bytes(side[head[3] >> 6 == 3]) + b"Xing\0\0\0\1" + (frames + 1).to_bytes(4) + lame
    return content.ljust(header.length, b"\0") + start.ljust(header.length, b"\0")


def _frames(stream: ByteStream, end: int) -> Iterator[tuple[int, int, bytes, Header]]:
    """Yield each frame: where the damage before it begins, its offset, its first bytes and its header."""
    begin, offset, data, base, tags = 0, 0, b"", 0, 0
    while offset + 4 <= end:
        at = offset - base
        if (at > len(data) - 64 and base + len(data) < end) or at >= len(data):
            base, at = offset, 0
            data = read_at(stream, base, min(BLOCK, end - base))
        header = parse_header(data[at + 1], data[at + 2]) if data[at] == 0xFF else None
        if header is not None:
            if offset + header.length > end:
                return
            yield begin, offset, data[at : at + 64], header
            begin = offset = offset + header.length
            tags = 0
        elif length := tag_length(data[at : at + 32]):
            begin = offset = offset + length
            tags += 1
            if tags == MOST_TAGS:
                return
        else:
            offset = _resynchronized(stream, offset, end)


def _resynchronized(stream: ByteStream, offset: int, end: int) -> int:
    """Offset of the next frame or tag, the end if none is near."""
    data = read_at(stream, offset, min(SEARCHED, end - offset))
    found = min((at for at in (data.find(tag, 1) for tag in (b"ID3", b"APETAGEX")) if at > 0), default=len(data))
    at = data.find(b"\xff", 1, found)
    while at >= 0 and not _follow(data, at):
        at = data.find(b"\xff", at + 1, found)
    if at < 0 and found == len(data):
        return end
    return offset + (at if at >= 0 else found)
