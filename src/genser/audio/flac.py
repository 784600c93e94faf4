"""Finds what a FLAC file holds beyond its header's total of samples. Layout: RFC 9639, sections 8.2 and 9.1."""

from collections.abc import Iterator

from genser.audio.view import ByteStream, find_all, read_at, size_of

MAGICS = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")
"""The first bytes, with the header of STREAMINFO, 34 bytes long, which is the first block and perhaps the only one."""
TOTAL = 21  # offset of the byte whose lower half begins the total of samples, 36 bits in all
MOST_SAMPLES = 1 << 36  # beyond which a header has no total
LONGEST_BLOCK = 65_535  # samples of a frame
FRAME_OVERHEAD = 1 << 10  # bytes of a frame at most, beyond its samples
TAIL = 1 << 16  # bytes at the end that are searched for the last frame


def declared_samples(head: bytes) -> int:
    """Return the total of samples in the first 42 bytes of a FLAC file; 0 means that it is open."""
    return int.from_bytes(head[TOTAL : TOTAL + 5]) & MOST_SAMPLES - 1


def with_total(head: bytes, total: int) -> bytes:
    """Return the first 42 bytes of a FLAC file with another total of samples."""
    field = (head[TOTAL] >> 4) << 36 | total
    return head[:TOTAL] + field.to_bytes(5) + head[TOTAL + 5 :]


def last_sample(stream: ByteStream) -> int | None:
    """Return the number of the sample after the last frame of a file; None if no frame is found at its end."""
    return next((end for _, end in _last_frames(stream, max(size_of(stream) - TAIL, 42))), None)


def unread_bytes(stream: ByteStream, declared: int) -> int:
    """Return how many bytes at least follow the frame with which a file ends by its header; 0 without such a frame."""
    head, size = read_at(stream, 0, 42), size_of(stream)
    channels, bits = (head[20] >> 1 & 7) + 1, ((head[20] & 1) << 4 | head[21] >> 4) + 1
    longest = int.from_bytes(head[15:18]) or int.from_bytes(head[10:12]) * channels * bits // 8 + FRAME_OVERHEAD
    for at, end in _last_frames(stream, 42):
        if declared < end <= declared + LONGEST_BLOCK:  # the sound goes on: the total is too small
            break
        if end == declared:
            return max(size - at - longest, 0) if any(read_at(stream, at + longest, 4096)) else 0
    return 0


def _last_frames(stream: ByteStream, start: int) -> Iterator[tuple[int, int]]:
    """Yield the offset of each frame from the last on, and the number of the sample after it."""
    block_size = int.from_bytes(read_at(stream, 8, 2))  # smallest; with a fixed size, that of every block but the last
    for offset in range(start + (size_of(stream) - start - 1) // TAIL * TAIL, start - 1, -TAIL):
        tail = read_at(stream, offset, TAIL + 16)
        at = min(len(tail), TAIL)
        while (at := tail.rfind(b"\xff", 0, at)) >= 0:
            if frame := _frame(tail[at : at + 16]):
                number, size = frame
                yield offset + at, (number if tail[at + 1] & 1 else number * block_size) + size


def _frame(head: bytes) -> tuple[int, int] | None:
    """Number of a frame (of its first sample where the size of blocks varies) and its samples; None if it is none."""
    if len(head) < 6 or head[1] & 0xFE != 0xF8 or head[3] & 1:
        return None
    ones = 8 - (head[4] ^ 0xFF).bit_length()
    extra = max(ones - 1, 0)
    number = head[4] & (0x7F >> ones)
    for byte in head[5 : 5 + extra]:
        if byte & 0xC0 != 0x80:
            return None
        number = number << 6 | byte & 0x3F
    at, code = 5 + extra, head[2] >> 4
    if not code or ones == 1 or ones > 7:
        return None
    size = 192 if code == 1 else 576 << code - 2 if code < 6 else 256 << max(code - 8, 0)
    if code in (6, 7):
        size = int.from_bytes(head[at : at + code - 5]) + 1
        at += code - 5
    at += {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    if at >= len(head) or _crc_8(head[:at]) != head[at]:
        return None
    return number, size


def _crc_8(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ (0x07 if crc & 0x80 else 0)) & 0xFF
    return crc


def flac_files(stream: ByteStream) -> list[int]:
    """Return where each FLAC file begins in files one after the other."""
    return sorted(at for magic in MAGICS for at in find_all(stream, magic, 0, size_of(stream)))
