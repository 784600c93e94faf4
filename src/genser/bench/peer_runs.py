"""Peers as entrants of a bench: asked once for every test clip, and stored like the runs of heads."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from genser.bench.protocols import ProtocolData, identifiers
from genser.bench.runs import BenchRun, Cost, Entry, Protocol, RunSpec
from genser.data.labels import LabelMap, classes_of, find_label_map, for_task
from genser.errors import ConfigError
from genser.peers.catalog import PeerChoice
from genser.peers.mapping import ClassMapping
from genser.peers.peer import Peer
from genser.peers.scoring import PeerScores, score_peer
from genser.training.data import Dataset

if TYPE_CHECKING:
    from genser.bench.comparison import Progress


@dataclass
class Peers:
    """The peers of a bench.

    Attributes:
        choices: The chosen peers.
        task: Task of the bench.
        labels: Label map of the bench.
        folder: Folder of the bench; answers are kept in it.
        device: Where peers run.
    """

    choices: Sequence[PeerChoice]
    task: str
    labels: str | None
    folder: Path
    device: str
    _loaded: dict[tuple[PeerChoice, tuple[str, ...]], Peer] = field(default_factory=dict)
    _finished: set[Protocol] = field(default_factory=set)

    def check(self, data: ProtocolData) -> None:
        """Load the peers, and refuse those that do not know every class, before anything is trained.

        Raises:
            ConfigError: A peer lacks a class, so its scores would be over other classes than those beside it; or the
                protocol holds out corpora, where every entrant is also adapted.
        """
        if self.choices and data.protocol.holds_out_corpora:
            raise ConfigError("Peers cannot be adapted, so they are no entrants of loco. Choose another protocol.")
        kept, _ = for_task(data.utterances, self.task, self._label_map)
        classes = classes_of(kept, self._label_map)
        for choice in self.choices:
            mapping = ClassMapping.of(self._peer(choice, classes).classes, classes, self._label_map)
            if mapping.missing:
                known = ",".join(name for name in classes if name not in mapping.missing)
                raise ConfigError(
                    f"The peer {choice.name!r} has no class for {', '.join(mapping.missing)}, so its scores cannot "
                    f"stand beside those of {data.protocol.title}. Bench all systems with --classes {known}."
                )

    def run(self, data: ProtocolData, dataset: Dataset, report: "Progress") -> list[str]:
        """Ask every peer for the test clips of a protocol, and store one run per fold; only the first time.

        Args:
            data: The protocol.
            dataset: Its labelled utterances; those that could not be read are no test clips of any entrant.
            report: See :data:`genser.bench.comparison.Progress`.

        Returns:
            One sentence for each clip that failed.
        """
        if data.protocol in self._finished:
            return []
        self._finished.add(data.protocol)
        folds, names, problems = data.folds_of(dataset.utterances), identifiers(dataset.utterances), []
        keys = [item.speaker_key for item in dataset.utterances]
        speakers = None if None in keys else np.array(["/".join(filter(None, key)) for key in keys if key])
        tested = np.unique(np.concatenate([fold.test for fold in folds]))
        for choice in self.choices:
            peer = self._peer(choice, dataset.classes)
            progress = partial(report, f"{data.protocol.name}: {choice.name}")
            utterances, started = [dataset.utterances[index] for index in tested], time.perf_counter()
            scores = score_peer(
                peer, utterances, dataset.classes, self._label_map, folder=self.folder / "answers", progress=progress
            )
            seconds = (time.perf_counter() - started) / len(tested)
            runs = []
            for fold in folds:
                settings = {"peer": asdict(peer.info), "classes": str(scores.mapping), "scores": peer.gives_scores}
                spec = RunSpec(data.protocol, fold.name, choice.name, peer.info.library, 0, settings=settings)
                rows = scores.probabilities[np.searchsorted(tested, fold.test)]
                of_test = None if speakers is None else speakers[fold.test]
                cost = Cost(0, 0.0, seconds * len(fold.test), self.device)
                labels = dataset.labels[fold.test]
                runs.append(BenchRun(spec, dataset.classes, names[fold.test], labels, rows, cost, of_test))
            files = tuple(run.save(self.folder / "runs").name for run in runs)
            Entry(data.protocol.name, f"peer {choice.name}", files, notes=_notes(scores)).save(self.folder)
            problems += scores.problems
        return problems

    def _peer(self, choice: PeerChoice, classes: tuple[str, ...]) -> Peer:
        if (choice, classes) not in self._loaded:
            self._loaded[choice, classes] = choice.load(self.task, classes, self.device)
        return self._loaded[choice, classes]

    @property
    def _label_map(self) -> LabelMap | None:
        return find_label_map(self.labels) if self.labels else None


def _notes(scores: PeerScores) -> tuple[str, ...]:
    facts = "; ".join(f"{name}: {value}" for name, value in scores.about().items() if name != "peer")
    words = f"{scores.info.name} is a peer, asked from audio, so its time includes reading and encoding. {facts}."
    return (words, *scores.warnings())
