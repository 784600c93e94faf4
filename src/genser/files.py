"""Writes files so that a kill never leaves one half written, hashes files, and counts the usable cores."""

import hashlib
import math
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""File in which Linux limits the processor time of a container."""


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a binary file for writing that appears under its name only once it is complete.

    The bytes go to a temporary file in the same folder, reach the disk, and take the name in one step. If the body
    raises, an existing file stays as it was. A symbolic link is kept, and its target is replaced. An existing file
    keeps its permissions. A device or a FIFO cannot be replaced, so it is written directly.

    Args:
        path: File to create or replace; its folder must exist.

    Raises:
        OSError: The folder does not exist, the path is a folder, or the disk is full.
    """
    target = Path(os.path.realpath(path))
    mode = target.stat().st_mode if target.exists() else None
    if mode is not None and stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{path} is a folder, so no file can be written there.")
    if mode is not None and not stat.S_ISREG(mode):
        with target.open("wb") as file:
            yield file
        return
    temporary = target.with_name(f".genser-{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            temporary.chmod(stat.S_IMODE(mode))
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(target.parent)


def atomic_write(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file in one step, see :func:`atomic_file`."""
    with atomic_file(path) as file:
        file.write(content)


def _sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system can open folders."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
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
