"""Maps the classes of a peer to those of a corpus, in the open: every own class and what became of it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from genser.data.labels import LabelMap, canonical
from genser.data.utterance import GENDER_NAMES
from genser.errors import ManifestError
from genser.peers.peer import Answer


@dataclass(frozen=True)
class ClassMapping:
    """The class of the corpus for each class of a peer.

    Attributes:
        classes: Classes of the corpus.
        targets: Own class → class of the corpus; None if the corpus has no such class.
    """

    classes: tuple[str, ...]
    targets: Mapping[str, str | None]

    @classmethod
    def of(cls, own: Sequence[str], classes: Sequence[str], label_map: LabelMap | None = None) -> "ClassMapping":
        """Map by name: ``"生气/angry"``, ``"<|ANGRY|>"`` and ``"ang"`` are ``anger``.

        Args:
            own: Classes of the peer.
            classes: Classes of the corpus.
            label_map: Label map of the corpus, which may also merge classes, such as calm with neutral.
        """
        names = {_plain(name): name for name in classes}
        targets: dict[str, str | None] = {}
        for label in own:
            name = _plain(label)
            if label_map is not None and name not in names:
                try:
                    name = _plain(label_map(name) or "")
                except ManifestError:  # the map does not list the label
                    name = ""
            targets[label] = names.get(name)
        return cls(tuple(classes), targets)

    @property
    def missing(self) -> tuple[str, ...]:
        """Classes of the corpus that the peer cannot name."""
        return tuple(name for name in self.classes if name not in self.targets.values())

    def __str__(self) -> str:
        return ", ".join(f"{own} → {target or '(none)'}" for own, target in self.targets.items())

    def probabilities(self, answers: Sequence[Answer]) -> np.ndarray:
        """Scores of answers over the classes of the corpus, (answers, classes).

        Scores of own classes with the same class of the corpus are added, and the sum over all classes of the corpus
        is scaled to 1. An answer without a score for any of them gives a row of NaN, which counts as wrong.
        """
        rows = np.zeros((len(answers), len(self.classes)))
        for row, answer in zip(rows, answers, strict=True):
            for own, score in answer.scores.items():
                target = self.targets.get(own)
                if target is not None:
                    row[self.classes.index(target)] += score
        totals = rows.sum(axis=1, keepdims=True)
        return np.divide(rows, totals, out=np.full_like(rows, np.nan), where=totals > 0)

    def outside(self, answers: Sequence[Answer]) -> int:
        """Number of answers whose best class is one that the corpus does not have."""
        best = [max(answer.scores, key=lambda own: answer.scores[own]) for answer in answers if answer.scores]
        return sum(self.targets.get(own) is None for own in best)


def _plain(label: str) -> str:
    """Canonical name of a label without tags, translations and remarks in brackets."""
    word = re.sub(r"<\||\|>|\(.*\)", "", label).rpartition("/")[2].strip()
    return GENDER_NAMES.get(word.lower(), canonical(word).casefold())
