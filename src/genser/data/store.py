"""Stores the features of every clip once, as plain NumPy files that any program can read.

A store folder has one subfolder per encoder, augmentation and arithmetic. Each subfolder contains:

``settings.json``
    One object: ``format`` (2), ``encoder`` (fingerprint), ``settings`` (sample rate, bfloat16, augmentation), ``shape``
    of a row, such as ``[7, 512]`` for (states, dim), and ``dtype``, always ``"float32"``.
``rows-000001.npy``, ``rows-000002.npy``, …
    Shards: arrays of shape (rows, \\*shape), which ``numpy.load(path, mmap_mode="r")`` maps. A shard never changes.
``index.jsonl``
    One object per row: ``{"key": …, "shard": "rows-000001.npy", "row": 0}``. If a key occurs twice, the last line is
    valid. Ignore rows of a shard that was deleted, and a last line without a line break, whose writer was stopped.
``lock``
    Locked while a program adds rows; its content does not matter.

A key is the SHA-256, in hexadecimal digits, of the JSON list of the encoder's fingerprint, the settings, the SHA-256 of
the audio file, and the start and end of the clip in seconds (null for the whole file), see :func:`feature_key`.

Reading all features of one encoder needs NumPy and json only::

    shards = {path.name: np.load(path, mmap_mode="r") for path in folder.glob("rows-*.npy")}
    lines = (folder / "index.jsonl").read_text().split("\\n")[:-1]
    rows = {row["key"]: shards[row["shard"]][row["row"]] for row in map(json.loads, lines)}

A shard reaches the disk, complete and under its name, before the index mentions it. So a kill at any moment loses at
most the rows that were not written yet.
"""

import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from genser.errors import StoreError, cause, counted
from genser.files import atomic_file, atomic_write, file_hash, open_locked

FORMAT = 2
FLUSH_BYTES = 32 << 20
"""Rows of this size are written at once as one shard."""

FLUSH_SECONDS = 60.0
"""Longest time that a row waits in memory, hence the work that a kill can cost."""

_SHARD = re.compile(r"rows-(\d+)\.npy")


def feature_key(
    encoder_fingerprint: str,
    settings: Mapping[str, Any],
    audio_hash: str,
    start: float | None = None,
    end: float | None = None,
) -> str:
    """Key of a row: SHA-256 over the encoder, the settings, the bytes of the audio file and the times of the clip.

    Args:
        encoder_fingerprint: Fingerprint of the encoder's weights and settings.
        settings: Everything else that changes the features, as JSON values.
        audio_hash: SHA-256 of the audio file in hexadecimal digits.
        start: Start of the clip in seconds; None for the start of the file.
        end: End of the clip in seconds; None for the end of the file.
    """
    times = [float(time) if time else None for time in (start, end)]
    parts = [encoder_fingerprint, dict(settings), audio_hash, *times]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class FeatureStore:
    """Rows of features by key, for one encoder and its settings.

    Any number of programs can read a store, also while one program adds rows. Rows are added inside :meth:`writing`.

    Args:
        path: Store folder; created if missing.
        encoder_fingerprint: Fingerprint of the encoder's weights and settings.
        shape: Shape of one row, such as (states, dim).
        settings: Everything else that changes the features, as JSON values.

    Attributes:
        folder: Subfolder with the files of this encoder and these settings.

    Raises:
        StoreError: The folder is damaged, was changed, cannot be read, or has the format of an older genser.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        encoder_fingerprint: str,
        shape: Sequence[int],
        *,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = Path(path)
        self.encoder_fingerprint = encoder_fingerprint
        self.shape = tuple(int(size) for size in shape)
        self.settings = dict(settings or {})
        about = {"format": FORMAT, "encoder": encoder_fingerprint, "settings": self.settings}
        about |= {"shape": list(self.shape), "dtype": "float32"}
        self._about = json.dumps(about, sort_keys=True, indent=1).encode()
        self.folder = self.path / hashlib.sha256(self._about).hexdigest()[:24]
        self._positions: dict[str, int] = {}  # key → (number of the shard << 32) + row
        self._shards: dict[int, np.ndarray | None] = {}  # by number; None for a shard that was deleted
        self._read = 0  # bytes of the index that were read
        self._pending: dict[str, np.ndarray] = {}
        self._waiting_since = 0.0
        self._lock: BinaryIO | None = None
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"The feature store {self.path} cannot be opened: {cause(error)}. Check the path and the disk."
            ) from error
        if any(self.path.glob("*/store.json")):
            raise StoreError(
                f"{self.path} holds features in the format of an older genser, which this version does not read. "
                "Delete that folder, or name another one; its clips are then encoded again."
            )
        self.refresh()

    def __len__(self) -> int:
        return len(self._positions) + len(self._pending)

    def __contains__(self, key: object) -> bool:
        return key in self._positions or key in self._pending

    def key(self, audio_hash: str, start: float | None = None, end: float | None = None) -> str:
        """Key of an audio file, or of its part between two times in seconds, see :func:`feature_key`."""
        return feature_key(self.encoder_fingerprint, self.settings, audio_hash, start, end)

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Keys without a row, each once, in the given order."""
        return [key for key in dict.fromkeys(keys) if key not in self]

    def rows(self, keys: Iterable[str]) -> np.ndarray:
        """Rows by key.

        Returns:
            float32 array of shape (keys, \\*shape), in the order of the keys.

        Raises:
            StoreError: A key has no row.
        """
        keys = list(keys)
        lost = self.missing(keys)
        if lost:
            raise StoreError(f"{len(lost)} of {len(keys)} rows are not in {self.folder}, such as {lost[0]}.")
        rows = np.empty((len(keys), *self.shape), np.float32)
        for row, key in zip(rows, keys, strict=True):
            position = self._positions.get(key)
            if position is None:
                row[...] = self._pending[key]
            else:
                shard = self._shards[position >> 32]
                assert shard is not None  # rows of a deleted shard have no position
                row[...] = shard[position & 0xFFFFFFFF]
        return rows

    def refresh(self) -> None:
        """Read what other programs have added since.

        Raises:
            StoreError: A file is damaged, was changed, or cannot be read.
        """
        settings, index = self.folder / "settings.json", self.folder / "index.jsonl"
        try:
            if settings.exists() and settings.read_bytes() != self._about:
                raise StoreError(f"{settings} was changed. Delete {self.folder}; its clips are then encoded again.")
            if not index.exists():
                return
            with index.open("rb") as file:
                file.seek(self._read)
                content = file.read()
        except OSError as error:
            raise StoreError(
                f"The feature store {self.folder} cannot be read: {cause(error)}. Check the path and the disk."
            ) from error
        content = content[: content.rfind(b"\n") + 1]
        try:
            entries = json.loads(b"[" + b",".join(content.split(b"\n")[:-1]) + b"]")
            numbers = {name: self._map(name) for name in {entry["shard"] for entry in entries}}
            for entry in entries:
                number, row = numbers[entry["shard"]], entry["row"]
                shard = self._shards[number]
                if shard is not None and not 0 <= row < len(shard):
                    raise IndexError(f"{entry['shard']} has {len(shard)} rows, so it has no row {row}")
                if shard is not None:
                    self._positions[entry["key"]] = (number << 32) + row
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise StoreError(
                f"{index} is damaged ({error}). Delete {self.folder}; its clips are then encoded again."
            ) from error
        self._read += len(content)

    def _map(self, name: str) -> int:
        """Map the shard of this name into memory, and return its number."""
        match, path = _SHARD.fullmatch(name), self.folder / name
        if match is None:
            raise ValueError(f"{name!r} is not the name of a shard")
        number = int(match[1])
        if number in self._shards:
            return number
        try:
            # a plain array: indexing a memmap object takes several times as long
            shard = np.asarray(np.lib.format.open_memmap(path, mode="r"))
            if shard.shape[1:] != self.shape or shard.dtype != np.float32:
                raise ValueError(f"it holds {shard.dtype} rows of shape {shard.shape[1:]}, not {self.shape}")
        except FileNotFoundError:
            shard = None
        except Exception as error:  # damaged bytes make NumPy raise many kinds of errors
            cure = "Delete this file; its clips are then encoded again."
            raise StoreError(f"{path} is damaged: {error}. {cure}") from error
        self._shards[number] = shard
        return number

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Become the only writer until the end of the block, then bring all rows to the disk.

        Raises:
            StoreError: Another program is adding rows, or the folder cannot be written.
        """
        try:
            self.folder.mkdir(exist_ok=True)
            self._lock = open_locked(self.folder / "lock")
        except BlockingIOError as error:
            raise StoreError(
                f"Another program is adding features to {self.folder}. Wait until it has finished, or name another "
                "folder."
            ) from error
        except OSError as error:
            raise StoreError(
                f"The feature store {self.folder} cannot be written: {cause(error)}. Check the path and the disk."
            ) from error
        try:
            self._clean()
            try:
                yield
            finally:
                self.flush()
        finally:
            self._lock.close()
            self._lock = None

    def _clean(self) -> None:
        """Remove what an interrupted writer left: unfinished files, a torn line, shards that the index lacks."""
        self.refresh()
        try:
            if not (self.folder / "settings.json").exists():
                atomic_write(self.folder / "settings.json", self._about)
            for path in self.folder.glob(".genser-*.part"):
                path.unlink()
            for path in self.folder.glob("rows-*.npy"):
                if int(path.stem.removeprefix("rows-")) not in self._shards:
                    path.unlink()
            with (self.folder / "index.jsonl").open("ab") as index:
                index.truncate(self._read)
        except OSError as error:
            raise StoreError(
                f"The feature store {self.folder} cannot be written: {cause(error)}. Check the path and the disk."
            ) from error

    def add_many(self, keys: Sequence[str], rows: np.ndarray) -> None:
        """Add rows, inside :meth:`writing`; keys that have a row keep it.

        Rows are written after 32 MiB, after a minute, by :meth:`flush`, and at the end of :meth:`writing`.

        Args:
            keys: One per row, from :meth:`key`.
            rows: Array of shape (rows, \\*shape).

        Raises:
            StoreError: The shape differs, the store is not open for writing, or the disk is full.
        """
        if self._lock is None:
            raise StoreError("Rows can be added inside 'with store.writing():' only.")
        if np.shape(rows) != (len(keys), *self.shape):
            raise StoreError(f"{len(keys)} keys with rows of shape {np.shape(rows)[1:]}: the store holds {self.shape}.")
        self._waiting_since = self._waiting_since if self._pending else time.monotonic()
        added = zip(keys, np.array(rows, np.float32), strict=True)
        self._pending.update({key: row for key, row in added if key not in self})
        size = len(self._pending) * int(np.prod(self.shape)) * 4
        if size >= FLUSH_BYTES or time.monotonic() - self._waiting_since >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Bring all added rows to the disk as one shard.

        Raises:
            StoreError: The disk refuses them; they stay in memory, and the rows on the disk stay as they were.
        """
        if not self._pending:
            return
        name = f"rows-{max(self._shards, default=0) + 1:06d}.npy"  # never the number of a deleted shard
        entries = [{"key": key, "shard": name, "row": row} for row, key in enumerate(self._pending)]
        try:
            with atomic_file(self.folder / name) as file:
                np.save(file, np.stack(list(self._pending.values())))
            with (self.folder / "index.jsonl").open("ab") as index:
                index.truncate(self._read)  # what a failed attempt may have left
                index.write("".join(json.dumps(entry) + "\n" for entry in entries).encode())
                index.flush()
                os.fsync(index.fileno())
        except OSError as error:
            raise StoreError(
                f"{counted(len(entries), 'row')} cannot be written to {self.folder}: {cause(error)}. Check the disk."
            ) from error
        self._pending.clear()
        self.refresh()


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
