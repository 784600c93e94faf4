"""Opens any source of audio as a reader; `genser.audio.decode` checks what it reads."""

import io
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from genser.audio.detect import check_beginning, open_file
from genser.audio.readers import ArrayReader, Reader
from genser.audio.view import ByteStream, size_of
from genser.errors import AudioError, StorageError, cause, counted
from genser.storage import is_url, open_stored

AudioSource = str | os.PathLike | bytes | BinaryIO | tuple[Any, int]

SEEKABLE_FILES = (io.BytesIO, io.BufferedReader, io.BufferedRandom, io.RawIOBase)
"""Types of file objects that are read where they are, if they can seek; others are copied first."""
MOST_CHANNELS = 32
"""Length up to which an axis of an array may be that of the channels."""
COPY_BLOCK = 1 << 20  # bytes
MEMORY_SPOOL = 64 << 20  # bytes; a larger piped source goes to a temporary file


def describe(source: AudioSource) -> str:
    """Name of a source for messages."""
    if isinstance(source, str | os.PathLike):
        return "standard input" if source == "-" else os.fspath(source)
    if isinstance(source, NamedBytes):
        return source.name
    if isinstance(source, bytes | bytearray | memoryview):
        return f"audio in {counted(len(source), 'byte')}"
    if isinstance(source, tuple):
        return "audio in an array"
    return str(getattr(source, "name", "audio in a file object"))


def reusable(source: AudioSource, max_bytes: int) -> AudioSource:
    """The source if it can be opened several times at once, else its bytes: standard input and file objects are read.

    Raises:
        AudioError: The source cannot be read, or has more bytes.
    """
    if source != "-" and isinstance(source, str | os.PathLike | bytes | bytearray | memoryview | tuple):
        return source
    file = _standard_input() if isinstance(source, str) else _rewound(source, describe(source))
    content = NamedBytes(b"".join(_blocks(file, max_bytes, describe(source))))
    content.name = describe(source)
    return content


class NamedBytes(bytes):
    """Bytes that were read from a source, with its name for messages."""

    name: str


@contextmanager
def open_reader(source: AudioSource, max_bytes: int) -> Iterator[Reader]:
    """Open a source; its content, not its ending, decides how it is decoded.

    Args:
        source: Path ("-" is standard input), URL, bytes, binary file object (read from its beginning where it can
            seek), or (array, sample rate in Hz) as for :func:`frames_of`.
        max_bytes: Largest encoded size.

    Raises:
        AudioError: The source is missing, empty, too large or not audio.
        MissingExtraError: A container that needs PyAV, which is not installed.
    """
    if isinstance(source, tuple):
        yield ArrayReader((frames_of(source[0]), *source[1:]))
        return
    with ExitStack() as stack:
        stream = _open_stream(source, max_bytes, stack)
        name = describe(source)
        if not size_of(stream):
            raise AudioError(f"{name} is empty (0 bytes). Record or copy the file again.")
        reader = open_file(stream, name)
        stack.callback(reader.close)
        yield reader


def frames_of(array: Any) -> Any:
    """A NumPy array or torch tensor of samples as a NumPy array of shape (samples,) or (samples, channels).

    Of two axes, the one of at most 32 is that of the channels, so (samples, channels), as soundfile returns, and
    (channels, samples), as torchaudio and librosa return, are both read.

    Raises:
        AudioError: Both axes may be that of the channels, or the tensor has a type that NumPy lacks.
    """
    if callable(getattr(array, "detach", None)):
        try:
            array = array.detach().cpu().numpy()
        except TypeError as error:
            raise AudioError(f"A tensor of type {array.dtype} is not audio. Convert it by tensor.float().") from error
    if not isinstance(array, np.ndarray) or array.ndim != 2 or min(array.shape) > MOST_CHANNELS:
        return array
    if min(array.shape) > 1 and max(array.shape) <= MOST_CHANNELS:
        raise AudioError(
            f"An array of shape {array.shape} may be (samples, channels) or (channels, samples): both axes have at "
            f"most {MOST_CHANNELS}. Pass the channels one by one, each of shape (samples,)."
        )
    return array.T if array.shape[0] < array.shape[1] else array


def _open_stream(source: str | os.PathLike | bytes | BinaryIO, max_bytes: int, stack: ExitStack) -> ByteStream:
    name = describe(source)
    if isinstance(source, bytes | bytearray | memoryview):
        _check_size(len(source), max_bytes, name)
        return io.BytesIO(source)
    if is_url(source):
        return _spooled(stack.enter_context(_open_url(source)), max_bytes, name, stack)
    if isinstance(source, str | os.PathLike) and source != "-":
        file = stack.enter_context(_open_path(Path(source)))
        status = os.fstat(file.fileno())
        if stat.S_ISREG(status.st_mode):
            _check_size(status.st_size, max_bytes, name)
            return UnnamedFile(file)
    else:
        file = _standard_input() if isinstance(source, str) else _rewound(source, name)
        if isinstance(file, SEEKABLE_FILES) and file.seekable():
            _check_size(file.seek(0, os.SEEK_END), max_bytes, name)
            file.seek(0)
            return UnnamedFile(file)
    return _spooled(file, max_bytes, name, stack)


def _open_url(url: str) -> BinaryIO:
    try:
        return open_stored(url)
    except StorageError as error:
        raise AudioError(str(error)) from error


def _open_path(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise AudioError(f"{path} does not exist. Check the path.") from error
    except IsADirectoryError as error:
        readable = os.access(path, os.R_OK | os.X_OK)
        reason = (
            "not an audio file, and holds none that genser finds by its ending" if readable else "and cannot be read"
        )
        raise AudioError(f"{path} is a folder, {reason}. Name audio files.") from error
    except (OSError, ValueError) as error:
        raise AudioError(f"{path} cannot be opened: {cause(error)}. Check its name and permissions.") from error


def _check_size(size: int, max_bytes: int, name: str) -> None:
    if size > max_bytes:
        raise AudioError(f"{name} has {size} bytes or more, the limit is {max_bytes}. Split it, or raise the limit.")


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise AudioError("Standard input is closed. Pipe a file into it: genser predict - < a.wav")
    if sys.stdin.isatty():
        raise AudioError("Standard input is a terminal, not audio. Pipe a file into it: genser predict - < a.wav")
    return sys.stdin.buffer


def _rewound(file: BinaryIO, name: str) -> BinaryIO:
    if not callable(getattr(file, "read", None)):
        raise AudioError(
            f"{type(file).__name__} is not audio. Pass a path, bytes, a binary file object or (array, rate)."
        )
    try:
        if getattr(file, "seekable", bool)():
            file.seek(0)
    except (OSError, ValueError) as error:
        raise AudioError(f"{name} cannot be read: {cause(error)}. Open it again.") from error
    return file


def _spooled(file: BinaryIO, max_bytes: int, name: str, stack: ExitStack) -> ByteStream:
    """Copy a source that can only be read once, in bounded memory, as decoders must seek."""
    spool = tempfile.SpooledTemporaryFile(max_size=MEMORY_SPOOL)  # noqa: SIM115
    stack.callback(spool.close)
    for block in _blocks(file, max_bytes, name):
        spool.write(block)
    spool.seek(0)
    return UnnamedFile(spool)


def _blocks(file: BinaryIO, max_bytes: int, name: str) -> Iterator[bytes]:
    size, beginning = 0, b""
    while block := _read_block(file, name):
        if size < COPY_BLOCK:
            beginning += block
            if len(beginning) >= COPY_BLOCK:
                check_beginning(beginning, name)
        size += len(block)
        _check_size(size, max_bytes, name)
        yield block


def _read_block(file: BinaryIO, name: str) -> bytes:
    try:
        block = file.read(COPY_BLOCK)
    except (OSError, ValueError) as error:
        raise AudioError(f"{name} cannot be read: {cause(error)}. Open it again.") from error
    if not isinstance(block, bytes | bytearray):
        raise AudioError(f"{name} gives {type(block).__name__}, not bytes. Open it in binary mode ('rb').")
    return bytes(block)


class UnnamedFile(io.RawIOBase):
    """A binary file without its name, as soundfile would guess a format from the ending .raw."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def readinto(self, buffer: Any) -> int:
        """Read into the buffer; return the number of bytes."""
        block = self._file.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move as `io.IOBase.seek` does, but to the beginning where damaged data lead before it."""
        try:
            self._file.seek(offset, whence)
        except (OSError, ValueError):
            self._file.seek(0)
        return self._file.tell()

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._file.tell()

    def seekable(self) -> bool:
        """Return True: only files that can seek are wrapped."""
        return True

    def readable(self) -> bool:
        """Return True."""
        return True
