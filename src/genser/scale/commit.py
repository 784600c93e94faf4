"""Shards of a bulk run in a folder or on other storage: each appears complete and under a name that says what it is."""

import json
import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

from genser.errors import ConfigError, StorageError, cause
from genser.files import atomic_write
from genser.scale.blocks import Block
from genser.storage import is_url, open_stored, path_of, put_stored, storage_errors, stored_names

JOB = "_job.json"
"""Name of the file that says what a folder holds; readers of Parquet folders skip names that begin with ``_``."""
READERS = 16  # threads that read footers, since other storage needs time for each
AT_ONCE = 1024  # footers that wait for them
PART = re.compile(r"part-(\d{6,})-([0-9a-f]{16})\.parquet")


@dataclass(frozen=True)
class Counts:
    """Numbers of rows of the input, which the footer of a shard holds under these names.

    Attributes:
        failed: Rows with an error.
        mixed: Rows whose different channels were mixed to one.
    """

    failed: int = 0
    mixed: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.failed + other.failed, self.mixed + other.mixed)

    def footer(self) -> dict[str, str]:
        """Keys and values for the footer."""
        return {name: str(count) for name, count in asdict(self).items()}


@dataclass(frozen=True)
class Shards:
    """A folder of shards.

    Attributes:
        place: Folder, or URL of one.
        job: Digest of the job.
    """

    place: str
    job: str

    @staticmethod
    def of(output: str | os.PathLike[str]) -> str:
        """The place that a user names: a URL, or an absolute path, also for ``file://``."""
        name = os.fspath(output)
        if is_url(name) and name.lower().startswith("file:"):
            name = path_of(name)
        return name.rstrip("/") if is_url(name) else os.path.abspath(name)  # noqa: PTH100

    def name(self, block: Block) -> str:
        """Name of the shard of a block: its number, and a digest of its rows and of the job."""
        return f"part-{block.number:06}-{block.digest(self.job)}.parquet"

    def names(self) -> set[str]:
        """Names of the shards that are there."""
        return {name for name in _names(self.place) if PART.fullmatch(name)}

    def counts(self, names: Iterable[str]) -> Counts:
        """What the footers of some shards count together.

        Raises:
            StorageError: A shard cannot be read.
        """
        places, total = (f"{self.place}/{name}" for name in names), Counts()
        with ThreadPoolExecutor(READERS, thread_name_prefix="genser-footers") as pool:
            while some := list(islice(places, AT_ONCE)):
                total = sum(pool.map(_counts, some), total)
        return total

    def commit(self, block: Block, content: bytes) -> None:
        """Write the shard of a block in one step; one of the same name has the same content, and is replaced.

        Raises:
            StorageError: It cannot be written.
        """
        _write(self.place, self.name(block), content)

    def check(self, about: dict[str, Any]) -> None:
        """Start a folder for a job and its input, or make sure that it was started for the same.

        Raises:
            ConfigError: It holds something else.
            StorageError: It cannot be read or written.
        """
        names = _names(self.place)
        if JOB in names:
            earlier = _parsed(f"{self.place}/{JOB}", _read(self.place, JOB))
            changed = sorted(_differences(earlier, about))
            if changed:
                raise ConfigError(
                    f"{self.place} holds the results of another run; what differs: {', '.join(changed)}. Give the same "
                    "options, model and inputs as before, or choose another output."
                )
        elif names:
            raise ConfigError(
                f"{self.place} holds other files, such as {min(names)}. Choose an empty or a new folder for the shards."
            )
        else:
            _write(self.place, JOB, (json.dumps(about, indent=1, sort_keys=True) + "\n").encode())


def _counts(shard: str) -> Counts:
    from pyarrow import ArrowException, parquet

    with storage_errors(shard, "read"):
        try:
            with open_stored(shard) if is_url(shard) else Path(shard).open("rb") as file:
                table = parquet.ParquetFile(file)
                footer = table.metadata.metadata or {}
                known = {
                    one.name: int(footer[one.name.encode()]) for one in fields(Counts) if one.name.encode() in footer
                }
                if "failed" in known:
                    return Counts(**known)
                errors = table.read(["row", "error"]).to_pylist()  # a shard of an earlier version
        except (OSError, ValueError, ArrowException) as error:
            raise StorageError(f"{shard} cannot be read: {cause(error)}. Delete it, and run again.") from error
    return Counts(len({one["row"] for one in errors if one["error"] is not None}))


def _parsed(name: str, content: bytes) -> dict[str, Any]:
    try:
        about = json.loads(content)
    except (ValueError, RecursionError):
        about = None
    if not isinstance(about, dict):
        raise ConfigError(f"{name} is damaged, so it cannot say what the folder holds. Choose another output.")
    return about


def _differences(earlier: Any, now: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(earlier, dict) and isinstance(now, dict):
        for name in {**earlier, **now}:
            yield from _differences(earlier.get(name), now.get(name), f"{prefix}{name}.")
    elif earlier != now:
        yield f"{prefix[:-1]} ({earlier} then, {now} now)"


def _names(place: str) -> set[str]:
    """Names in a folder; none if it does not exist. Files that a kill left behind, which begin with a dot, are none."""
    try:
        found = stored_names(place) if is_url(place) else os.listdir(place)  # noqa: PTH208
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise StorageError(f"{place} cannot be read: {cause(error)}. Name a folder.") from error
    return {name for name in found if not name.startswith(".")}


def _read(place: str, name: str) -> bytes:
    if is_url(place):
        with storage_errors(f"{place}/{name}", "read"), open_stored(f"{place}/{name}") as file:
            return file.read()
    try:
        return Path(place, name).read_bytes()
    except OSError as error:
        raise StorageError(f"{place}/{name} cannot be read: {cause(error)}. Choose another output.") from error


def _write(place: str, name: str, content: bytes) -> None:
    if is_url(place):
        put_stored(f"{place}/{name}", content)
        return
    try:
        Path(place).mkdir(parents=True, exist_ok=True)
        atomic_write(Path(place, name), content)
    except OSError as error:
        raise StorageError(f"{place}/{name} cannot be written: {cause(error)}. Choose another output.") from error
