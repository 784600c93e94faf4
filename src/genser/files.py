"""Writes files so that a kill never leaves one half written, hashes files, and counts the usable cores."""

import errno
import hashlib
import math
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""File in which Linux limits the processor time of a container."""

LINKS = 40  # that are followed to a file
WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
FAR = 1 << 40  # byte of a file that is locked on Windows


def is_file(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a file; False for a name that no file can have, for which `Path.is_file` raises an error."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a folder; False for a name that no folder can have."""
    return os.path.isdir(path)  # noqa: PTH112


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path in which ``~`` stands for the home folder; it stays as it is where there is no such user."""
    return Path(os.path.expanduser(path))  # noqa: PTH111


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a binary file for writing that appears under its name only once it is complete.

    The bytes go to a temporary file in the same folder, reach the disk, and take the name in one step. If the body
    raises, an existing file stays as it was. A symbolic link is kept, and its target is replaced. An existing file
    keeps its permissions. A device or a FIFO cannot be replaced, so it is written directly, and so is a file that is
    named by its descriptor, such as ``/dev/stdout``.

    The name of the temporary file follows from the name of the file. So what a kill leaves behind is used by the next
    attempt, and does not add up.

    Args:
        path: File to create or replace; its folder must exist.

    Raises:
        OSError: The folder does not exist, the path is a folder, or the disk is full.
    """
    target = Path(os.path.realpath(path))
    mode = os.stat(path).st_mode if os.path.exists(path) else None  # noqa: PTH110, PTH116 - a pipe has no real path
    if mode is not None and stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{path} is a folder, so no file can be written there.")
    if mode is not None and (not stat.S_ISREG(mode) or _is_descriptor(path)):
        with open(path, "ab") as file:  # noqa: PTH123
            yield file
        return
    if mode is not None and not mode & WRITABLE:
        raise PermissionError(errno.EACCES, "it is read-only", os.fspath(path))
    with _named(path):
        file, temporary = _temporary(target)
    with file:
        try:
            if mode is not None:
                temporary.chmod(stat.S_IMODE(mode))
            with _named(path):
                yield file
                file.flush()
                os.fsync(file.fileno())
                if os.name == "nt":
                    file.close()  # Windows renames closed files only
                temporary.replace(target)
        except BaseException:
            with suppress(OSError):  # the full disk that stopped the writing may also refuse the rest of the buffer
                file.close()
            temporary.unlink(missing_ok=True)
            raise
    _sync_folder(target.parent)


def _is_descriptor(path: str | os.PathLike[str]) -> bool:
    """Whether a path names an open file by its number, such as ``/dev/stdout`` or ``/proc/self/fd/3``."""
    name = os.path.abspath(path)  # noqa: PTH100
    for _ in range(LINKS):
        folder = os.path.realpath(os.path.dirname(name))  # noqa: PTH120
        if folder == "/dev/fd" or (folder.startswith("/proc/") and os.path.basename(folder) == "fd"):  # noqa: PTH119
            return True
        if not os.path.islink(name):  # noqa: PTH114
            return False
        name = os.path.join(folder, os.readlink(name))  # noqa: PTH115, PTH118
    return False


@contextmanager
def _named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Let errors of the system name the file that was to be written, not none or the temporary file."""
    try:
        yield
    except OSError as error:
        if error.filename is None or Path(os.fsdecode(error.filename)).name.startswith(".genser-"):
            error.filename, error.filename2 = os.fspath(path), None
        raise


def _temporary(target: Path) -> tuple[BinaryIO, Path]:
    """Open an empty temporary file beside a target, which no other program writes.

    Its name follows from the target's, unless that name is in use: by another program that writes the same target, or
    by something that is not a plain file of this user.
    """
    name = f".genser-{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}"
    path = target.with_name(f"{name}.part")
    with suppress(OSError):
        file = open_locked(path)
        about = os.fstat(file.fileno())
        if about.st_nlink == 1 and (not hasattr(os, "geteuid") or about.st_uid == os.geteuid()):
            try:
                file.truncate(0)
                return file, path
            except OSError:
                path.unlink()
        file.close()
    path = target.with_name(f"{name}-{secrets.token_hex(4)}.part")
    return path.open("xb"), path


def open_locked(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a plain file for reading and writing that other programs cannot open in this way until it is closed.

    It is created if missing. The system unlocks it after a kill. On a file system without locks it is only opened.

    Raises:
        BlockingIOError: Another program has locked it.
        OSError: It is no plain file, or cannot be opened.
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    flags |= getattr(os, "O_BINARY", 0) | getattr(os, "O_NOINHERIT", 0)
    while True:
        file = open(path, "r+b", opener=lambda name, _: os.open(name, flags, 0o666))  # noqa: SIM115
        try:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise OSError(f"{path} is not a regular file.")
            _lock(file)
            if os.path.samestat(about, os.lstat(path)):
                return file
        except FileNotFoundError:
            pass  # removed or renamed by the program that had the lock: open the file that now has the name
        except BaseException:
            file.close()
            raise
        file.close()


def _lock(file: BinaryIO) -> None:
    if os.name == "nt":
        import msvcrt

        file.seek(FAR)  # a locked byte cannot be read, so the lock lies behind all content
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            file.seek(0)
        except OSError as error:
            raise BlockingIOError(*error.args) from error
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
            raise


def atomic_write(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file in one step, see :func:`atomic_file`."""
    with atomic_file(path) as file:
        file.write(content)


def _sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system can open folders."""
    if os.name == "nt":
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return  # a folder that may be written to but not listed
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot do this
            raise
    finally:
        os.close(handle)


def file_hash(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file as 64 hexadecimal digits.

    Raises:
        OSError: The file cannot be read.
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def usable_cores(quota: Path = CPU_QUOTA) -> int:
    """Cores that this process may use: those it may run on, within a container's quota; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        allowed, period = quota.read_text(encoding="ascii").split()
        return max(min(cores, math.ceil(int(allowed) / int(period))), 1)
    except (OSError, ValueError):
        return cores
