"""Runs a job over an input of any size; one that was stopped continues when it is run again."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from genser.data.tables import import_parquet
from genser.errors import ConfigError
from genser.scale.blocks import Block, read_blocks
from genser.scale.commit import Shards
from genser.scale.job import DEFAULT_SETUP, Job, Setup, digest_of
from genser.scale.local import run_local
from genser.scale.worker import Summary

TASK_BLOCKS = 8
"""Blocks that a worker gets at once, so that it decodes the next one while it computes one."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Report:
    """What became of a run.

    Attributes:
        place: Folder of the shards, or its URL.
        rows: Rows of the input.
        shards: Shards in the folder.
        computed: Shards that this run computed; the others were there.
        failed: Rows of the input with an error, also in shards that were there.
        mixed: Rows of the input whose different channels were mixed to one, also in shards that were there.
    """

    place: str
    rows: int
    shards: int
    computed: int
    failed: int
    mixed: int


def process(
    job: Job,
    inputs: str | os.PathLike[str] | Sequence[str],
    output: str | os.PathLike[str],
    *,
    engine: Literal["local", "ray"] = "local",
    address: str | None = None,
    workers: int | None = None,
    setup: Setup = DEFAULT_SETUP,
    progress: Progress | None = None,
) -> Report:
    """Compute a job for every row of an input, and write the results as Parquet shards.

    Memory does not grow with the input. Each shard appears in one step. A run that was stopped at any moment, by
    whatever, continues when it is called again, and its shards are those of a run that was never stopped.

    Args:
        job: What is computed.
        inputs: Manifests (CSV, TSV, JSON lines or Parquet), folders, audio files, patterns, or URLs of them.
        output: Folder of the shards, or the URL of one such as ``s3://bucket/run``.
        engine: ``"local"`` for this machine, ``"ray"`` for a cluster.
        address: Address of a Ray cluster, see :func:`genser.scale.ray.run_ray`.
        workers: Workers to ask Ray for; None means as many as the cluster has room for.
        setup: Device, cores and limits.
        progress: Called with the number of finished rows and of all rows.

    Raises:
        ConfigError: The input has no row, an option is wrong, or the output holds something else.
        ManifestError: A manifest cannot be read.
        StorageError: An input or the output cannot be read or written.
        ModelError: The model cannot be loaded.
        MissingExtraError: pyarrow, Ray or fsspec is not installed.
    """
    if os.name == "nt":
        raise ConfigError("Bulk runs need Linux or macOS. On Windows, omit --engine, or use WSL.")
    if engine not in ("local", "ray") or (engine == "local" and (address or workers)):
        raise ConfigError(f"The engine {engine!r} is not known, or takes no address and no workers. Choose 'ray'.")
    import_parquet("Bulk runs")
    names = [os.fspath(inputs)] if isinstance(inputs, str | os.PathLike) else list(inputs)
    about = job.about()
    shards = Shards(Shards.of(output), digest_of(about))
    rows, count, digest = _measured(names, job.block_rows)
    if not rows:
        raise ConfigError(f"{', '.join(names) or 'The input'} holds no audio. Name a manifest, a folder or files.")
    shards.check({"job": about, "input": {"rows": rows, "digest": digest}, "shards": count})
    done = shards.names()
    pending = (block for block in read_blocks(names, job.block_rows) if shards.name(block) not in done)
    tasks = _batched(pending, min(TASK_BLOCKS, max(count // 16, 1)))
    given = engine, job, setup, shards, tasks, address, workers
    finished, computed, counts = min(len(done) * job.block_rows, rows), 0, shards.counts(sorted(done))
    for summary in _computed(*given) if len(done) < count else ():
        finished, computed, counts = finished + summary.rows, computed + 1, counts + summary.counts
        if progress:
            progress(min(finished, rows), rows)
    return Report(shards.place, rows, count, computed, counts.failed, counts.mixed)


def _computed(
    engine: str,
    job: Job,
    setup: Setup,
    shards: Shards,
    tasks: Iterable[Sequence[Block]],
    address: str | None,
    workers: int | None,
) -> Iterator[Summary]:
    """Compute tasks with an engine."""
    if engine == "local":
        return run_local(job, setup, shards, tasks)
    from genser.scale.ray import run_ray

    return run_ray(job, setup, shards, tasks, address=address, workers=workers)


def _measured(inputs: Sequence[str], size: int) -> tuple[int, int, str]:
    """Number of rows and of blocks of an input, and a digest of its rows."""
    digest = hashlib.sha256()
    rows = blocks = 0
    for block in read_blocks(inputs, size):
        rows, blocks = rows + len(block.rows), blocks + 1
        digest.update(block.digest("").encode())
    return rows, blocks, digest.hexdigest()


def _batched(blocks: Iterator[Block], size: int) -> Iterator[list[Block]]:
    while some := list(islice(blocks, size)):
        yield some
