"""Bulk runs of ``genser predict`` and ``genser features``: inputs of any size to Parquet shards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from genser.cli._notes import note
from genser.errors import ConfigError, counted

if TYPE_CHECKING:
    from genser.cli._channels import MixedChannels
    from genser.scale.job import Job, Setup


@Parameter(name="*", group="Bulk runs")
@dataclass(frozen=True)
class Bulk:
    """Where a bulk run is computed.

    Attributes:
        engine: For inputs of any size: write Parquet shards to the folder or URL of -o, on this machine (local) or on a
            Ray cluster (ray). Inputs may then also be manifests: .csv, .tsv, .jsonl or .parquet.
            The same command continues a run that was stopped.
        address: Address of the Ray cluster, such as auto or 10.0.0.1:6379; if omitted, one is started on this machine.
        workers: Workers to ask Ray for; if omitted, as many as the cluster has room for.
        shard_rows: Rows of the input in a shard; if omitted 512, with --segments 32.
    """

    engine: Literal["local", "ray"] | None = None
    address: Annotated[str | None, Parameter(show_default=False)] = None
    workers: int | None = None
    shard_rows: int | None = None


def bulk_of(bulk: Bulk | None, refused: dict[str, object]) -> Bulk | None:
    """The options of a bulk run, None for another run; options without effect are refused.

    Args:
        bulk: Its options.
        refused: Options that a bulk run does not take, by name, with their values.

    Raises:
        ConfigError: An option has no effect.
    """
    if bulk is None:
        return None
    if bulk.engine is None:
        for name in ("address", "workers", "shard_rows"):
            if getattr(bulk, name) is not None:
                raise ConfigError(f"--{name.replace('_', '-')} without --engine would have no effect. Add --engine.")
        return None
    for name, value in refused.items():
        if value:
            raise ConfigError(f"--engine does not take {name}. Omit one of them.")
    return bulk


def predict_bulk(
    bulk: Bulk,
    kind: Literal["predict", "segments"],
    job: Mapping[str, Any],
    inputs: Sequence[str],
    output: str | None,
    device: str,
    threads: int | None,
    batch_seconds: float | None,
    mixed: "MixedChannels",
) -> int:
    """Recognise an input of any size; ``job`` holds fields of a Job, with the path of a profile."""
    from genser.inference.profile import Profile
    from genser.scale.job import Job, Setup

    loaded: dict[str, Any] = {"profile": job["profile"] and Profile.load(job["profile"])}
    setup = Setup(device, threads, batch_seconds)
    return run_bulk(Job(kind, **{**job, **loaded}), setup, inputs, output, bulk, mixed)


def run_bulk(
    job: "Job",
    setup: "Setup",
    inputs: Sequence[str],
    output: str | None,
    bulk: Bulk,
    mixed: "MixedChannels | None" = None,
) -> int:
    """Run a job, and report on it.

    Returns:
        0 if all went well, 1 if rows failed, in this run or before.
    """
    from genser.cli._progress import progress_bars
    from genser.scale import process

    if output is None or output == "-":
        raise ConfigError("--engine writes shards. Name their folder or its URL with -o.")
    where: dict[str, Any] = {"engine": bulk.engine, "address": bulk.address, "workers": bulk.workers}
    job = replace(job, shard_rows=bulk.shard_rows)
    with progress_bars(has_lines=True) as bars:
        report = process(
            job, inputs, output, **where, setup=setup, progress=lambda done, total: bars(job.kind, done, total)
        )
    earlier = report.shards - report.computed
    again = f", {counted(earlier, 'shard')} of them from before" if earlier else ""
    rows = f"{counted(report.rows, 'row')} in {counted(report.shards, 'shard')}{again} → {report.place}"
    note(f"genser: {rows}")
    if report.failed:
        note(f"genser: {counted(report.failed, 'row')} failed; see the column 'error'.")
    for sentence in mixed.hint(report.mixed) if mixed else ():
        note(f"genser: {sentence}")
    return 1 if report.failed else 0
