"""Measures the feature store: writing, opening, and reading in random order.

    python benchmarks/feature_store.py [--folder DIR] [--rows 20000] [--small-rows 750000] [--json FILE]

Rows of 7 x 512 float32 are those of Whisper base. Reading is from the page cache, in random order, in batches of 256
keys. The last line opens a store of many small rows: opening reads the whole index, but no rows.
"""

import tempfile
from pathlib import Path

import numpy as np
from _common import Claim, keys_of, parser, seconds

from genser.data.store import FeatureStore

SHAPE = (7, 512)
BATCH = 256
REPEATS = 3


def filled(folder: Path, count: int, shape: tuple[int, ...]) -> tuple[FeatureStore, list[str], float]:
    keys = keys_of(count, 0)
    rows = np.random.default_rng(0).standard_normal((BATCH, *shape), dtype=np.float32)
    store = FeatureStore(folder, "benchmark", shape)

    def write() -> None:
        with store.writing():
            for start in range(0, count, BATCH):
                part = keys[start : start + BATCH]
                store.add_many(part, rows[: len(part)])

    return store, keys, seconds(write)


def measure(folder: Path, count: int) -> dict[str, float]:
    store, keys, writing = filled(folder, count, SHAPE)
    order = np.random.default_rng(1).permutation(count)
    parts = [[keys[index] for index in order[start : start + BATCH]] for start in range(0, count, BATCH)]
    store.rows(keys)  # brings every shard into the page cache

    def read_all() -> None:
        for part in parts:
            store.rows(part)

    reading = min(seconds(read_all) for _ in range(REPEATS))
    size = count * np.prod(SHAPE) * 4
    return {
        "written rows/s": count / writing,
        "written MB/s": size / writing / 1e6,
        "read rows/s": count / reading,
        "opening s": opening(folder, SHAPE),
    }


def opening(folder: Path, shape: tuple[int, ...]) -> float:
    return min(seconds(lambda: FeatureStore(folder, "benchmark", shape)) for _ in range(REPEATS))


def main() -> None:
    options = parser(__doc__, toy="a few rows")
    options.add_argument("--folder", type=Path, help="where the stores are made (default: a temporary folder)")
    options.add_argument("--rows", type=int, default=20_000)
    options.add_argument("--small-rows", type=int, default=750_000)
    arguments = options.parse_args()
    if arguments.toy:
        arguments.rows, arguments.small_rows = 512, 1024
    claim = Claim("feature_store", "100,000 rows per second read in random order from the page cache")
    claim.settings |= {"rows": arguments.rows, "toy": arguments.toy}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        claim.add("7 x 512", **measure(Path(folder, "rows"), arguments.rows))
        filled(Path(folder, "small"), arguments.small_rows, (2, 4))
        claim.add(f"{arguments.small_rows:,} rows of 2 x 4", **{"opening s": opening(Path(folder, "small"), (2, 4))})
    claim.report(arguments.json)


if __name__ == "__main__":
    main()
