"""Content hashes of sound files, remembered by path, size and time of change."""

import hashlib
import json
import os
import threading
from pathlib import Path

_DIGITS = 64  # of a SHA-256 in hexadecimal


class FileHasher:
    """SHA-256 of files, each read once as long as its size and time of change stay the same.

    Args:
        memory: File that keeps the hashes between runs, one JSON line each; None keeps them in this object only. A line
            that a kill has torn is read past, and its file hashed again.
    """

    def __init__(self, memory: Path | None = None) -> None:
        self.memory = memory
        self._known: dict[str, tuple[int, int, str]] = {}
        self._new: list[str] = []
        self._lock = threading.Lock()
        if memory is not None and memory.is_file():
            self._known.update(_remembered(memory.read_bytes()))

    def __call__(self, path: str | os.PathLike[str]) -> str:
        """Hash of a file as 64 hexadecimal digits.

        Raises:
            OSError: The file cannot be read.
        """
        file_path = Path(path).absolute()
        name, status = str(file_path), file_path.stat()
        size, changed, digest = self._known.get(name, (-1, -1, ""))
        if (size, changed) == (status.st_size, status.st_mtime_ns):
            return digest
        with file_path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        with self._lock:
            self._known[name] = (status.st_size, status.st_mtime_ns, digest)
            self._new.append(json.dumps([name, status.st_size, status.st_mtime_ns, digest]))
        return digest

    def save(self) -> None:
        """Add the new hashes to the memory file.

        Raises:
            OSError: The file cannot be written.
        """
        with self._lock:
            if self.memory is None or not self._new:
                return
            lines = "".join(f"\n{line}" for line in self._new)  # the break comes first, to part from a torn line
            with self.memory.open("ab", buffering=0) as file:
                file.write(lines.encode())
            self._new.clear()


def _remembered(content: bytes) -> dict[str, tuple[int, int, str]]:
    known = {}
    for line in content.split(b"\n"):
        try:
            name, size, changed, digest = json.loads(line)
        except (ValueError, TypeError):
            continue  # blank, or torn by a kill: hashed again
        if isinstance(name, str) and isinstance(digest, str) and len(digest) == _DIGITS:
            known[name] = (size, changed, digest)
    return known
