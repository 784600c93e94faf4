"""The feature store: what an encoder said of every sound, computed once and kept."""

import hashlib
import json
import os
import secrets
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genser.data.mapped import MappedRows
from genser.data.shards import KEY_BYTES, append, encode_block, encode_head, read_head, scan_blocks
from genser.errors import StoreError
from genser.files import atomic_write

FLUSH_BYTES = 32 << 20  # rows waiting in memory before they are written
FLUSH_SECONDS = 60.0  # and the longest they wait, which is all that a kill can cost
SHARD_BYTES = 1 << 30
DTYPES = ("float32", "float16")


def feature_key(
    encoder_fingerprint: str,
    settings: Mapping[str, Any],
    audio_hash: str,
    start: float | None = None,
    end: float | None = None,
) -> str:
    """SHA-256 over all that decides a row: encoder, settings, bytes of the sound file, part of it in seconds."""
    times = [float(time) if time else None for time in (start, end)]
    parts = [encoder_fingerprint, dict(settings), audio_hash, *times]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class FeatureStore:
    """Rows of numbers by key, in shards that survive a kill at any moment.

    A folder holds one store for every encoder, shape, number format and settings, so features are never mistaken for
    another encoder's. Rows become visible to ``missing``, ``rows`` and ``in`` when added, and durable when flushed:
    after 32 MiB, after a minute, or by :meth:`flush`. Several processes may write at once, each to shards of its own.

    Args:
        path: Folder; made where it does not exist.
        encoder_fingerprint: What tells the encoder and its weights apart from all others.
        shape: Shape of one row, such as (states, dim).
        dtype: Number format on disk, ``float32`` or ``float16``.
        settings: Whatever else decides the numbers, as JSON values.

    Raises:
        StoreError: The folder is damaged, was altered, or the shape or number format is impossible.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        encoder_fingerprint: str,
        shape: Sequence[int],
        dtype: str = "float32",
        *,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = Path(path)
        self.encoder_fingerprint = encoder_fingerprint
        self.shape = tuple(int(size) for size in shape)
        self.dtype = _checked_dtype(dtype, self.shape)
        self.settings = dict(settings or {})
        self.folder, self._identity = self._open_folder()
        self._lock = threading.RLock()
        self._index: dict[bytes, int] = {}
        self._rows = MappedRows(self.shape, self.dtype)
        self._ends: dict[Path, int] = {}
        self._damage: dict[Path, str] = {}
        self._pending: dict[bytes, np.ndarray] = {}
        self._pending_since = 0.0
        self._writer: tuple[int, Path] | None = None  # process that may append, and its shard
        self.refresh()

    def _open_folder(self) -> tuple[Path, str]:
        name = {"format": 1, "encoder": self.encoder_fingerprint, "settings": self.settings}
        name |= {"shape": list(self.shape), "dtype": self.dtype.name}
        text = json.dumps(name, sort_keys=True, indent=1)
        identity = hashlib.sha256(text.encode()).hexdigest()
        folder = self.path / identity[:24]
        header = folder / "store.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not header.exists():
                atomic_write(header, text.encode())
            found = header.read_bytes()
        except OSError as error:
            raise StoreError(f"the feature store {self.path} cannot be opened: {error}") from error
        if found != text.encode():
            raise StoreError(
                f"{header} was altered; it no longer names the encoder of the rows beside it. Move {folder} away."
            )
        return folder, identity

    def __reduce__(self):
        self.flush()
        arguments = (self.path, self.encoder_fingerprint, self.shape, self.dtype.name, self.settings)
        return _reopen, arguments

    def __len__(self) -> int:
        return len(self._index) + len(self._pending)

    def __contains__(self, key: object) -> bool:
        raw = _raw(key) if isinstance(key, str) else key
        return raw in self._index or raw in self._pending

    @property
    def damage(self) -> tuple[str, ...]:
        """What was torn by a kill or a failing disk and is left out, one line a shard."""
        return tuple(f"{path}: {what}" for path, what in self._damage.items())

    def key(self, audio_hash: str, start: float | None = None, end: float | None = None) -> str:
        """Key of the row of a sound, or of its part between two times in seconds."""
        return feature_key(self.encoder_fingerprint, self.settings, audio_hash, start, end)

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Keys that have no row yet, each once, in the order given."""
        return [key for key in dict.fromkeys(keys) if key not in self]

    def refresh(self) -> None:
        """Take in what other processes have written since.

        Raises:
            StoreError: A shard belongs to another encoder or cannot be read.
        """
        with self._lock:
            for shard in sorted(self.folder.glob("shard-*.rows")):
                if self._writer is None or shard != self._writer[1]:
                    try:
                        self._take_in(shard)
                    except OSError as error:
                        raise StoreError(f"{shard} cannot be read: {error}") from error

    def _take_in(self, shard: Path) -> None:
        begin = self._ends.get(shard) or read_head(shard, self._identity)
        if begin is None:
            self._damage[shard] = "torn before its first row"
            return
        scan = scan_blocks(shard, begin, self._rows.row_bytes)
        self._ends[shard] = scan.end
        self._damage.pop(shard, None)
        if scan.damage:
            self._damage[shard] = scan.damage
        for block in scan.blocks:
            self._index.update(self._rows.register(shard, block))

    def add(self, key: str, row: np.ndarray) -> None:
        """Add one row; a key that is there keeps its row.

        Args:
            key: From :meth:`key`.
            row: Finite numbers of the store's shape.

        Raises:
            StoreError: The shape differs, or a number is not finite in the store's number format.
        """
        self.add_many([key], np.asarray(row)[None])

    def add_many(self, keys: Sequence[str], rows: np.ndarray) -> None:
        """Add rows; keys that are there keep theirs.

        Args:
            keys: One a row.
            rows: Finite numbers of shape (rows, \\*shape).

        Raises:
            StoreError: A shape differs, a number is not finite in the store's number format, or the disk is full.
        """
        if np.shape(rows) != (len(keys), *self.shape):
            raise StoreError(f"{len(keys)} keys with rows of shape {np.shape(rows)[1:]}; the store holds {self.shape}")
        with np.errstate(over="ignore"):
            rows = np.asarray(rows).astype(self.dtype)
        finite = np.isfinite(rows).all(axis=tuple(range(1, rows.ndim)))
        if not finite.all():
            bad = keys[int(np.argmin(finite))]
            raise StoreError(f"the row {bad} is not finite as {self.dtype.name}; store float32 or leave the clip out")
        with self._lock:
            self._pending_since = self._pending_since if self._pending else time.monotonic()
            self._pending.update({_raw(key): row for key, row in zip(keys, rows, strict=True) if key not in self})
            waited = time.monotonic() - self._pending_since
            if len(self._pending) * self._rows.row_bytes >= FLUSH_BYTES or waited >= FLUSH_SECONDS:
                self.flush()

    def flush(self) -> None:
        """Bring all added rows to the disk.

        Raises:
            StoreError: The disk refuses them; they stay in memory, and nothing that was on the disk is lost.
        """
        with self._lock:
            if not self._pending:
                return
            keys, rows = list(self._pending), np.stack(list(self._pending.values()))
            try:
                shard = self._own_shard(rows.nbytes)
                block, content = encode_block(keys, rows, self._ends[shard])
                append(shard, self._ends[shard], content)
            except OSError as error:
                self._writer = None
                raise StoreError(f"{len(keys)} rows cannot be written to {self.folder}: {error}") from error
            self._ends[shard] += len(content)
            self._pending.clear()
            self._index.update(self._rows.register(shard, block))

    def _own_shard(self, more: int) -> Path:
        pid = os.getpid()  # a forked process must not append to its parent's shard
        if self._writer is None or self._writer[0] != pid or self._ends[self._writer[1]] + more > SHARD_BYTES:
            shard = self.folder / f"shard-{time.time_ns():020d}-{pid}-{secrets.token_hex(4)}.rows"
            head = encode_head(self._identity)
            atomic_write(shard, head)
            self._ends[shard] = len(head)
            self._writer = (pid, shard)
        return self._writer[1]

    def locate(self, keys: Iterable[str]) -> np.ndarray:
        """Places of rows, to be looked up once and used with :meth:`take` many times.

        Raises:
            StoreError: A key has no row.
        """
        self.flush()
        keys = list(keys)
        places = [self._index.get(_raw(key), -1) for key in keys]
        lost = places.count(-1)
        if lost:
            raise StoreError(f"{lost} of {len(keys)} rows are not in {self.folder}, such as {keys[places.index(-1)]}")
        return np.array(places, dtype=np.int64)

    def take(self, places: np.ndarray) -> np.ndarray:
        """Rows at places from :meth:`locate`, float32 of shape (rows, \\*shape), in their order."""
        return self._rows.take(places)

    def rows(self, keys: Iterable[str]) -> np.ndarray:
        """Rows by key, float32 of shape (keys, \\*shape), in the order of the keys.

        Raises:
            StoreError: A key has no row.
        """
        return self.take(self.locate(keys))

    def verify(self) -> list[str]:
        """Read everything and drop the rows whose numbers have changed, so that they can be added anew.

        They are dropped from this open store, not from the disk; what is added later stands in their place for good.

        Returns:
            The keys of the dropped rows.
        """
        self.flush()
        dropped = [(key, place) for key, place in self._rows.changed() if self._index.get(key) == place]
        for key, _ in dropped:
            del self._index[key]
        return [key.hex() for key, _ in dropped]


def _checked_dtype(dtype: str, shape: tuple[int, ...]) -> np.dtype:
    if dtype not in DTYPES:
        raise StoreError(f"features cannot be stored as {dtype!r}; choose {' or '.join(DTYPES)}")
    if not shape or min(shape) < 1:
        raise StoreError(f"a row of shape {shape} has no numbers; give (states, dim)")
    return np.dtype(dtype).newbyteorder("<")


def _raw(key: str) -> bytes:
    try:
        raw = bytes.fromhex(key)
    except ValueError:
        raw = b""
    if len(raw) != KEY_BYTES:
        raise StoreError(f"{key!r} is not a key of features; make keys with FeatureStore.key")
    return raw


def _reopen(path: Path, fingerprint: str, shape: tuple[int, ...], dtype: str, settings: dict) -> FeatureStore:
    return FeatureStore(path, fingerprint, shape, dtype, settings=settings)
