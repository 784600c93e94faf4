"""Checks feature stores, and merges one into another."""

import json
import os
from pathlib import Path

import numpy as np

from genser.data.store import FORMAT, FeatureStore, leftovers, shard_name
from genser.errors import StoreError, cause, counted


def stores(path: str | os.PathLike[str]) -> list[FeatureStore]:
    """The stores in a store folder, one per encoder, augmentation and arithmetic; none if it is no store folder.

    Raises:
        StoreError: A store is damaged, has another format, or cannot be read.
    """
    return [_opened(settings) for settings in sorted(Path(path).glob("*/settings.json"))]


def _opened(settings: Path) -> FeatureStore:
    try:
        about = json.loads(settings.read_bytes())
        encoder, shape, given, number = (about[name] for name in ("encoder", "shape", "settings", "format"))
        if number not in (2, FORMAT):
            raise ValueError(f"its format is {number}")
        return FeatureStore(settings.parent.parent, encoder, shape, settings=given)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StoreError(
            f"{settings} does not describe a feature store that this version reads: {cause(error)}. "
            f"Delete {settings.parent}; its clips are then encoded again."
        ) from error


def check(store: FeatureStore) -> list[str]:
    """Read all shards of a store and compare them with their checksums.

    Returns:
        One sentence for each problem.
    """
    problems = []
    for number, name in enumerate(store.names):
        try:
            _, rows = _verified(store, number)
            if not np.isfinite(rows).all():
                problems.append(f"{store.folder}: the shard {name} has numbers that are not finite.")
        except StoreError as error:
            problems.append(str(error))
    if old := leftovers(store.folder):
        files = counted(len(old), "file")
        problems.append(
            f"{store.folder}: {files} of stopped writers, such as {old[0].name}; the next run removes them."
        )
    return problems


def merge_stores(path: str | os.PathLike[str], other: str | os.PathLike[str]) -> int:
    """Add the rows of the stores in another folder to those in a folder, which may be new.

    Small shards become large ones. The other folder stays as it is.

    Returns:
        Number of rows that the folder lacked.

    Raises:
        StoreError: A shard is damaged, or a store cannot be read or written.
    """
    added, sources = 0, stores(other)
    if not sources:
        raise StoreError(f"{other} is not a feature store: no subfolder has a settings.json. Check the path.")
    for source in sources:
        target = FeatureStore(path, source.encoder_fingerprint, source.shape, settings=source.settings)
        before = len(target)
        with target.writing():
            for number in range(len(source.names)):
                keys, rows = _verified(source, number)
                target.add_many([bytes(key).hex() for key in keys], rows)
        added += len(target) - before
    return added


def _verified(store: FeatureStore, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Keys and rows of a shard.

    Raises:
        StoreError: It does not have its checksum.
    """
    keys, rows = store.shard(number)
    name = store.names[number]
    if len(keys) != len(rows) or shard_name(keys, rows) != name:
        raise StoreError(
            f"rows-{name}.npy or keys-{name}.npy in {store.folder} is damaged: the content does not have the checksum "
            "in the name. Delete both; their clips are then encoded again."
        )
    return keys, rows
