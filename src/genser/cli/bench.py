"""``genser bench``: compare heads and encoders on the folds of a protocol, and write the report."""

import sys
from pathlib import Path
from typing import Annotated

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
    classes: str | None = None,
    peer: Annotated[list[str] | None, Parameter(negative="")] = None,
    send_audio_to: str | None = None,
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
    """Compare methods fairly on the same folds of your data; a bench that was stopped continues where it was.

    Every head chooses its settings on speakers held out within each training side. Several protocols and encoders may
    share one output folder; the report covers them all.

    Args:
        protocol: emobox, official, loso, kfold-speaker, loco, or random (speaker-dependent).
        manifests: CSV, JSON lines or Parquet; EmoBox has folds for each corpus, all others span the manifests.
        encoder: "whisper:FILE-OR-HUB-ID", "hubert:FOLDER-OR-HUB-ID", a path or hub id alone, or "fbank"; repeat for
            several. By default the encoder of the recipe.
        revision: Commit of a hub id.
        plan: "default", "quick", "report", "ablations", "cross-corpus", or a YAML file.
        seeds: Number of training seeds; by default the plan's.
        task: emotion or gender.
        labels: Label map, by name or as file.toml:name.
        classes: Classes to bench, such as anger,happiness,neutral,sadness; clips of other classes are omitted.
        peer: NAME[=WEIGHTS] of a finished classifier of another package to score beside the heads (see docs/peers.md);
            repeat for several.
        send_audio_to: The hosted peer to which every test clip may be sent, or NAME=URL.
        k: Number of folds of kfold-speaker and random.
        incomplete: Continue if clips of the EmoBox lists are missing; the protocol's name then ends in "incomplete".
        jobs: Number of processes, each with one thread.
        device: "cpu", a GPU such as "cuda" or "cuda:1", or "auto": the GPU if there is one, else the CPU.
        store: Folder of the feature store.
        output: Folder for the runs and the report.
        title: Headline of the report.
        resamples: Number of bootstrap resamples.
        setting: A setting of the recipe for every head, such as --set optimizer.lr=1e-4; repeat for several.
        report_only: Only write the report on the finished runs.

    Returns:
        0 on success, 1 if some clips could not be read; they are omitted.
    """
    from genser.cli._extras import training_extra
    from genser.cli._outputs import check_folder
    from genser.cli._progress import progress_bars

    for folder in (output, store):
        check_folder(folder)
    problems: tuple[str, ...] = ()
    with training_extra("A bench"):
        from genser.bench.plan import load_plan
        from genser.bench.runner import BenchSettings, run_bench
        from genser.data.splits import PROTOCOLS
        from genser.encoders import named_encoder
        from genser.inference.load import found_device
        from genser.metrics.bootstrap import Resampling
        from genser.peers.catalog import PeerChoice
        from genser.report.bench import report_bench, score_lines

        resampling = Resampling(resamples)
        if not report_only:
            if protocol is None or not manifests:
                raise ConfigError(
                    f"Name a protocol ({', '.join(PROTOCOLS)}) and one manifest or more, or give --report-only."
                )
            settings = _settings(setting or [])
            encoders = [named_encoder(name, revision=revision) for name in encoder or ()] or [None]
            plans = [load_plan(plan, settings, encoder=one, seeds=seeds) for one in encoders]
            device = found_device(device)
            chosen = tuple(PeerChoice.of(name, send_audio_to) for name in peer or ())
            for one in chosen:
                if one.url:
                    print(f"genser: every test clip is sent to {one.url} ({one.name}, {one.weights}).", file=sys.stderr)
            named = tuple(name.strip() for name in (classes or "").split(",") if name.strip())
            data = BenchSettings(
                protocol, manifests, output, store, task, labels, named, k, incomplete, jobs, device, chosen
            )
            with progress_bars() as bars:
                problems = run_bench(data, plans, bars)
        result, written = report_bench(output, title=title, resampling=resampling)
    for line in (*problems, *score_lines(result), *map(str, written)):
        print(line, file=sys.stderr)
    return 1 if problems else 0


def _settings(pairs: list[str]) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise ConfigError(f"--set {pair} has no value. Write --set KEY=VALUE, such as --set optimizer.lr=1e-4.")
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}
