"""Files that appear whole or not at all."""

import os
from pathlib import Path


def atomic_write(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file so that no reader and no kill ever sees half of it.

    The bytes go to a temporary file in the same folder, reach the disk, and then take the name in one step.

    Args:
        path: File to create or replace; its folder must exist.
        content: All of its bytes.

    Raises:
        OSError: The folder does not exist or the disk refuses the bytes.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system can open folders."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
