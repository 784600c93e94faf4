"""Files on other storage, such as ``s3://bucket/talk.wav``, by their URLs, through fsspec."""

import io
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any, BinaryIO, TypeGuard, cast
from urllib.parse import unquote, urlsplit

from genser.errors import GenserError, MissingExtraError, StorageError, cause

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
BLOCK = 1 << 20  # bytes
OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "az", "abfs", "adl", "oss", "oci", "memory"}
"""Storage in which a file appears once it is complete."""
MEMORY_SPOOL = 64 << 20  # bytes; a larger output waits in a temporary file


def is_url(name: object) -> TypeGuard[str]:
    """Whether a name is the URL of a file on other storage; ``C://`` is none."""
    return isinstance(name, str) and URL.match(name) is not None


def local_name(name: str) -> str:
    """A name as it is; of a ``file:`` URL its path, which needs no package."""
    return path_of(name) if is_url(name) and name.lower().startswith("file:") else name


def ending_of(name: str) -> str:
    """Ending of a file's name or URL; the query of a web address, such as a signature, is no part of it."""
    return PurePosixPath(urlsplit(name).path if _is_web(name) else name).suffix


def _is_web(name: str) -> bool:
    return name.lower().startswith(("http://", "https://"))


def path_of(url: str) -> str:
    """The path that a ``file:`` URL names."""
    return unquote(urlsplit(url).path).lstrip("/" if os.name == "nt" else "")


def open_stored(url: str) -> BinaryIO:
    """Open a file for reading.

    Raises:
        StorageError: It cannot be read.
        MissingExtraError: fsspec is not installed.
    """
    with storage_errors(url, "read"):
        if (name := local_name(url)) != url:
            return open(name, "rb")  # noqa: PTH123
        system, path = _system(url)
        return system.open(path, "rb")


def walk_stored(url: str, endings: Collection[str]) -> Iterator[str]:
    """URLs of the files of some endings that match a pattern or lie below a folder; else the URL itself.

    A name with ``?`` or ``[`` that exists is that file, and a web address with a query is no pattern.

    Folders are read one after the other, so memory holds one at a time. The order and what is skipped are those of
    :func:`genser.audio.folders.walk`: hidden files and folders, whose names begin with a dot, and ``__MACOSX``.

    Raises:
        StorageError: The storage cannot be read.
        MissingExtraError: fsspec is not installed.
    """
    if _is_web(url) and urlsplit(url).query:
        yield url
        return
    with storage_errors(url, "read"):
        system, path = _system(url)
        fixed = re.split(r"[*?\[]", path)[0]
        if fixed != path and not _is_web(url) and system.exists(path):
            fixed = path
        if fixed != path:
            files = (name for name, about in system.glob(path, detail=True).items() if about["type"] == "file")
            found = (name for name in sorted(files) if _is_shown(name.removeprefix(fixed)))
        elif system.isdir(path):
            found = _below(system, path)
        else:
            yield url
            return
        for name in found:
            if PurePosixPath(name).suffix.lower() in endings:
                yield system.unstrip_protocol(name)


def _is_shown(path: str) -> bool:
    return not any(part.startswith(".") or part == "__MACOSX" for part in path.split("/"))


def _below(system: Any, path: str) -> Iterator[str]:
    for folder, folders, files in system.walk(path, detail=True):
        shown = {name: folders[name] for name in sorted(folders) if _is_shown(name)}
        folders.clear()  # those that walk enters, in this order
        folders.update(shown)
        yield from (f"{folder}/{name}" for name in sorted(files) if _is_shown(name))
        system.invalidate_cache(folder)


def stored_names(url: str) -> set[str]:
    """Names of the files in a folder; none if there is no such folder.

    Raises:
        StorageError: The storage cannot be read.
        MissingExtraError: fsspec is not installed.
    """
    with storage_errors(url, "read"):
        system, path = _system(url)
        system.invalidate_cache()
        try:
            return {PurePosixPath(name).name for name in system.ls(path, detail=False)} - {""}
        except FileNotFoundError:
            return set()


def put_stored(url: str, content: bytes) -> None:
    """Write a file in one step: an object store shows an object once it is complete, elsewhere the file is renamed.

    Raises:
        StorageError: It cannot be written.
        MissingExtraError: fsspec is not installed.
    """
    with storage_errors(url, "written"):
        _put(url, io.BytesIO(content))


def _put(url: str, content: IO[bytes]) -> None:
    system, path = _system(url)
    protocols = {system.protocol} if isinstance(system.protocol, str) else set(system.protocol)
    is_object = bool(protocols & OBJECT_STORES)
    unfinished = path if is_object else f"{system._parent(path)}/.{PurePosixPath(path).name}-{secrets.token_hex(4)}"
    if not is_object:
        system.makedirs(system._parent(path), exist_ok=True)
    try:
        with system.open(unfinished, "wb") as target:
            shutil.copyfileobj(content, target, BLOCK)
        if not is_object:
            system.mv(unfinished, path)
    except BaseException:
        if not is_object:
            with suppress(Exception):  # the storage that failed may also refuse this
                system.rm_file(unfinished)
        raise


@dataclass(frozen=True)
class StoredFile:
    """A file to write.

    Attributes:
        url: Such as ``s3://bucket/out.csv``.
    """

    url: str

    def __str__(self) -> str:
        return self.url

    @property
    def suffix(self) -> str:
        """The ending of the name."""
        return ending_of(self.url)

    def check(self) -> None:
        """Refuse storage that is unknown or not installed.

        Raises:
            StorageError: It cannot be used.
            MissingExtraError: fsspec is not installed.
        """
        with storage_errors(self.url, "written"):
            _system(self.url)

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open for writing; the file appears once it is complete, and not if the body raises.

        Raises:
            StorageError: It cannot be written.
        """
        with tempfile.SpooledTemporaryFile(max_size=MEMORY_SPOOL) as spool:
            yield cast(BinaryIO, spool)
            spool.seek(0)
            with storage_errors(self.url, "written"):
                _put(self.url, cast(BinaryIO, spool))


def _system(url: str) -> tuple[Any, str]:
    import fsspec.core

    return fsspec.core.url_to_fs(url)


@contextmanager
def storage_errors(name: str, what: str) -> Iterator[None]:
    """Turn the errors of fsspec and of the storage into one, with a cure; those of genser and of local files stay.

    A file is read in parts, so an error may come long after it was opened.

    Args:
        name: URL, or name of a local file.
        what: ``"read"`` or ``"written"``.

    Raises:
        StorageError: The storage failed.
        MissingExtraError: fsspec is not installed.
    """
    if not is_url(name):
        yield
        return
    try:
        yield
    except GenserError:
        raise
    except ImportError as error:  # fsspec names the package that a protocol needs
        if (error.name or "").partition(".")[0] == "fsspec":
            raise MissingExtraError("s3", f"Using {name}") from error
        raise StorageError(f"{name} cannot be {what}: {error}.") from error
    except FileNotFoundError as error:
        raise StorageError(f"{name} does not exist. Check the URL.") from error
    except Exception as error:  # storage has its own errors: credentials, names, networks
        raise StorageError(
            f"{name} cannot be {what}: {cause(error) or type(error).__name__}. Check the URL and your credentials."
        ) from error
