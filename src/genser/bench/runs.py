"""What a bench measured: one file a run, so that a bench that was stopped goes on where it was.

A run is one head, trained with one seed on one fold of one protocol, with its probabilities for that fold's test
utterances. Everything a report says is computed from these files, never from numbers that a run printed.
"""

import hashlib
import io
import json
import os
import re
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np

from genser.errors import ConfigError, StoreError
from genser.files import atomic_write
from genser.metrics.classification import check_labels
from genser.metrics.evaluate import check_probabilities

_FORMAT = 1
_ARRAYS = ("labels", "probabilities", "utterances", "speakers")


@dataclass(frozen=True)
class Protocol:
    """A test procedure: which corpus, which task, which folds.

    Attributes:
        name: Its name on the command line, such as ``"ravdess-emobox"``.
        corpus: Corpus, such as ``"ravdess"``.
        task: ``"emotion"`` or ``"gender"``.
        family: Whose folds these are: ``"emobox"``, ``"official"``, ``"loso"``, ``"kfold"``, ``"loco"``,
            ``"random"``. Published rows stand beside runs of the same corpus, task and family.
        folds: Number of folds; a seed counts once it has them all.
        speaker_dependent: Whether speakers of the test clips are also trained on; every output says so.
    """

    name: str
    corpus: str
    task: str = "emotion"
    family: str = ""
    folds: int = 1
    speaker_dependent: bool = False

    def __post_init__(self) -> None:
        if self.folds < 1:
            raise ConfigError(f"protocol {self.name!r} needs at least one fold, got {self.folds}")

    @property
    def title(self) -> str:
        """Name as reports print it, marked where the protocol is speaker-dependent."""
        return f"{self.name}, speaker-dependent" if self.speaker_dependent else self.name


@dataclass(frozen=True)
class RunSpec:
    """What identifies a run before it is trained.

    Attributes:
        protocol: The test procedure.
        fold: Which of its folds is the test set, as the protocol names it.
        head: The head that is trained, such as ``"transport"`` or ``"linear"``.
        encoder: Name of the frozen encoder.
        seed: Seed of the training.
        factor: In an ablation, what is varied, such as ``"k"``; empty in the main comparison.
        value: In an ablation, the value it takes.
        settings: Every setting of the head and its training, plain JSON values.
    """

    protocol: Protocol
    fold: str
    head: str
    encoder: str
    seed: int
    factor: str = ""
    value: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """File name of the run: readable, and with a digest of every field, so that other settings never share it."""
        readable = "-".join((self.protocol.name, self.encoder, self.head, self.factor, self.value))
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]
        slug = re.sub(r"[^a-z0-9]+", "-", f"{readable}-fold-{self.fold}-seed-{self.seed}".lower()).strip("-")
        return f"{slug[:120]}-{digest}.npz"


@dataclass(frozen=True)
class Cost:
    """What a run costs.

    Attributes:
        parameters: Parameters of the head.
        train_seconds: Training time from stored features, in seconds.
        predict_seconds: Time of the head for the whole test fold, in seconds.
        device: Where it ran.
    """

    parameters: int
    train_seconds: float
    predict_seconds: float
    device: str = "cpu"


@dataclass(frozen=True)
class BenchRun:
    """A finished run.

    Attributes:
        spec: What identifies it.
        classes: Class names in the order of the columns.
        utterances: Identifier of each test utterance, shape (n,), unique.
        labels: True class indices, shape (n,).
        probabilities: Shape (n, classes); a row of NaN is an utterance that failed.
        cost: What it cost.
        speakers: Speaker of each utterance, shape (n,), or None where unknown.
        steps: N → probabilities (n, classes) with N transport steps; 0 is the direct estimate. Empty for other heads.
    """

    spec: RunSpec
    classes: tuple[str, ...]
    utterances: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    cost: Cost
    speakers: np.ndarray | None = None
    steps: Mapping[int, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        for name in _ARRAYS:
            if getattr(self, name) is not None:
                object.__setattr__(self, name, np.asarray(getattr(self, name)))
        check_labels(self.labels, len(self.classes))
        for probabilities in (self.probabilities, *self.steps.values()):
            check_probabilities(probabilities, (len(self.labels), len(self.classes)))
        if len(set(self.utterances.tolist())) != len(self.labels):
            raise ConfigError(f"run {self.spec.name}: {len(self.labels)} labels need as many different utterances")
        if self.speakers is not None and self.speakers.shape != self.labels.shape:
            raise ConfigError(f"run {self.spec.name}: {len(self.speakers)} speakers for {len(self.labels)} labels")

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the run into `folder` under its own name; the file appears whole or not at all."""
        path = Path(folder) / self.spec.name
        path.parent.mkdir(parents=True, exist_ok=True)
        about = {
            "format": _FORMAT,
            "spec": asdict(self.spec),
            "classes": self.classes,
            "cost": asdict(self.cost),
        }
        arrays = {name: getattr(self, name) for name in _ARRAYS if getattr(self, name) is not None}
        arrays |= {f"steps_{count}": probabilities for count, probabilities in self.steps.items()}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, about=np.array(json.dumps(about)), **arrays)
        atomic_write(path, buffer.getvalue())
        return path


@dataclass(frozen=True)
class BenchResult:
    """Every run of a bench.

    Attributes:
        runs: The runs, in no particular order.
        title: Headline of the report.
        notes: Sentences that the report prints under it: how it was made, what limits it.
    """

    runs: tuple[BenchRun, ...]
    title: str = "Bench"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [run.spec.name for run in self.runs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(f"the same run stands twice in the result: {', '.join(twice)}")


def load_run(path: str | os.PathLike[str]) -> BenchRun:
    """Read a run.

    Raises:
        StoreError: If the file is damaged or no run of a known format.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        about = json.loads(str(arrays.pop("about")))
        if about["format"] != _FORMAT:
            raise StoreError(f"{path} has format {about['format']}, this genser reads {_FORMAT}: run the bench again")
        return _run(about, arrays)
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError, EOFError, ConfigError) as error:
        raise StoreError(
            f"{path} is no bench run or is damaged ({error}): delete it and run the bench again"
        ) from error


def load_result(folder: str | os.PathLike[str], *, title: str = "Bench", notes: tuple[str, ...] = ()) -> BenchResult:
    """Read every run in a folder.

    Raises:
        StoreError: If the folder has none, or one of them is damaged.
    """
    paths = sorted(Path(folder).glob("*.npz"))
    if not paths:
        raise StoreError(f"{folder} holds no bench runs (*.npz): run the bench first")
    return BenchResult(tuple(load_run(path) for path in paths), title, notes)


def _run(about: Mapping[str, object], arrays: dict[str, np.ndarray]) -> BenchRun:
    spec = dict(about["spec"])
    protocol = _known(Protocol, spec.pop("protocol"))
    steps = {int(name.removeprefix("steps_")): arrays[name] for name in arrays if name.startswith("steps_")}
    named = {name: arrays[name] for name in _ARRAYS if name in arrays}
    return BenchRun(
        spec=_known(RunSpec, {"protocol": protocol, **spec}),
        classes=tuple(about["classes"]),
        cost=_known(Cost, about["cost"]),
        steps=dict(sorted(steps.items())),
        **named,
    )


def _known(kind: type, values: Mapping[str, object]) -> object:
    unknown = set(values) - {one.name for one in fields(kind)}
    if unknown:
        raise ValueError(f"unknown fields {', '.join(sorted(unknown))} of {kind.__name__}")
    return kind(**values)
