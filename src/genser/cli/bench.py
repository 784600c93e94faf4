"""``genser bench``: compare heads and encoders on the folds of a protocol, and write the report."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from genser.cli._notes import note, notes
from genser.errors import ConfigError, ManifestError, counted

if TYPE_CHECKING:
    from genser.bench.runner import BenchSettings
    from genser.peers.catalog import PeerChoice


def bench(
    protocol: str | None = None,
    *manifests: Path,
    encoder: Annotated[list[str] | None, Parameter(negative="")] = None,
    revision: str | None = None,
    plan: str | None = None,
    seeds: int | None = None,
    task: str | None = None,
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

    "genser bench meld FOLDER" makes the paper's Tables 1 to 3 and its Figure 1 from the official archive, extracted.
    The folder is read as by "genser prepare", time, disk and memory are estimated and printed, and the official split
    is benched for emotion and gender. The same works for every corpus of "genser prepare" with an official split.

    Example: genser bench kfold-speaker mine.csv --plan report -o bench

    Args:
        protocol: emobox, official, loso, kfold-speaker, loco, or random (speaker-dependent); or a corpus, such as meld.
        manifests: CSV, JSON lines or Parquet; EmoBox has folds for each corpus, all others span the manifests. For a
            corpus, its folder.
        encoder: "whisper:FILE-OR-HUB-ID", "hubert:FOLDER-OR-HUB-ID", a path or hub id alone, "fbank" or "egemaps";
            repeat for several. By default the encoder of the recipe.
        revision: Commit of a hub id; the newest if omitted.
        plan: "default", "quick", "report", "ablations", "cross-corpus", "paper", or a YAML file; by default "paper"
            for a corpus, else "default".
        seeds: Number of training seeds; by default the plan's.
        task: emotion or gender; by default emotion, and for a corpus both, unless --labels or --classes are given.
        labels: Label map, by name or as file.toml:name; if omitted, labels stay as they are.
        classes: Classes to bench, such as anger,happiness,neutral,sadness; clips of other classes are omitted.
        peer: NAME[=WEIGHTS] of a finished classifier of another package to score beside the heads (see docs/peers.md);
            repeat for several.
        send_audio_to: The hosted peer to which every test clip may be sent, or NAME=URL.
        k: Number of folds of kfold-speaker and random.
        incomplete: Continue if clips of the EmoBox lists or of a corpus are missing; the protocol's name then ends in
            "incomplete".
        jobs: Number of processes, each with one thread.
        device: "cpu", a GPU such as "cuda" or "cuda:1", or "auto": the GPU if there is one, else the CPU.
        store: Folder of the feature store.
        output: Folder for the runs and the report.
        title: Headline of the report; the names of the protocols if omitted.
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
        from genser.bench.estimate import estimate
        from genser.bench.plan import load_plan
        from genser.bench.runner import BenchSettings, run_bench
        from genser.data.corpora import CORPORA
        from genser.data.splits import PROTOCOLS
        from genser.encoders import named_encoder
        from genser.inference.load import found_device
        from genser.metrics.bootstrap import Resampling
        from genser.report.bench import report_bench, score_lines
        from genser.report.document import check_formats

        check_formats()
        resampling = Resampling(resamples)
        if not report_only:
            if protocol is None or not manifests:
                raise ConfigError(
                    f"Name a protocol ({', '.join(PROTOCOLS)}) or a corpus, and its manifests or its folder, or give "
                    "--report-only."
                )
            encoders = [named_encoder(name, revision=revision) for name in encoder or ()] or [None]
            named_plan = plan or ("paper" if protocol in CORPORA else "default")
            plans = [load_plan(named_plan, _settings(setting or []), encoder=one, seeds=seeds) for one in encoders]
            device, chosen = found_device(device), _peers(peer or (), send_audio_to)
            named = tuple(name.strip() for name in (classes or "").split(",") if name.strip())
            of_clips = protocol, manifests, output, store, task or "emotion", labels, named
            data = BenchSettings(*of_clips, k, incomplete, jobs, device, chosen)
            benches = [data]
            if protocol in CORPORA:
                benches = _of_corpus(data, task)
                for cost in estimate(benches, plans):
                    notes(f"genser: {cost}")
            with progress_bars() as bars:
                problems = tuple(dict.fromkeys(line for one in benches for line in run_bench(one, plans, bars)))
        result, written = report_bench(output, title=title, resampling=resampling)
    for line in (*problems, *score_lines(result), *map(str, written)):
        note(line)
    return 1 if problems else 0


def _of_corpus(given: "BenchSettings", task: str | None) -> list["BenchSettings"]:
    """The benches on the official split of a corpus, whose manifest is written into the folder of the bench.

    Args:
        given: With the corpus as its protocol, and the folder of the corpus as its manifest.
        task: The task; None for emotion and gender.
    """
    from genser.data.corpora import prepare
    from genser.data.manifest import write_manifest

    corpus, folders = given.protocol, given.manifests
    if len(folders) != 1:
        raise ConfigError(f"Name one folder, that of the whole corpus: genser bench {corpus} FOLDER.")
    report = prepare(corpus, folders[0])
    for problem in report.problems:
        note(problem)
    if report.missing and not given.incomplete:
        lacking = counted(len(report.missing), "clip or table is", "clips and tables are")
        raise ManifestError(
            f"{folders[0]} is not the whole release: {lacking} missing, such as {report.missing[0]}. Complete it, or "
            "give --incomplete."
        )
    given.folder.mkdir(parents=True, exist_ok=True)
    manifest = given.folder / f"{corpus}.csv"
    write_manifest(report.utterances, manifest)
    genders = {item.gender for item in report.utterances} - {None}
    both = len(genders) > 1 and not given.labels and not given.classes
    tasks = [task] if task else ["emotion", "gender"] if both else ["emotion"]
    found = replace(given, protocol="official", manifests=(manifest,), incomplete=bool(report.missing))
    return [replace(found, task=one) for one in tasks]


def _peers(names: Sequence[str], send_audio_to: str | None) -> "tuple[PeerChoice, ...]":
    """The named peers; says to whom audio is sent."""
    from genser.peers.catalog import PeerChoice

    chosen = tuple(PeerChoice.of(name, send_audio_to) for name in names)
    for one in chosen:
        if one.url:
            note(f"genser: every test clip is sent to {one.url} ({one.name}, {one.weights}).")
    return chosen


def _settings(pairs: list[str]) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise ConfigError(f"--set {pair} has no value. Write --set KEY=VALUE, such as --set optimizer.lr=1e-4.")
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}
