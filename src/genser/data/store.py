"""Stores the features of every clip once, as plain NumPy files that any program can read.

A store folder has one subfolder per encoder, augmentation and arithmetic. Each subfolder contains:

``settings.json``
    One object: ``format`` (3), ``encoder`` (fingerprint), ``settings`` (sample rate, bfloat16, augmentation), ``shape``
    of a row, such as ``[7, 512]`` for (states, dim), and ``dtype``, always ``"float32"``.
``rows-NAME.npy``
    A shard: rows, an array of shape (rows, \\*shape). A shard never changes.
``keys-NAME.npy``
    Keys of these rows, an array of uint8 of shape (rows, 32). If a key occurs in several shards, any of its rows is
    valid. Ignore a file of keys without rows, and rows without keys, whose writer was stopped.

``NAME`` is the start of the SHA-256 of the bytes of both arrays, the keys first: 24 hexadecimal digits.

A key is the SHA-256 of the JSON list of the encoder's fingerprint, the settings, the SHA-256 of the audio file, and the
start and end of the clip in seconds (null for the whole file), see :func:`feature_key`.

Reading all features of one encoder needs NumPy only::

    for path in folder.glob("keys-*.npy"):
        keys = np.load(path)
        rows = np.load(path.with_name(path.name.replace("keys", "rows")), mmap_mode="r")

Any number of programs, also on several machines that share the folder, can read and add rows at the same time, without
locks: each writes shards of its own. The rows of a shard reach the disk, complete and under their name, before its
keys. So a kill at any moment loses at most the rows that were not written yet.
"""

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from genser.data.row_index import KEY_BYTES, RowIndex
from genser.errors import StoreError, cause, counted
from genser.files import atomic_file, atomic_write

FORMAT = 3
FLUSH_BYTES = 64 << 20
"""Rows of this size are written at once as one shard."""

FLUSH_SECONDS = 60.0
"""Longest time that a row waits in memory, hence the work that a kill can cost."""

ABANDONED = 24 * 3600.0
"""Age in seconds at which an unfinished file is taken for that of a stopped writer."""

MOST_MAPS = 30_000
"""Shards that are mapped into memory at the same time; Linux allows a program 65,530 maps."""

_KEYS = re.compile(r"keys-([0-9a-f]{24})\.npy")
_CURE = "Delete this file; its clips are then encoded again."


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


def shard_name(keys: np.ndarray, rows: np.ndarray) -> str:
    """Name of a shard, which is also its checksum."""
    digest = hashlib.sha256(np.ascontiguousarray(keys).data)
    digest.update(np.ascontiguousarray(rows).data)
    return digest.hexdigest()[:24]


class FeatureStore:
    """Rows of features by key, for one encoder and its settings.

    Any number of programs can read a store and add rows at the same time. Rows are added inside :meth:`writing`.

    Args:
        path: Store folder; created if missing. Rows in the previous format are moved to the present one.
        encoder_fingerprint: Fingerprint of the encoder's weights and settings.
        shape: Shape of one row, such as (states, dim).
        settings: Everything else that changes the features, as JSON values.

    Attributes:
        folder: Subfolder with the files of this encoder and these settings.
        names: Names of the shards on the disk that are known.

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
        self.folder = self._folder(FORMAT)
        self._index = RowIndex()  # positions are (number of the shard << 32) + row
        self.names: list[str] = []
        self._maps: dict[int, np.ndarray] = {}  # rows by number of the shard
        self._pending: dict[str, np.ndarray] = {}
        self._waiting_since = 0.0
        self._is_writing = False
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
        if (self._folder(2) / "index.jsonl").exists():
            self._move(self._folder(2))

    @property
    def about(self) -> dict[str, Any]:
        """Content of ``settings.json``."""
        about = {"format": FORMAT, "encoder": self.encoder_fingerprint, "settings": self.settings}
        return about | {"shape": list(self.shape), "dtype": "float32"}

    def _folder(self, number: int) -> Path:
        """Subfolder in a format."""
        return self.path / hashlib.sha256(_json(self.about | {"format": number})).hexdigest()[:24]

    def __len__(self) -> int:
        return len(self._index) + len(self._pending)

    def __contains__(self, key: str) -> bool:
        return not self.missing([key])

    def key(self, audio_hash: str, start: float | None = None, end: float | None = None) -> str:
        """Key of an audio file, or of its part between two times in seconds, see :func:`feature_key`."""
        return feature_key(self.encoder_fingerprint, self.settings, audio_hash, start, end)

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Keys without a row, each once, in the given order."""
        keys = [key for key in dict.fromkeys(keys) if key not in self._pending]
        return [key for key, position in zip(keys, self._positions(keys), strict=True) if position < 0]

    def rows(self, keys: Iterable[str]) -> np.ndarray:
        """Rows by key.

        Returns:
            float32 array of shape (keys, \\*shape), in the order of the keys.

        Raises:
            StoreError: A key has no row, or a shard is damaged.
        """
        keys = list(keys)
        lost = self.missing(keys)
        if lost:
            raise StoreError(
                f"{len(lost)} of {len(keys)} rows are not in {self.folder}, such as {lost[0]}. Encode them first."
            )
        rows, positions = np.empty((len(keys), *self.shape), np.float32), self._positions(keys)
        for place in np.argsort(positions).tolist():  # in the order of the disk
            position = int(positions[place])
            if position < 0:
                rows[place] = self._pending[keys[place]]
            else:
                rows[place] = self._mapped(position >> 32)[position & 0xFFFFFFFF]
        return rows

    def shard(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Keys and rows of one of the shards, by its place in :attr:`names`.

        Raises:
            StoreError: It is damaged.
        """
        return self._keys_of(self.names[number]), self._mapped(number)

    def _positions(self, keys: Iterable[str]) -> np.ndarray:
        return self._index.find(raw_keys(keys))

    def _mapped(self, number: int) -> np.ndarray:
        """Rows of a shard, mapped into memory."""
        if number in self._maps:
            return self._maps[number]
        path = self.folder / f"rows-{self.names[number]}.npy"
        # a plain array: indexing a memmap object takes several times as long
        rows = _loaded(path, lambda: np.asarray(np.lib.format.open_memmap(path, mode="r")), np.float32, self.shape)
        if len(self._maps) >= MOST_MAPS:
            self._maps.clear()
        return self._maps.setdefault(number, rows)

    def _keys_of(self, name: str) -> np.ndarray:
        path = self.folder / f"keys-{name}.npy"
        return _loaded(path, lambda: np.load(path), np.uint8, (KEY_BYTES,))

    def refresh(self) -> None:
        """Find what other programs have added since.

        Raises:
            StoreError: A file is damaged, was changed, or cannot be read.
        """
        settings, known = self.folder / "settings.json", set(self.names)
        try:
            if settings.exists() and settings.read_bytes() != _json(self.about):
                raise StoreError(f"{settings} was changed. Delete {self.folder}; its clips are then encoded again.")
            files = {path.name for path in self.folder.iterdir()} if self.folder.exists() else set()
        except OSError as error:
            raise StoreError(
                f"The feature store {self.folder} cannot be read: {cause(error)}. Check the path and the disk."
            ) from error
        names = [match[1] for match in map(_KEYS.fullmatch, sorted(files)) if match and match[1] not in known]
        names = [name for name in names if f"rows-{name}.npy" in files]
        if names:
            keys = [self._keys_of(name) for name in names]
            positions = [(number << 32) + np.arange(len(part)) for number, part in enumerate(keys, len(known))]
            self._index.add(np.concatenate(keys), np.concatenate(positions))
            self.names += names

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Allow rows to be added until the end of the block, then bring all of them to the disk.

        Raises:
            StoreError: The folder cannot be written.
        """
        try:
            self.folder.mkdir(exist_ok=True)
            if not (self.folder / "settings.json").exists():
                atomic_write(self.folder / "settings.json", _json(self.about))
            for path in leftovers(self.folder):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(
                f"The feature store {self.folder} cannot be written: {cause(error)}. Check the path and the disk."
            ) from error
        self.refresh()
        self._is_writing = True
        try:
            yield
        finally:
            try:
                self.flush()
            finally:
                self._is_writing = False

    def add_many(self, keys: Sequence[str], rows: np.ndarray) -> None:
        """Add rows, inside :meth:`writing`; keys that have a row keep it.

        Rows are written after 64 MiB, after a minute, by :meth:`flush`, and at the end of :meth:`writing`.

        Args:
            keys: One per row, from :meth:`key`.
            rows: Array of shape (rows, \\*shape).

        Raises:
            StoreError: The shape differs, the store is not open for writing, or the disk is full.
        """
        if not self._is_writing:
            raise StoreError("Rows can be added inside 'with store.writing():' only.")
        if np.shape(rows) != (len(keys), *self.shape):
            raise StoreError(f"{len(keys)} keys with rows of shape {np.shape(rows)[1:]}: the store holds {self.shape}.")
        self._waiting_since = self._waiting_since if self._pending else time.monotonic()
        new = set(self.missing(keys))
        added = zip(keys, np.array(rows, np.float32), strict=True)
        self._pending.update({key: row for key, row in added if key in new})
        size = len(self._pending) * int(np.prod(self.shape)) * 4
        if size >= FLUSH_BYTES or time.monotonic() - self._waiting_since >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Bring all added rows to the disk as one shard, except those that another program has added since.

        Raises:
            StoreError: The disk refuses them; they stay in memory, and the rows on the disk stay as they were.
        """
        if not self._pending:
            return
        self.refresh()
        found = zip(self._pending, self._positions(self._pending), strict=True)
        new = [key for key, position in found if position < 0]
        if new:
            arrays = {"rows": np.stack([self._pending[key] for key in new]), "keys": raw_keys(new)}
            name = shard_name(arrays["keys"], arrays["rows"])
            try:
                for kind, array in arrays.items():
                    with atomic_file(self.folder / f"{kind}-{name}.npy") as file:
                        np.save(file, array)
            except OSError as error:
                raise StoreError(
                    f"{counted(len(new), 'row')} cannot be written to {self.folder}: {cause(error)}. Check the disk."
                ) from error
        self._pending.clear()
        self.refresh()

    def _move(self, old: Path) -> None:
        """Move rows of the previous format, whose shards share one index of JSON lines, to the present format."""
        index = old / "index.jsonl"
        try:
            lines = index.read_text("utf-8").split("\n")[:-1]
            places = {entry["key"]: (entry["shard"], entry["row"]) for entry in map(json.loads, lines)}
            shards = {path.name: np.load(path, mmap_mode="r") for path in old.glob("rows-*.npy")}
            kept: dict[str, dict[str, int]] = {name: {} for name in shards}
            for key, (name, row) in places.items():
                kept.get(name, {})[key] = row
            with self.writing():
                for name, rows in kept.items():
                    self.add_many(list(rows), shards[name][list(rows.values())])
        except FileNotFoundError:  # another program has moved them
            self.refresh()
        except (ValueError, TypeError, LookupError, EOFError, OverflowError) as error:
            cure = f"Delete {old}; its clips are then encoded again."
            raise StoreError(f"{index} or a shard beside it is damaged ({error}). {cure}") from error
        shutil.rmtree(old, ignore_errors=True)


def raw_keys(keys: Iterable[str]) -> np.ndarray:
    """Keys as uint8 of shape (keys, 32)."""
    return np.frombuffer(bytes.fromhex("".join(keys)), np.uint8).reshape(-1, KEY_BYTES)


def leftovers(folder: Path) -> list[Path]:
    """Files that a stopped writer left a day ago or earlier: unfinished ones, and rows or keys without the other."""
    files, now = {path.name: path for path in folder.iterdir()}, time.time()
    halves = {"rows-": "keys-", "keys-": "rows-"}
    lone = [
        path
        for name, path in files.items()
        if (name[:5] in halves and halves[name[:5]] + name[5:] not in files)
        or (name.startswith(".genser-") and name.endswith(".part"))
    ]
    return [path for path in lone if now - _changed(path, now) > ABANDONED]


def _changed(path: Path, now: float) -> float:
    """Time at which a file was changed; now if another program has renamed or removed it meanwhile."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return now


def _loaded(path: Path, load: Callable[[], np.ndarray], dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    """Load a file of rows of this type and shape."""
    try:
        array = load()
    except Exception as error:  # damaged bytes make NumPy raise many kinds of errors
        raise StoreError(f"{path} is damaged: {error}. {_CURE}") from error
    if array.dtype != dtype or array.shape[1:] != shape or not array.ndim:
        raise StoreError(f"{path} is damaged: it holds {array.dtype} rows of shape {array.shape[1:]}. {_CURE}")
    return array


def _json(about: Mapping[str, Any]) -> bytes:
    return json.dumps(about, sort_keys=True, indent=1).encode()
