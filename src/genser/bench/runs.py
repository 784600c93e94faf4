"""The files of a bench: one per finished run, and an index of the runs that belong to the bench.

::

    bench.json          the runs, traces and notes of the plan as it was last started
    candidates/         UA of every candidate on held-out training speakers
    runs/               one file per run
    traces/             states along the transport, for Figure 1
    report.json …       the report

A run is one head, trained with one seed on one fold of one protocol, with its probabilities for the test utterances of
that fold. Every number of a report is computed from these files, so a stopped bench continues where it was. A folder
may hold several protocols and encoders, run one after the other; the report covers them all.
"""

import hashlib
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from genser._version import __version__
from genser.config import build
from genser.errors import ConfigError, StoreError
from genser.files import atomic_write
from genser.metrics.classification import check_labels
from genser.metrics.evaluate import check_probabilities

INDEX = "bench.json"
_FORMAT = 1
ADAPTATIONS = ("collection", "speaker")
"""Adaptations of a held-out corpus: all its clips as one collection, or each speaker by itself within it."""

_ARRAYS = ("labels", "probabilities", "utterances", "speakers")


@dataclass(frozen=True)
class Protocol:
    """An evaluation protocol: corpus, task and folds.

    Attributes:
        name: Its name in the report, such as ``"ravdess-emobox"``.
        corpus: Corpus, such as ``"ravdess"``.
        task: ``"emotion"`` or ``"gender"``.
        family: Kind of folds: ``"emobox"``, ``"official"``, ``"loso"``, ``"kfold"``, ``"loco"`` or ``"random"``.
            Published rows of the same corpus, task and family are printed beside the runs.
        folds: Number of folds; a seed counts once it has all of them.
        speaker_dependent: Whether test speakers are also training speakers; every output reports it.

    Raises:
        ConfigError: The protocol has no fold.
    """

    name: str
    corpus: str
    task: str = "emotion"
    family: str = ""
    folds: int = 1
    speaker_dependent: bool = False

    def __post_init__(self) -> None:
        if self.folds < 1:
            raise ConfigError(f"Protocol {self.name!r} needs at least one fold, got {self.folds}.")

    @property
    def holds_out_corpora(self) -> bool:
        """Whether every fold tests a corpus that is not trained on; its runs also have adapted predictions."""
        return self.family.split(",")[0] == "loco"

    @property
    def title(self) -> str:
        """Name as reports print it, marked if the protocol is speaker-dependent."""
        return f"{self.name}, speaker-dependent" if self.speaker_dependent else self.name


@dataclass(frozen=True)
class RunSpec:
    """The settings that identify a run.

    Attributes:
        protocol: The evaluation protocol.
        fold: Name of the fold whose test side is scored.
        head: Name of the head in the plan, such as ``"transport"`` or ``"linear"``.
        encoder: Name of the frozen encoder.
        seed: Seed of the training.
        factor: In an ablation, the varied setting, such as ``"k"``; empty in the main comparison.
        value: In an ablation, its value.
        settings: Every setting of the head and its training, plain JSON values.
    """

    protocol: Protocol
    fold: str
    head: str
    encoder: str
    seed: int
    factor: str = ""
    value: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """File name of the run: readable, with a digest of every field, so other settings never share it."""
        readable = "-".join((self.protocol.name, self.encoder, self.head, self.factor, self.value))
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]
        slug = re.sub(r"[^a-z0-9]+", "-", f"{readable}-fold-{self.fold}-seed-{self.seed}".lower()).strip("-")
        return f"{slug[:120]}-{digest}.npz"


@dataclass(frozen=True)
class Cost:
    """Cost of a run.

    Attributes:
        parameters: Parameters of the head.
        train_seconds: Training time from stored features, in seconds.
        predict_seconds: Time of the head for the whole test fold, in seconds.
        device: Device of the training.
    """

    parameters: int
    train_seconds: float
    predict_seconds: float
    device: str = "cpu"


@dataclass(frozen=True)
class BenchRun:
    """A finished run.

    Attributes:
        spec: The settings that identify it.
        classes: Class names in the order of the columns.
        utterances: Identifier of each test utterance, shape (n,), unique.
        labels: True class indices, shape (n,).
        probabilities: Shape (n, classes); a row of NaN is an utterance that failed.
        cost: Its cost.
        speakers: Speaker of each utterance, shape (n,), or None if unknown.
        steps: N → probabilities (n, classes) with N transport steps; 0 is the direct estimate. Empty for other heads.
        adapted: Each of :data:`ADAPTATIONS` → probabilities (n, classes) of the adapted features. Empty unless the
            protocol holds out corpora.
        version: Version of genser that made it; empty if the file of the run does not say.

    Raises:
        ConfigError: Shapes differ, an index is out of range, or an utterance is repeated.
    """

    spec: RunSpec
    classes: tuple[str, ...]
    utterances: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    cost: Cost
    speakers: np.ndarray | None = None
    steps: Mapping[int, np.ndarray] = field(default_factory=dict)
    adapted: Mapping[str, np.ndarray] = field(default_factory=dict)
    version: str = __version__

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        for name in _ARRAYS:
            if getattr(self, name) is not None:
                object.__setattr__(self, name, np.asarray(getattr(self, name)))
        check_labels(self.labels, len(self.classes))
        for probabilities in (self.probabilities, *self.steps.values(), *self.adapted.values()):
            check_probabilities(probabilities, (len(self.labels), len(self.classes)))
        if len(set(self.utterances.tolist())) != len(self.labels):
            raise ConfigError(f"Run {self.spec.name}: {len(self.labels)} labels need as many different utterances.")
        if self.speakers is not None and self.speakers.shape != self.labels.shape:
            raise ConfigError(f"Run {self.spec.name}: {len(self.speakers)} speakers for {len(self.labels)} labels.")

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the run into `folder` under its own name, in one step."""
        path = Path(folder) / self.spec.name
        path.parent.mkdir(parents=True, exist_ok=True)
        about = {
            "format": _FORMAT,
            "version": self.version,
            "spec": asdict(self.spec),
            "classes": self.classes,
            "cost": asdict(self.cost),
        }
        arrays = {name: getattr(self, name) for name in _ARRAYS if getattr(self, name) is not None}
        arrays |= {f"steps_{count}": probabilities for count, probabilities in self.steps.items()}
        arrays |= {f"adapted_{name}": probabilities for name, probabilities in self.adapted.items()}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, about=np.array(json.dumps(about)), **arrays)
        atomic_write(path, buffer.getvalue())
        return path


def load_run(path: str | os.PathLike[str]) -> BenchRun:
    """Read a run.

    Raises:
        StoreError: The file is damaged or is not a run of a known format.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        about = json.loads(str(arrays.pop("about")))
        if about["format"] != _FORMAT:
            raise ValueError(f"its format is {about['format']}, this genser reads {_FORMAT}")
        spec: dict[str, Any] = {**about["spec"], "protocol": build(Protocol, about["spec"]["protocol"], str(path))}
        steps = {int(name.removeprefix("steps_")): name for name in arrays if name.startswith("steps_")}
        return BenchRun(
            spec=RunSpec(**spec),
            classes=tuple(about["classes"]),
            cost=build(Cost, about["cost"], str(path)),
            version=about.get("version", ""),
            steps={count: arrays[name] for count, name in sorted(steps.items())},
            adapted={name: arrays[f"adapted_{name}"] for name in ADAPTATIONS if f"adapted_{name}" in arrays},
            **{name: arrays[name] for name in _ARRAYS if name in arrays},
        )
    except Exception as error:  # damaged bytes make NumPy and zipfile raise many kinds of errors
        raise StoreError(
            f"{path} is not a bench run or is damaged ({error}). Delete it and run the bench again."
        ) from error


@dataclass(frozen=True)
class BenchResult:
    """Every run of a bench.

    Attributes:
        runs: The runs, in any order.
        title: Headline of the report.
        notes: Sentences that the report prints under it: how it was made, and its limits.

    Raises:
        ConfigError: A run occurs twice.
    """

    runs: tuple[BenchRun, ...]
    title: str = "Bench"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [run.spec.name for run in self.runs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(f"The same run occurs twice in the result: {', '.join(twice)}.")


@dataclass(frozen=True)
class Entry:
    """The part of a bench on one protocol with one encoder.

    Attributes:
        protocol: Name of the protocol.
        encoder: Name of the encoder.
        runs: File names of all its runs, finished or not.
        traces: File name → title of its traces.
        notes: Sentences for the report.
    """

    protocol: str
    encoder: str
    runs: tuple[str, ...]
    traces: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def extended(self, other: "Entry") -> "Entry":
        """This entry with the runs of another one, for folds that are run one after the other."""
        return replace(
            self,
            runs=self.runs + other.runs,
            traces={**self.traces, **other.traces},
            notes=tuple(dict.fromkeys(self.notes + other.notes)),
        )

    def save(self, folder: Path) -> None:
        """Enter it into the index of the folder, in place of an earlier one of the same protocol and encoder."""
        others = [one for one in entries(folder) if (one.protocol, one.encoder) != (self.protocol, self.encoder)]
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps([asdict(one) for one in (*others, self)], indent=1, ensure_ascii=False)
        atomic_write(folder / INDEX, text.encode())


def entries(folder: str | os.PathLike[str]) -> list[Entry]:
    """The entries of a folder's index; none if there is no index.

    Raises:
        StoreError: The index is damaged.
    """
    path = Path(folder) / INDEX
    if not path.exists():
        return []
    try:
        found: Sequence[dict] = json.loads(path.read_text("utf-8"))
        return [Entry(**one | {"runs": tuple(one["runs"]), "notes": tuple(one["notes"])}) for one in found]
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(
            f"{path} is not the index of a bench ({error}). Delete it and run the bench again; finished runs are kept."
        ) from error


def bench_result(folder: str | os.PathLike[str], *, title: str = "", notes: tuple[str, ...] = ()) -> BenchResult:
    """Read every finished run that belongs to the bench.

    Raises:
        StoreError: No run is finished, or a file is damaged.
    """
    known = entries(folder)
    paths = [Path(folder, "runs", name) for entry in known for name in entry.runs]
    finished = [path for path in paths if path.exists()]
    if not finished:
        raise StoreError(f"{folder} holds no finished runs of a bench. Run the bench first.")
    runs = tuple(load_run(path) for path in finished)
    notes += tuple(dict.fromkeys(note for entry in known for note in entry.notes))
    if len(finished) < len(paths):
        notes += (f"Unfinished: {len(paths) - len(finished)} of {len(paths)} runs are missing.",)
    protocols = dict.fromkeys(run.spec.protocol.title for run in runs)
    return BenchResult(runs, title or f"Bench: {', '.join(protocols)}", notes)
