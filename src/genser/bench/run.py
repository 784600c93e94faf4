"""A whole bench: manifests in, a report out."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from genser.bench.folder import Entry, joined
from genser.bench.plan import BenchPlan
from genser.bench.protocols import ProtocolData, arenas
from genser.bench.runner import Bench
from genser.config import build
from genser.data.manifest import read_manifest
from genser.data.utterance import Utterance
from genser.encoders import KINDS, EncoderConfig, Pooling, SpeechEncoder, load_encoder
from genser.training.data import Dataset, build_dataset
from genser.training.lora import adapted_encoder
from genser.training.recipe import TrainConfig

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class BenchSettings:
    """What is run besides the plan.

    Attributes:
        protocol: One of :data:`genser.data.splits.PROTOCOLS`.
        manifests: CSV, JSON lines or Parquet; their utterances are put together.
        encoders: Encoders; their pooling is the plan's. None means the recipe's.
        folder: Where candidates, runs and the report are kept.
        store: Folder of the feature store.
        task: ``"emotion"`` or ``"gender"``.
        labels: Label map, by name or as ``file.toml:name``.
        k: Number of folds of ``kfold-speaker`` and ``random``.
        incomplete: Go on although clips of EmoBox's lists are not there.
        jobs: Processes at a time.
        device: Where to encode and to train.
    """

    protocol: str
    manifests: tuple[Path, ...]
    encoders: tuple[EncoderConfig, ...]
    folder: Path
    store: Path
    task: str = "emotion"
    labels: str | None = None
    k: int = 5
    incomplete: bool = False
    jobs: int = 1
    device: str = "cpu"


def run_bench(settings: BenchSettings, plan: BenchPlan, progress: Progress | None = None) -> tuple[str, ...]:
    """Encode what is not stored, choose, train and keep every run that is not on disk yet.

    Args:
        settings: On what.
        plan: What is compared.
        progress: See :data:`genser.bench.runner.Progress`.

    Returns:
        One sentence for each utterance whose features could not be computed.

    Raises:
        GenserError: If manifests, protocol, plan or encoder do not fit.
    """
    found = arenas(
        [item for path in settings.manifests for item in read_manifest(path)],
        settings.protocol,
        task=settings.task,
        labels=settings.labels,
        k=settings.k,
        incomplete=settings.incomplete,
    )
    problems: list[str] = []
    for config in settings.encoders or (build(EncoderConfig, plan.recipe["encoder"], "recipe"),):
        fitting = _fitting(plan, config)
        for name, pooling in fitting.poolings.items():
            for arena in found:
                pooled = replace(config, pooling=pooling)
                problems += _run(settings, fitting, pooled, name, arena, progress or (lambda *_: None))
    return tuple(dict.fromkeys(problems))


def _run(
    settings: BenchSettings, plan: BenchPlan, config: EncoderConfig, pooling: str, arena: ProtocolData, tell: Progress
) -> Sequence[str]:
    encoder = load_encoder(config, settings.device)
    name = ", ".join(filter(None, (encoder.name, pooling)))
    if not plan.copies.adaptation.rank:
        bench = _bench(settings, plan, encoder, name, arena, tell)
        bench.run(tell)
        return [str(problem) for problem in bench.dataset.problems]
    problems: list[str] = []
    noted: list[Entry] = []
    for bench in _adapted_benches(settings, plan, encoder, name, arena, tell):
        noted.append(bench.run(tell))
        joined(noted).note(settings.folder)
        problems += [str(problem) for problem in bench.dataset.problems]
    return problems


def _adapted_benches(
    settings: BenchSettings, plan: BenchPlan, encoder: SpeechEncoder, name: str, arena: ProtocolData, tell: Progress
) -> Iterator[Bench]:
    """A bench a fold, each over features of an encoder that was adapted to this fold's training side alone."""
    frozen = _features(settings, plan.copies.without_augmentation(), encoder, arena, tell)
    for fold in arena.folds_of(frozen.utterances):
        told = partial(tell, f"{arena.protocol.name}: adaptation for {fold.name}")
        folder = settings.folder / "encoders"
        adapted = adapted_encoder(encoder, frozen, fold.train, plan.copies, folder, told)
        learned_from = [frozen.utterances[place] for place in fold.train]
        bench = _bench(settings, plan, adapted, f"{name}, adapted", arena, tell, learned_from)
        yield replace(bench, folds=[one for one in bench.folds if one.name == fold.name])


def _bench(
    settings: BenchSettings,
    plan: BenchPlan,
    encoder: SpeechEncoder,
    name: str,
    arena: ProtocolData,
    tell: Progress,
    copied: Sequence[Utterance] | None = None,
) -> Bench:
    dataset = _features(settings, plan.copies, encoder, arena, tell, copied)
    folds, jobs = arena.folds_of(dataset.utterances), settings.jobs
    return Bench(
        dataset, folds, arena.protocol, plan, name, encoder.fingerprint, settings.folder, jobs, settings.device
    )


def _features(
    settings: BenchSettings,
    copies: TrainConfig,
    encoder: SpeechEncoder,
    arena: ProtocolData,
    tell: Progress,
    copied: Sequence[Utterance] | None = None,
) -> Dataset:
    return build_dataset(
        arena.utterances,
        encoder,
        str(settings.store),
        task=settings.task,
        labels=settings.labels,
        augmented_copies=copies.augmented_copies,
        augmentation=copies.augmentation,
        copied=copied,
        progress=partial(tell, f"{arena.protocol.name}: features"),
    )


def _fitting(plan: BenchPlan, config: EncoderConfig) -> BenchPlan:
    """The plan as it fits an encoder: filter banks have one small state and nothing to pool, to reduce or to adapt."""
    if KINDS[config.kind].layers:
        return plan
    return (
        replace(plan, poolings={"": Pooling()}).changed("feature_transform.components", 0).changed("adaptation.rank", 0)
    )
