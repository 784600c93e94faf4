"""How fast is the feature store? Writing, random reading, opening; a table for people and JSON for machines.

    python benchmarks/feature_store.py [--folder DIR] [--rows 20000] [--small-rows 750000] [--json FILE]

Rows of 7 x 512 float32 are what the Whisper-base encoder gives. Reading is from the page cache, in random order, in
batches of 256, as training reads; `take` has its places looked up once, `rows` looks its keys up anew in each batch.
"""

import tempfile
from pathlib import Path

import numpy as np
from _common import Claim, parser, seconds

from genser.data.features import FeatureStore
from genser.data.store import SHARD_BYTES

SHAPE = (7, 512)
LARGE = (25, 1024)  # HuBERT-large's states
BATCH = 256
REPEATS = 3


def filled(folder: Path, count: int, shape: tuple[int, ...], dtype: str) -> tuple[FeatureStore, list[str], float]:
    rng = np.random.default_rng(0)
    raw = rng.bytes(32 * count)
    keys = [raw[place : place + 32].hex() for place in range(0, len(raw), 32)]
    rows = rng.standard_normal((BATCH, *shape), dtype=np.float32)
    store = FeatureStore(folder, "benchmark", shape, dtype)

    def write() -> None:
        for place in range(0, count, BATCH):
            part = keys[place : place + BATCH]
            store.add_many(part, rows[: len(part)])
        store.flush()

    return store, keys, seconds(write)


def measure(folder: Path, count: int, dtype: str) -> dict[str, float]:
    store, keys, writing = filled(folder, count, SHAPE, dtype)
    order = np.random.default_rng(1).permutation(count)
    places = store.locate(keys)
    parts = [order[place : place + BATCH] for place in range(0, count, BATCH)]
    store.take(places)  # maps every shard and brings it into the page cache
    shuffled = [[keys[place] for place in part] for part in parts]

    def take_all() -> None:
        for part in parts:
            store.take(places[part])

    def look_up_all() -> None:
        for part in shuffled:
            store.rows(part)

    take, rows = (min(seconds(read) for _ in range(REPEATS)) for read in (take_all, look_up_all))
    return {
        "written rows/s": count / writing,
        "written MB/s": count * np.prod(SHAPE) * np.dtype(dtype).itemsize / writing / 1e6,
        "take rows/s": count / take,
        "rows rows/s": count / rows,
    }


def measure_opening(folder: Path, count: int) -> dict[str, float]:
    """Opening a store of many small rows: the index is read whole, the rows are not. Size and shards are planned."""
    filled(folder, count, (2, 4), "float32")
    opening = min(seconds(lambda: FeatureStore(folder, "benchmark", (2, 4))) for _ in range(REPEATS))
    size = count * np.prod(LARGE) * 2
    return {"opening s": opening, "GB as 25 x 1024 float16": size / 1e9, "shards": float(-(-size // SHARD_BYTES))}


def main() -> None:
    made = parser(__doc__, toy="a few rows")
    made.add_argument("--folder", type=Path, help="where the stores are made (default: a temporary folder)")
    made.add_argument("--rows", type=int, default=20_000)
    made.add_argument("--small-rows", type=int, default=750_000)
    arguments = made.parse_args()
    if arguments.toy:
        arguments.rows, arguments.small_rows = 512, 1024
    claim = Claim("feature_store", "100,000 rows a second in random order from the page cache")
    claim.settings |= {"rows": arguments.rows, "toy": arguments.toy}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for dtype in ("float32", "float16"):
            claim.add(f"7 x 512 {dtype}", **measure(Path(folder, dtype), arguments.rows, dtype))
        opened = measure_opening(Path(folder, "small"), arguments.small_rows)
        claim.add(f"{arguments.small_rows:,} rows", **opened)
    claim.tell(arguments.json)


if __name__ == "__main__":
    main()
