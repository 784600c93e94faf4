"""Decides by a file's content how it is decoded: by libsndfile where it does so correctly, else by PyAV."""

import io
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import pairwise

from genser.audio.chunks import MP3, Sound, find_sound
from genser.audio.containers import (
    adts_start,
    amr_files,
    avi_files,
    declared_size,
    has_index,
    matroska_files,
    media_format,
    mov_files,
    refused_format,
    same_beginnings,
    wavpack_files,
    why_not_audio,
)
from genser.audio.flac import MOST_SAMPLES, declared_samples, flac_files, last_sample, unread_bytes, with_total
from genser.audio.joined import FileReader, JoinedReader
from genser.audio.media import MediaReader
from genser.audio.mpeg import LONGEST_FRAME, SEARCHED, after_tags, first_frame, mpeg_parts
from genser.audio.ogg import Link, ogg_links
from genser.audio.readers import MORE, SoundReader
from genser.audio.view import MOST_PARTS, ByteStream, View, read_at, size_of
from genser.errors import AudioError

HEAD = 4096  # bytes by which a format is recognised
HTTP = (b"ICY ", b"HTTP/")
UNREAD = "{} bytes{} are not {}, and were not read."
PARTS = {
    "mov": mov_files,
    "matroska": matroska_files,
    "amr": amr_files,
    "avi": avi_files,
    "wv": wavpack_files,
    **dict.fromkeys(("asf", "flv", "tta", "ape", "voc", "rm"), same_beginnings),
}
"""Containers of which FFmpeg reads the first file only, and what finds the others."""
CLOSED = ("avi", "asf")
"""Containers whose headers state where the file ends."""


def open_file(stream: ByteStream, name: str) -> FileReader:
    """Open an encoded file.

    Args:
        stream: The file, at its beginning.
        name: Its name for messages.

    Raises:
        AudioError: The file is not audio, or damaged.
        MissingExtraError: A container that needs PyAV, which is not installed.
    """
    head = read_at(stream, 0, HEAD)
    if problem := why_not_audio(head):
        raise AudioError(f"{name} {problem}")
    if start := _after_http(stream, head):
        stream = View(stream, [(start, size_of(stream))])
        head = read_at(stream, 0, HEAD)
    if start := after_tags(stream):
        stream = View(stream, [(start, size_of(stream))])
        head = read_at(stream, 0, HEAD)
    if head.startswith(b"OggS"):
        return _open_ogg(stream, name)
    if head.startswith(b"fLaC"):
        return _open_flac(stream, name)
    if demuxer := media_format(head):
        starts = PARTS[demuxer](stream) if demuxer in PARTS else [0]
        return _joined([partial(_media, part, demuxer, name) for part in _split(stream, starts)], name)
    return _open_sound(stream, name) or _open_mpeg(stream, head, name)


def check_beginning(block: bytes, name: str) -> None:
    """Refuse a source by the beginning of its content, so that the rest of an endless one need not be read.

    Args:
        block: More bytes than the first sound of any format needs to be found.
        name: Its name for messages.

    Raises:
        AudioError: No format begins so.
    """
    head = block[:HEAD]
    if not (media_format(head) or refused_format(head) or head.startswith((b"ID3", *HTTP))):
        open_file(io.BytesIO(block), name).close()


def _after_http(stream: ByteStream, head: bytes) -> int:
    """Where a file begins behind lines of HTTP, 0 without; :func:`_open_mpeg` finds MP3 and AAC behind them."""
    end = head.find(b"\r\n\r\n") + 4
    if not head.startswith(HTTP) or end < 4:
        return 0
    inner = read_at(stream, end, HEAD)
    return end if media_format(inner) or refused_format(inner) else 0


def _split(stream: ByteStream, starts: Sequence[int]) -> list[ByteStream]:
    if len(starts) < 2:
        return [stream]
    return [View(stream, [(start, end)]) for start, end in pairwise([*starts, size_of(stream)])]


def _joined(openers: Sequence[Callable[[], FileReader]], name: str) -> FileReader:
    if len(openers) == 1:
        return openers[0]()
    if len(openers) > MOST_PARTS:
        raise AudioError(f"{name} holds {len(openers)} streams, the limit is {MOST_PARTS}. Split it.")
    return JoinedReader(iter(openers))


def _decoder(stream: ByteStream, name: str, declared: float = 1.0) -> SoundReader | MediaReader:
    """Open with libsndfile, or with PyAV what libsndfile refuses, such as rare codings and short Opus files of FFmpeg.

    In these all packets are on one page, whose granule position may be beyond them (RFC 7845, section 4.5).
    """
    try:
        return SoundReader(stream, name, declared)
    except AudioError as error:
        demuxer = refused_format(read_at(stream, 0, HEAD))
        if demuxer is None:
            raise
        if not find_spec("av"):
            raise AudioError(f"{error} PyAV may read it as it is: pip install 'genser[media]'.") from error
    reader = MediaReader(stream, demuxer, name)
    if declared > 1:
        reader.remarks.append(f"The file is cut off: it holds {100 / declared:.1f} % of the sound that it declares.")
    return reader


def _media(stream: ByteStream, demuxer: str, name: str) -> MediaReader:
    size, declared = size_of(stream), declared_size(stream, demuxer)
    after = read_at(stream, declared or size, HEAD)
    try:
        reader = MediaReader(stream, demuxer, name)  # from here on, only it may move the stream
    except AudioError as error:
        if demuxer != "mov" or has_index(stream):
            raise
        raise AudioError(
            f"{name} was never finished: it lacks its index (moov), without which its sound cannot be found. "
            "Copy it again, or repair it with a tool for broken MP4 files."
        ) from error
    if declared and size < declared:
        reader.remarks.append(f"The file is cut off: it has {size} of {declared} bytes.")
    elif declared and demuxer in CLOSED and any(after) and not after.startswith(b"RIFF"):  # as OpenDML has more of them
        _remark_on_unread(reader, size - declared, demuxer.upper())
    return reader


def _open_ogg(stream: ByteStream, name: str) -> FileReader:
    links = ogg_links(stream)
    if len(links) < 2:
        return _ogg_link(stream, links[0] if links else None, name)
    return _joined([partial(_ogg_link, View(stream, [link.range]), link, name) for link in links], name)


def _ogg_link(stream: ByteStream, link: Link | None, name: str) -> FileReader:
    needs_clock = link is not None and (link.has_gap or link.tracks > 1)
    if needs_clock and find_spec("av"):
        reader: SoundReader | MediaReader = MediaReader(stream, "ogg", name)
    else:
        reader = _decoder(stream, name)
    if link and link.has_gap and isinstance(reader, SoundReader):
        reader.remarks.append(
            "Packets are missing, so later times are too early. With genser[media] the times are right."
        )
    if link and not link.is_ended:
        reader.remarks.append(f"The file is cut off{_where(reader)}: the last page of its stream is missing.")
    _remark_on_unread(reader, link.unread if link else 0, "Ogg")
    return reader


def _open_flac(stream: ByteStream, name: str) -> FileReader:
    declared = declared_samples(read_at(stream, 0, 42))
    if declared and last_sample(stream) == declared:  # still, a second file of the same length may follow
        return JoinedReader(_flac_openers(stream, name), declared)
    return _joined([partial(_flac_file, part, name) for part in _split(stream, flac_files(stream))], name)


def _flac_openers(stream: ByteStream, name: str) -> Iterator[Callable[[], FileReader]]:
    yield partial(_flac_file, stream, name)
    for part in _split(stream, flac_files(stream))[1:]:
        yield partial(_flac_file, part, name)


def _flac_file(stream: ByteStream, name: str) -> FileReader:
    head, last = read_at(stream, 0, 42), last_sample(stream) or 0
    declared = declared_samples(head)
    unread = unread_bytes(stream, declared) if declared else 0
    if unread or not declared < last < MOST_SAMPLES:
        reader = _decoder(stream, name)
        _remark_on_unread(reader, unread, "FLAC", "At least ")
        return reader
    reader = _decoder(View(stream, [with_total(head, last), (42, size_of(stream))]), name)
    if declared:
        reader.remarks.append(MORE.format(last / reader.sample_rate, declared / reader.sample_rate))
    else:
        reader.frames = None
    return reader


def _open_sound(stream: ByteStream, name: str) -> FileReader | None:
    """Open a file of chunks, with those that follow it; None if it is not one."""
    openers, start, size = [], 0, size_of(stream)
    while len(openers) <= MOST_PARTS:
        part = View(stream, [(start, size)]) if start else stream
        sound = find_sound(part)
        if sound is None:
            openers += [partial(_decoder, part, name)] if start else []
            break
        openers.append(partial(_sound, part, sound, name))
        if sound.next_file is None:
            break
        start += sound.next_file
    return _joined(openers, name) if openers else None


def _sound(stream: ByteStream, sound: Sound, name: str) -> FileReader:
    there = sound.end - sound.start
    if sound.coding == MP3:
        content = View(stream, [(sound.start, sound.end)])
        if parts := first_frame(content) == 0 and mpeg_parts(content):
            return _joined([partial(_mpeg, *part, name) for part in parts], name)
    reader = _decoder(sound.corrected, name, (sound.declared or there) / there)
    _remark_on_unread(reader, sound.unread, reader.format.removesuffix("EX"))  # libsndfile has a format WAVEX
    return reader


def _open_mpeg(stream: ByteStream, head: bytes, name: str) -> FileReader:
    """Open an MP3, or what libsndfile reads.

    The dump of a stream may begin within a frame, or with a line of HTTP.
    """
    start = first_frame(stream) if head.startswith((b"\xff", *HTTP)) else None
    if start is None:
        try:
            return _decoder(stream, name)
        except AudioError:
            start, adts = first_frame(stream), adts_start(read_at(stream, 0, SEARCHED))
            if start is None and adts is None:
                raise
            if start is None or (adts is not None and adts < start):
                return MediaReader(View(stream, [(adts or 0, size_of(stream))]), "aac", name)
    if start:
        stream = View(stream, [(start, size_of(stream))])
    return _joined([partial(_mpeg, *part, name) for part in mpeg_parts(stream) or [(stream, 0)]], name)


def _mpeg(stream: ByteStream, unread: int, name: str) -> SoundReader | MediaReader:
    reader = _decoder(stream, name)
    _remark_on_unread(reader, unread, "MP3")
    if 0 < unread <= LONGEST_FRAME:
        reader.remarks.append(f"The file is cut off{_where(reader)}, within a frame.")
    return reader


def _remark_on_unread(reader: SoundReader | MediaReader, unread: int, name: str, least: str = "") -> None:
    if unread > LONGEST_FRAME:
        reader.remarks.append(least + UNREAD.format(unread, _where(reader), name))


def _where(reader: FileReader) -> str:
    return f" after {reader.frames / reader.sample_rate:.2f} s" if reader.frames else ""
