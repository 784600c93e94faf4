"""Hashes of audio files, remembered between runs."""

import json
import os
import threading
from pathlib import Path

from genser.files import file_hash


class FileHasher:
    """SHA-256 of files; each file is read once as long as its size and its modification time stay the same.

    Args:
        memory: JSON-lines file that keeps the hashes between runs. A line that cannot be read is ignored, and its file
            is hashed again.
    """

    def __init__(self, memory: Path) -> None:
        self.memory = memory
        self._known: dict[str, tuple[int, int, str]] = {}
        self._new: list[str] = []
        self._lock = threading.Lock()
        for line in memory.read_bytes().split(b"\n") if memory.is_file() else ():
            try:
                name, size, modified, digest = json.loads(line)
                self._known[name] = (size, modified, digest)
            except (ValueError, TypeError):
                continue  # blank, or torn by a kill

    def __call__(self, path: str | os.PathLike[str]) -> str:
        """Hash of a file as 64 hexadecimal digits.

        Raises:
            OSError: The file cannot be read.
        """
        file_path = Path(path).absolute()
        name, status = str(file_path), file_path.stat()
        size, modified, digest = self._known.get(name, (-1, -1, ""))
        if (size, modified) == (status.st_size, status.st_mtime_ns):
            return digest
        digest = file_hash(file_path)
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
            if self._new:
                lines = "".join(f"\n{line}" for line in self._new)  # the break comes first: the last line may be torn
                with self.memory.open("ab", buffering=0) as file:
                    file.write(lines.encode())
                self._new.clear()
