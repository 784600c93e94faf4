"""How fast is the feature store? Writing, random reading, opening; a table for people and JSON for machines.

    python benchmarks/feature_store.py [--folder DIR] [--rows 20000] [--small-rows 750000] [--json FILE]

Rows of 7 x 512 float32 are what the Whisper-base encoder gives. Reading is from the page cache, in random order, in
batches of 256, as training reads; `take` has its places looked up once, `rows` looks its keys up anew in each batch.
"""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from genser.data.features import FeatureStore

SHAPE = (7, 512)
BATCH = 256
REPEATS = 3


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


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
    filled(folder, count, (2, 4), "float32")
    opening = min(seconds(lambda: FeatureStore(folder, "benchmark", (2, 4))) for _ in range(REPEATS))
    return {"rows": count, "opening s": opening}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, help="where the stores are made (default: a temporary folder)")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--small-rows", type=int, default=750_000)
    parser.add_argument("--json", type=Path, help="file for the numbers")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        results = {
            f"7 x 512 {dtype}": measure(Path(folder, dtype), arguments.rows, dtype) for dtype in ("float32", "float16")
        }
        results["2 x 4 float32"] = measure_opening(Path(folder, "small"), arguments.small_rows)
    for name, numbers in results.items():
        print(f"{name:16}" + "  ".join(f"{what} {value:,.6g}" for what, value in numbers.items()))
    record = {"machine": platform.platform(), "processor": platform.processor(), "results": results}
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
