"""Run a bench: folds × heads × seeds over stored features, resumable, with one process per core.

For every plan, pooling and protocol, :func:`run_bench` encodes the clips, and runs a
:class:`genser.bench.comparison.Bench` on their features.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import product
from pathlib import Path

from genser.bench.comparison import Bench, Progress, with_components
from genser.bench.peer_runs import Peers
from genser.bench.plan import BenchPlan
from genser.bench.protocols import ProtocolData, divide
from genser.data.file_hasher import HASHES, FileHasher
from genser.data.manifest import read_manifest
from genser.data.splits import Fold
from genser.data.text import printable
from genser.encoders import EncoderConfig, SpeechEncoder, load_encoder
from genser.errors import ConfigError
from genser.peers.catalog import PeerChoice
from genser.training.checks import check_classes
from genser.training.clips import Clips
from genser.training.data import Dataset, build_dataset, labelled
from genser.training.lora import adaptable, adapted_encoder

Load = Callable[[EncoderConfig], SpeechEncoder]
LOGGER = logging.getLogger("genser.bench")


@dataclass(frozen=True)
class BenchSettings:
    """The data of a bench, and where it runs.

    Attributes:
        protocol: One of :data:`genser.data.splits.PROTOCOLS`.
        manifests: Manifests in CSV, JSON lines or Parquet; their utterances are combined.
        folder: Folder of candidates, runs and report.
        store: Folder of the feature store.
        task: ``"emotion"`` or ``"gender"``.
        labels: Label map, by name or as ``file.toml:name``.
        classes: Classes to bench; clips of other classes have none. Empty means all.
        k: Number of folds of ``kfold-speaker`` and ``random``.
        incomplete: Continue if clips of the official release are missing.
        jobs: Number of processes.
        device: Device of encoding and training.
        peers: Finished classifiers of other packages that are scored beside the heads.

    Raises:
        ConfigError: ``jobs`` is less than 1.
    """

    protocol: str
    manifests: tuple[Path, ...]
    folder: Path
    store: Path
    task: str = "emotion"
    labels: str | None = None
    classes: tuple[str, ...] = ()
    k: int = 5
    incomplete: bool = False
    jobs: int = 1
    device: str = "cpu"
    peers: tuple[PeerChoice, ...] = ()

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ConfigError(f"jobs must be at least 1, got {self.jobs}.")


def run_bench(
    settings: BenchSettings, plans: Sequence[BenchPlan], report: Progress = lambda *_: None
) -> tuple[str, ...]:
    """Encode, select settings, train, and store every run that is not finished yet.

    Args:
        settings: The data, and where to run.
        plans: The comparison, one plan for each encoder.
        report: See :data:`genser.bench.comparison.Progress`.

    Returns:
        One sentence for each utterance whose features could not be computed.

    Raises:
        GenserError: Manifests, protocol, plan and encoder do not fit together.
    """
    divided = divide(
        [item for path in settings.manifests for item in read_manifest(path)],
        settings.protocol,
        task=settings.task,
        labels=settings.labels,
        k=settings.k,
        incomplete=settings.incomplete,
        classes=settings.classes,
    )
    peers = Peers(settings.peers, settings.task, settings.labels, settings.folder, settings.device)
    for data in divided:
        peers.check(data)
        for remark in data.remarks:
            LOGGER.warning("genser: %s", printable(remark))
    load = lru_cache(maxsize=1)(partial(load_encoder, device=settings.device))  # one encoder at a time takes memory
    _check(settings, plans, divided, load)
    problems: list[str] = []
    for plan in plans:
        for pooling_name, config in plan.encoders.items():
            encoder = load(config)
            name = ", ".join(filter(None, (encoder.name, pooling_name)))
            for data in divided:
                entry = None
                for bench in _benches(settings, plan, encoder, name, data, report):
                    entry = bench.run(report, entry)
                    problems += [str(problem) for problem in bench.dataset.problems]
                problems += peers.run(data, bench.dataset, report)
    return tuple(dict.fromkeys(problems))


def _check(settings: BenchSettings, plans: Sequence[BenchPlan], divided: Sequence[ProtocolData], load: Load) -> None:
    """Refuse what would end the bench after hours: too few clips, an encoder or a head that cannot be made.

    Raises:
        GenserError: The bench would end with this error after clips are encoded or heads are trained.
    """
    cases = []
    for data in divided:
        kept, _, classes = labelled(data.utterances, settings.task, settings.labels)
        folds = data.folds_of(kept)
        for fold in folds:
            check_classes([kept[index] for index in fold.train], f"The training side of {fold.name!r}")
        cases.append((classes, max(len(fold.train) for fold in folds)))
    for plan in plans:
        recipes = [plan.config(head, settings, 0) for head in plan.heads for settings in head.candidates]
        for encoder in map(load, plan.encoders.values()):
            if plan.most_copies.adaptation.rank:
                adaptable(encoder)
            for recipe, (classes, rows) in product(recipes, cases):
                with_components(recipe, rows).head_config(classes, encoder.states, encoder.dim)


def _benches(
    settings: BenchSettings, plan: BenchPlan, encoder: SpeechEncoder, name: str, data: ProtocolData, report: Progress
) -> Iterator[Bench]:
    """One bench for all folds, or one per fold if the encoder is adapted to the training side of each fold."""
    recipe, title = plan.most_copies, data.protocol.name

    adapts = bool(recipe.adaptation.rank)
    dataset = build_dataset(
        data.utterances,
        encoder,
        str(settings.store),
        task=settings.task,
        labels=settings.labels,
        augmented_copies=0 if adapts else recipe.augmented_copies,
        augmentation=recipe.augmentation,
        progress=partial(report, f"{title}: features"),
    )

    paths = {item.path for item in dataset.utterances}
    hasher = FileHasher(settings.store / HASHES, paths)
    hashes = {path: hasher(path) for path in paths}

    def bench(encoder: SpeechEncoder, name: str, dataset: Dataset, folds: Sequence[Fold]) -> Bench:
        where = (settings.folder, settings.jobs, settings.device)
        return Bench(dataset, folds, data.protocol, plan, name, encoder.fingerprint, *where, data.remarks, hashes)

    if not adapts:
        yield bench(encoder, name, dataset, data.folds_of(dataset.utterances))
        return
    clips = Clips()
    for fold in data.folds_of(dataset.utterances):
        progress = partial(report, f"{title}: adaptation for {fold.name}")
        adapted = adapted_encoder(encoder, dataset, fold.train, recipe, settings.folder / "encoders", progress, clips)
        one = bench(adapted, f"{name}, adapted", dataset, [fold])
        yield one if one.is_finished else replace(one, dataset=clips.dataset(adapted, dataset, fold.train, recipe))
