"""Recognises audio formats by their first bytes, and finds files that follow each other in one.

FFmpeg is always given the demuxer. Left to choose, it would accept a playlist, and open the files and URLs in it.
"""

from struct import Struct

from genser.audio.view import MOST_PARTS, ByteStream, find_all, read_at, size_of
from genser.errors import AudioError

EBML = b"\x1a\x45\xdf\xa3"  # begins a Matroska or WebM file

FLV_SIZE = b"\0\x08filesize\0"  # name of a property, and the type of a number
DOUBLE = Struct(">d")
WAVPACK = Struct("<4sI2xBx4xIII")
INITIAL_BLOCK = 1 << 11  # flag of a block of WavPack; the others of several channels follow it

ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")

MEDIA = (
    (4, b"ftyp", "mov"),
    (4, b"moov", "mov"),
    (4, b"mdat", "mov"),
    (4, b"wide", "mov"),
    (4, b"moof", "mov"),
    (4, b"styp", "mov"),
    (0, EBML, "matroska"),
    (0, b"#!AMR", "amr"),
    (0, b"\x30\x26\xb2\x75", "asf"),
    (8, b"AVI ", "avi"),
    (8, b"QLCM", "qcp"),
    (8, b"XWMA", "xwma"),
    (0, b"FLV\x01", "flv"),
    (0, b"\x00\x00\x01\xba", "mpeg"),
    (0, b"wvpk", "wv"),
    (0, b"\x0b\x77", "ac3"),
    (0, b"\x7f\xfe\x80\x01", "dts"),
    (0, b"MAC ", "ape"),
    (0, b"TTA1", "tta"),
    (0, b"tBaK", "tak"),
    (0, b"MPCK", "mpc8"),
    (0, b"MP+", "mpc"),
    (0, b"DSD ", "dsf"),
    (0, b"FRM8", "iff"),
    (0, b".RMF", "rm"),
    (0, b".ra\xfd", "rm"),
    (0, b"\x02dss", "dss"),
    (0, b"\x03dss", "dss"),
    (0, b"\x06\x0e\x2b\x34", "mxf"),
    (0, b"nut/multimedia", "nut"),
    (0, b"Creative Voice File", "voc"),  # libsndfile reads the first of its blocks only
)
"""Offset, bytes there, and the demuxer of FFmpeg for formats that libsndfile does not read, or not completely."""

REFUSED = (
    (0, b"OggS", "ogg"),
    (0, b"RIFF", "wav"),
    (0, b"RIFX", "wav"),
    (0, b"RF64", "wav"),
    (0, b"riff", "w64"),
    (0, b"FORM", "aiff"),
    (0, b"caff", "caf"),
    (0, b".snd", "au"),
    (0, b"fLaC", "flac"),
    (0, b"NIST_1A", "nistsphere"),
)
"""The same for formats that libsndfile reads, but not with every coding."""

NOT_AUDIO = (
    (0, b"\x00\x05\x16\x07", "holds attributes that macOS wrote, not audio. Use the file whose name lacks the '._'."),
    (
        0,
        b"#EXTM3U",
        "is a playlist, not audio. genser opens no files that another names; download the recording itself.",
    ),
    (
        0,
        b"ffconcat",
        "is a playlist, not audio. genser opens no files that another names; pass the recordings themselves.",
    ),
    (0, b"version https://git-lfs", "is a pointer of Git LFS, not audio. Run: git lfs pull"),
    (0, b"PK\x03\x04", "is a zip archive, not audio. Unpack it first."),
    (0, b"\x1f\x8b", "is compressed by gzip, not audio. Unpack it first."),
    (0, b"7z\xbc\xaf\x27\x1c", "is a 7z archive, not audio. Unpack it first."),
    (0, b"Rar!\x1a\x07", "is a rar archive, not audio. Unpack it first."),
    (0, b"MThd", "is MIDI: notes, not audio. Render it to wav."),
    (0, b"%PDF-", "is a PDF document, not audio. Choose a recording."),
    (0, b"\x89PNG", "is a picture, not audio. Choose a recording."),
    (0, b"\xff\xd8\xff", "is a picture, not audio. Choose a recording."),
    (0, b"GIF8", "is a picture, not audio. Choose a recording."),
)
"""Offset, bytes there, and what to say of files that are often taken for audio by their names."""

PAGES = (b"<!doctype html", b"<html", b"<?xml")
TS_PACKETS = (188, 192, 204)  # bytes: MPEG transport stream; with time stamps; with error correction
TS_CONFIRMING = 4  # packets in a row
ADTS_CONFIRMING = 4  # frames in a row
MOST_BOXES = 1_000_000  # of an MP4; FFmpeg would read them one by one


def media_format(head: bytes) -> str | None:
    """Return FFmpeg's demuxer for a file that begins with these 4096 bytes; None if libsndfile is to read it."""
    if demuxer := _match(MEDIA, head):
        return demuxer
    if _is_adts(head[:7]):
        return "aac"
    return "mpegts" if _is_transport_stream(head) else None


def refused_format(head: bytes) -> str | None:
    """Return FFmpeg's demuxer for a file that libsndfile has refused; None if FFmpeg has none either."""
    return _match(REFUSED, head)


def why_not_audio(head: bytes) -> str | None:
    """Return what a file is that is no audio, as the end of a sentence with a cure; None if it may be audio."""
    if head.lstrip()[:16].lower().startswith(PAGES):
        return "is a web page or XML, not audio. Download the recording itself."
    if len(head) == 4096 and not any(head):
        return "begins with zeros only, which is not audio. Copy or record it again."
    return _match(NOT_AUDIO, head)


def _match(table: tuple[tuple[int, bytes, str], ...], head: bytes) -> str | None:
    return next((name for offset, magic, name in table if head[offset : offset + len(magic)] == magic), None)


def adts_start(data: bytes) -> int | None:
    """Return the offset of the first of several ADTS frames of AAC in a row; None without. Source: ISO 13818-7, 6.2."""
    first = data.find(b"\xff")
    while first >= 0:
        at, count = first, 0
        while count < ADTS_CONFIRMING and _is_adts(data[at : at + 7]):
            at, count = at + max((data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5, 7), count + 1
        if count == ADTS_CONFIRMING:
            return first
        first = data.find(b"\xff", first + 1)
    return None


def _is_adts(head: bytes) -> bool:
    return len(head) == 7 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0


def _is_transport_stream(head: bytes) -> bool:
    starts = [start for start, byte in enumerate(head[: max(TS_PACKETS)]) if byte == ord("G")]
    return any(
        head[start : start + TS_CONFIRMING * size : size] == b"G" * TS_CONFIRMING
        for size in TS_PACKETS
        for start in starts
        if start < size
    )


def mov_files(stream: ByteStream) -> list[int]:
    """Return where each MP4 or MOV file begins in files one after the other. Source: ISO 14496-12, section 4.2."""
    offset, size, starts, has_index = 0, size_of(stream), [0], False
    for _ in range(MOST_BOXES):
        head = read_at(stream, offset, 16)
        if len(head) < 8:
            break
        length, kind = int.from_bytes(head[:4]), head[4:8]
        if kind == b"ftyp" and has_index:
            starts.append(offset)
            has_index = False
        has_index |= kind == b"moov"
        if length == 1:
            length = int.from_bytes(head[8:16])
        if length < 8 or offset + length >= size:
            break
        offset += length
    else:
        raise AudioError(f"The MP4 file has more than {MOST_BOXES} boxes. Convert it to wav.")
    return starts


def has_index(stream: ByteStream) -> bool:
    """Whether an MP4 or MOV file has the index without which nothing can be found in it."""
    return next(find_all(stream, b"moov", 0, size_of(stream)), None) is not None


def matroska_files(stream: ByteStream) -> list[int]:
    """Return where each Matroska or WebM file begins in files one after the other. Source: RFC 8794, section 4."""
    starts, size = [0], size_of(stream)
    while len(starts) < MOST_PARTS:
        header_end = _element_end(stream, starts[-1])
        segment_end = header_end and _element_end(stream, header_end)
        if not segment_end:  # of open length, as in live recordings
            begin = starts[-1] + len(EBML)
            found = [at for at in find_all(stream, EBML, begin, size) if b"webm" in read_at(stream, at, 64)]
            return starts + found
        if segment_end + len(EBML) > size or read_at(stream, segment_end, 4) != EBML:
            break
        starts.append(segment_end)
    return starts


def _element_end(stream: ByteStream, offset: int) -> int | None:
    """Where an EBML element ends; None if its length is open, or it is none."""
    head = read_at(stream, offset, 12)
    if not head or not head[0]:
        return None
    at = 9 - head[0].bit_length()
    if len(head) < at + 1 or not head[at]:
        return None
    length = 9 - head[at].bit_length()
    value = int.from_bytes(head[at : at + length]) & (1 << 7 * length) - 1
    return None if value == (1 << 7 * length) - 1 else offset + at + length + value


def same_beginnings(stream: ByteStream) -> list[int]:
    """Return where each file begins in files one after the other that begin with the same six bytes."""
    return list(find_all(stream, read_at(stream, 0, 6), 0, size_of(stream)))


def avi_files(stream: ByteStream) -> list[int]:
    """Return where each AVI file begins in files one after the other."""
    return [at - 8 for at in find_all(stream, b"AVI LIST", 8, size_of(stream)) if read_at(stream, at - 8, 4) == b"RIFF"]


def wavpack_files(stream: ByteStream) -> list[int]:
    """Return where each WavPack file begins in files one after the other: at the block of the first sample.

    Source: WavPack 4 & 5 binary file format, section 2.0.
    """
    offset, size, starts = 0, size_of(stream), []
    while offset < size and len(starts) <= MOST_PARTS:
        head = read_at(stream, offset, WAVPACK.size)
        if len(head) < WAVPACK.size or head[:4] != b"wvpk":  # a tag, or damage
            offset = next(find_all(stream, b"wvpk", offset + 1, size), size)
            continue
        _, length, high, first, samples, flags = WAVPACK.unpack(head)
        if samples and flags & INITIAL_BLOCK and not high and not first:
            starts.append(offset)
        offset += max(length + 8, WAVPACK.size)
    return starts or [0]


def _voc_end(stream: ByteStream) -> int | None:
    """Where the last block of a VOC file should end; None if its last block, the terminator, is there."""
    offset, size = int.from_bytes(read_at(stream, 20, 2), "little"), size_of(stream)
    for _ in range(MOST_BOXES):
        head = read_at(stream, offset, 4)
        if not head or not head[0]:
            return None
        offset += 4 + int.from_bytes(head[1:], "little")
        if len(head) < 4 or offset >= size:
            break
    return offset


def declared_size(stream: ByteStream, demuxer: str) -> int | None:
    """Return the size in bytes that the header of an AVI, ASF, FLV or VOC file states; None if it does not.

    Sources: ASF specification, section 3.2; Adobe Flash Video File Format Specification 10.1, E.5.
    """
    head, size = read_at(stream, 0, 4096), 0
    if demuxer == "avi":
        size = int.from_bytes(head[4:8], "little") + 8
    elif demuxer == "asf" and (at := head.find(ASF_PROPERTIES)) > 0 and not head[at + 88] & 1:  # else live
        size = int.from_bytes(head[at + 40 : at + 48], "little")
    elif demuxer == "flv" and (at := head.find(FLV_SIZE)) > 0 and len(head) >= at + len(FLV_SIZE) + 8:
        number = DOUBLE.unpack_from(head, at + len(FLV_SIZE))[0]
        size = int(number) if 0 < number < 1 << 53 else 0
    elif demuxer == "voc":
        size = _voc_end(stream) or 0
    return size if 8 < size < 0xFFFF_0000 else None


def amr_files(stream: ByteStream) -> list[int]:
    """Return where each AMR file begins in files one after the other. Source: RFC 4867, section 5.1."""
    return [at for at in find_all(stream, b"#!AMR", 0, size_of(stream)) if read_at(stream, at + 5, 1) in (b"\n", b"-")]
