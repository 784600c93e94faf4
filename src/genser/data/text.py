"""Text files in the encodings that people have."""

import re
from codecs import getincrementaldecoder
from collections.abc import Sequence
from pathlib import Path

from genser.errors import ManifestError

LINE_END = re.compile(r"\r\n|\r|\n")

ESCAPE = re.compile(r"\\u([0-9a-f]{4})|\\x([0-9a-f]{2})|\\[nrt]")
CONTROLS = {"\\n": "\n", "\\r": "\r", "\\t": "\t"}
MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
"""Byte-order marks and their encodings."""

FEW_NULS, FEWEST_NULS = 0.25, 0.01
"""Share of NUL bytes up to which a text is not UTF-16: of one that is UTF-8, and of another."""

WESTERN = re.compile(r"[\x00-\x7fÀ-ÖØ-öø-ÿŠšŽžŒœŸ‘’“”„‚–—…€«»°§ºª¿¡·´•\xa0]*")
"""What Western European text in Windows-1252 consists of."""

MISREAD = re.compile(r"[À-ÖØ-öø-ÿ]{3}|[^\x00-\x7f]{4}|\w[‚„]\w")
"""What is rare in Western European text, and usual where another encoding is misread as it."""


def encoding_of(head: bytes) -> str:
    """Encoding of a text by its beginning, by the rules of :func:`decode_text`."""
    if named := _named(head):
        return named
    return "utf-8" if _is_utf8(head) or _western(head) is None else "cp1252"


def decode_text(path: Path, encodings: Sequence[str] = ()) -> str:
    """Read a text file.

    A byte-order mark decides; without one, many NUL bytes show UTF-16, and its byte order. Any other file is UTF-8. If
    it is not, it is Windows-1252, provided that it then looks like Western European text.

    Args:
        path: File to read.
        encodings: Tried in this order instead of UTF-8 and Windows-1252.

    Raises:
        ManifestError: The file cannot be read or no encoding fits; the message names the first bad byte.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror or error}. Check the path.") from error
    named = _named(content)
    failed: UnicodeDecodeError | None = None
    for encoding in [named] if named else encodings or ["utf-8"]:
        try:
            return content.decode(encoding).lstrip("\ufeff")
        except UnicodeDecodeError as error:
            failed = failed or error
    assert failed is not None
    if named is None and not encodings and (western := _western(content)) is not None:
        return western
    where = f"byte 0x{content[failed.start]:02x} at position {failed.start}"
    raise ManifestError(f"{path} is not {failed.encoding} text ({where}). Save it as UTF-8.") from failed


def _named(content: bytes) -> str | None:
    """Encoding that a byte-order mark names, or UTF-16 that NUL bytes show; None without either."""
    named = next((encoding for mark, encoding in MARKS.items() if content.startswith(mark)), None)
    if named is None and b"\0" in content:
        share = content.count(b"\0") / len(content)
        if share > (FEW_NULS if _is_utf8(content) else FEWEST_NULS):
            named = "utf-16-le" if content[1::2].count(0) >= content[::2].count(0) else "utf-16-be"
    return named


def _is_utf8(content: bytes) -> bool:
    """Whether text is UTF-8; its last character may be incomplete."""
    try:
        getincrementaldecoder("utf-8")().decode(content)
    except UnicodeDecodeError:
        return False
    return True


def _western(content: bytes) -> str | None:
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError:
        return None
    return text if WESTERN.fullmatch(text) and not MISREAD.search(text) else None


def printable(text: str) -> str:
    """Escape control characters, so that a file name can neither control the terminal nor look like another line."""
    return "".join(char if char.isprintable() or "\udc80" <= char <= "\udcff" else repr(char)[1:-1] for char in text)


def unescaped(name: str) -> str:
    """A file name with the characters that genser escapes where it writes names."""
    return ESCAPE.sub(lambda found: CONTROLS.get(found[0]) or chr(int(found[1] or found[2], 16)), name)


def lines_of(text: str) -> list[str]:
    """Lines that end in LF, CR LF or CR, without their ends; other separators, such as U+2028, are text."""
    return LINE_END.split(text)
