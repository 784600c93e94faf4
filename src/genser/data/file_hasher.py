"""Hashes of audio files, remembered between runs."""

import json
import os
import threading
from collections.abc import Iterable
from pathlib import Path

from genser.files import file_hash

HASHES = "hashes.jsonl"
"""File of a feature store that keeps the hashes of its audio files."""


class FileHasher:
    """SHA-256 of files; each file is read once as long as its size and its modification time stay the same.

    Args:
        memory: JSON-lines file that keeps the hashes between runs. A line that cannot be read is ignored, and its file
            is hashed again.
        paths: Files whose hashes are read from it; it may know millions of others, which take no memory.
    """

    def __init__(self, memory: Path, paths: Iterable[str | os.PathLike[str]]) -> None:
        self.memory = memory
        self._known: dict[str, tuple[int, int, str]] = {}
        self._new: list[bytes] = []
        self._lock = threading.Lock()
        if memory.is_file():
            self._read({_start(_line(str(Path(path).absolute()), 0, 0, "")) for path in paths})

    def _read(self, wanted: set[bytes]) -> None:
        with self.memory.open("rb") as file:
            for line in file:
                if _start(line) not in wanted:
                    continue
                try:
                    name, size, modified, digest = json.loads(line)
                    self._known[name] = (size, modified, digest)
                except (ValueError, TypeError):
                    continue  # torn by a kill

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
            self._new.append(_line(name, status.st_size, status.st_mtime_ns, digest))
        return digest

    def save(self) -> None:
        """Add the new hashes to the memory file.

        Raises:
            OSError: The file cannot be written.
        """
        with self._lock:
            if self._new:
                lines = b"".join(b"\n" + line for line in self._new)  # the break comes first: the last line may be torn
                with self.memory.open("ab", buffering=0) as file:
                    file.write(lines)
                self._new.clear()


def _line(name: str, size: int, modified: int, digest: str) -> bytes:
    return json.dumps([name, size, modified, digest]).encode()


def _start(line: bytes) -> bytes:
    """The name in a line or the beginning of one, still in JSON: far quicker than to parse the line."""
    return line.partition(b'", ')[0]
