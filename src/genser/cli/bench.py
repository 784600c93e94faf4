"""``genser bench``: heads × encoders × folds × seeds on a protocol, and the report on them."""

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from genser.errors import ConfigError


def bench(
    protocol: str | None = None,
    *manifests: Path,
    encoder: Annotated[list[str] | None, Parameter(negative="")] = None,
    revision: str | None = None,
    plan: str = "default",
    seeds: int | None = None,
    task: str = "emotion",
    labels: str | None = None,
    k: int = 5,
    incomplete: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    jobs: int = 1,
    device: str = "cpu",
    store: Path = Path("features"),
    output: Annotated[Path, Parameter(alias="-o")] = Path("bench"),
    title: str = "",
    resamples: int = 2000,
    setting: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    report_only: Annotated[bool, Parameter(negative="", show_default=False)] = False,
) -> int:
    """Compare heads fairly on the folds of a protocol; a bench that was stopped goes on.

    Every head chooses its settings on speakers held out inside each training side. Several protocols and encoders may
    share one output folder: run after run, the report has them all.

    Args:
        protocol: emobox, official, loso, kfold-speaker, loco, or random (speaker-dependent).
        manifests: CSV, JSON lines or Parquet; EmoBox's folds are of one corpus each, all others span the manifests.
        encoder: "whisper:FILE-OR-HUB-ID", "hubert:FOLDER-OR-HUB-ID", a path or hub id alone, or "fbank"; repeat for
            several. The default is the encoder of the recipe.
        revision: Commit of a hub id.
        plan: "default", "quick", "report", "ablations", "cross-corpus", or a YAML file.
        seeds: Number of training seeds; the plan's by default.
        task: emotion or gender.
        labels: Label map, by name or as file.toml:name.
        k: Number of folds of kfold-speaker and random.
        incomplete: Go on although clips of EmoBox's lists are missing; the protocol's name then says so.
        jobs: Processes, each with one thread.
        device: "cpu" or "cuda".
        store: Folder of the feature store.
        output: Folder for the runs and the report.
        title: Headline of the report.
        resamples: Number of bootstrap draws.
        setting: A setting of the recipe for every head, such as --set optimizer.lr=1e-4; repeat for several.
        report_only: Only write the report anew, on the runs that are finished.

    Returns:
        0 if all went well, 1 if some utterances could not be read and were left out.
    """
    from genser.cli._extras import training_extra

    problems: tuple[str, ...] = ()
    with training_extra("A bench"):
        from genser.metrics.bootstrap import Resampling
        from genser.report.bench import report_bench

        if not report_only:
            where = {"k": k, "incomplete": incomplete, "jobs": jobs, "device": device, "task": task, "labels": labels}
            chosen = _plan(plan, _settings(setting), seeds)
            problems = _run(_bench_settings(protocol, manifests, encoder, revision, output, store, where), chosen)
        result, written = report_bench(output, title=title, resampling=Resampling(resamples))
    for line in (*problems, *_summary(result), *map(str, written)):
        print(line, file=sys.stderr)
    return 1 if problems else 0


def _settings(pairs: list[str] | None) -> dict[str, str]:
    for pair in pairs or ():
        if "=" not in pair:
            raise ConfigError(f"--set {pair} names no value; write --set KEY=VALUE, such as --set optimizer.lr=1e-4.")
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs or ())}


def _plan(name: str, settings: dict[str, str], seeds: int | None) -> Any:
    from genser.bench.plan import load_plan

    return load_plan(name, settings, seeds=seeds)


def _bench_settings(
    protocol: str | None,
    manifests: tuple[Path, ...],
    encoders: list[str] | None,
    revision: str | None,
    output: Path,
    store: Path,
    where: dict[str, Any],
) -> Any:
    from genser.bench.run import BenchSettings
    from genser.data.splits import PROTOCOLS
    from genser.encoders import named_encoder

    if protocol is None or not manifests:
        raise ConfigError(f"Name a protocol ({', '.join(PROTOCOLS)}) and one manifest or more; or give --report-only.")
    configs = tuple(named_encoder(name, revision=revision) for name in encoders or ())
    return BenchSettings(protocol, manifests, configs, output, store, **where)


def _run(settings: Any, plan: Any) -> tuple[str, ...]:
    from genser.bench.run import run_bench
    from genser.cli._progress import progress_bars

    with progress_bars() as bars:
        return run_bench(settings, plan, bars)


def _summary(result: Any) -> list[str]:
    """One line a protocol and system, for people in a hurry."""
    from genser.bench.pool_runs import pool
    from genser.metrics.classification import confusion_matrix, unweighted_accuracy
    from genser.report.tables import percent, system_name

    lines = []
    for one in pool(result.runs):
        decided = one.probabilities.argmax(-1)
        scores = [unweighted_accuracy(confusion_matrix(one.labels, seed, len(one.classes))) for seed in decided]
        lines.append(f"{one.protocol.title}: {system_name(one.system)}: UA {percent(sum(scores) / len(scores))} %")
    return lines
