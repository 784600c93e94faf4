"""Measures the feature store: writing, opening, reading in random order, adding, merging and checking.

    python benchmarks/feature_store.py [--sizes 20000x7x512 750000x2x4 …] [--folder DIR] [--json FILE]

A size is a number of rows, states and dimensions: 20000x7x512 are 20,000 clips of Whisper base with all states. Reading
is from the page cache, in random order, in batches of 256 keys. Opening reads all keys and no rows; its memory is what
the process then holds. Added are 1,000 rows, opening included; merged is a store of a tenth of the rows; checking reads
all rows and computes their checksums. For the figures of docs/scaling.md: --sizes 750000x4x512 10000000x2x4.
"""

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from _common import Claim, keys_of, parser, seconds

from genser.data.store import FeatureStore
from genser.data.store_upkeep import check, merge_stores

BATCH, CHUNK = 256, 100_000
READ, ADDED = 100_000, 1000
REPEATS = 3
OPENING = "import sys; from feature_store import *; open_alone(sys.argv[1], tuple(map(int, sys.argv[2:])))"


def chunks(count: int, seed: int) -> Iterator[list[str]]:
    for start in range(0, count, CHUNK):
        yield keys_of(min(CHUNK, count - start), seed + start)


def filled(folder: Path, count: int, shape: tuple[int, ...], seed: int = 0) -> FeatureStore:
    rows = np.random.default_rng(0).standard_normal((BATCH, *shape), dtype=np.float32)
    store = FeatureStore(folder, "benchmark", shape)
    with store.writing():
        for keys in chunks(count, seed):
            for start in range(0, len(keys), BATCH):
                part = keys[start : start + BATCH]
                store.add_many(part, rows[: len(part)])
    return store


def open_alone(folder: str, shape: tuple[int, ...]) -> None:
    """Print the seconds of opening, and how many bytes of memory an open store takes."""
    before = resident()
    store = FeatureStore(folder, "benchmark", shape)
    memory = resident() - before
    taken = min(seconds(lambda: FeatureStore(folder, "benchmark", shape)) for _ in range(REPEATS))
    print(taken, memory, len(store))


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def measure(folder: Path, count: int, shape: tuple[int, ...]) -> dict[str, float]:
    size = count * np.prod(shape) * 4
    writing = seconds(lambda: filled(folder / "rows", count, shape))
    bytes_on_disk = sum(path.stat().st_size for path in (folder / "rows").rglob("*") if path.is_file())
    script = [sys.executable, "-c", OPENING, str(folder / "rows"), *map(str, shape)]
    output = subprocess.run(script, capture_output=True, text=True, check=True, cwd=Path(__file__).parent).stdout
    opening, memory, _ = map(float, output.split())
    generator = np.random.default_rng(1)
    sample = [key for keys in chunks(count, 0) for key in generator.choice(keys, min(READ * CHUNK // count, len(keys)))]
    generator.shuffle(sample)
    parts = [sample[start : start + BATCH] for start in range(0, len(sample), BATCH)]
    store = FeatureStore(folder / "rows", "benchmark", shape)

    def read_all() -> None:
        for part in parts:
            store.rows(part)

    reading = min(seconds(read_all) for _ in range(1 + REPEATS))  # the first run fills the page cache
    adding = seconds(lambda: filled(folder / "rows", ADDED, shape, seed=10**9))
    filled(folder / "other", max(count // 10, 1), shape, seed=2 * 10**9)
    merging = seconds(lambda: merge_stores(folder / "rows", folder / "other"))
    checking = seconds(lambda: check(FeatureStore(folder / "rows", "benchmark", shape)))
    return {
        "written rows/s": count / writing,
        "written MB/s": size / writing / 1e6,
        "GB on disk": bytes_on_disk / 1e9,
        "opening s": opening,
        "opening MB": memory / 1e6,
        "read rows/s": len(sample) / reading,
        "adding s": adding,
        "merged rows/s": max(count // 10, 1) / merging,
        "checked MB/s": 1.1 * size / checking / 1e6,
    }


def size_of(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split("x")))


def main() -> None:
    options = parser(__doc__, toy="a few rows")
    options.formatter_class = argparse.RawDescriptionHelpFormatter
    options.add_argument("--folder", type=Path, help="where the stores are made (default: a temporary folder)")
    options.add_argument("--sizes", type=size_of, nargs="+", default=[(20_000, 7, 512), (750_000, 2, 4)])
    arguments = options.parse_args()
    if arguments.toy:
        arguments.sizes = [(512, 7, 512), (1024, 2, 4)]
    claim = Claim("feature_store", "100,000 rows per second read in random order from the page cache")
    claim.settings |= {"sizes": arguments.sizes, "toy": arguments.toy}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for count, *shape in arguments.sizes:
            name = f"{count:,} rows of {' x '.join(map(str, shape))}"
            claim.add(name, **measure(Path(folder), count, tuple(shape)))
            for name in ("rows", "other"):
                shutil.rmtree(Path(folder, name))
    claim.report(arguments.json)


if __name__ == "__main__":
    main()
