"""Answers of a peer for many clips, kept in a file so that a run that was stopped continues, and their scores."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np

from genser.audio import load_audio
from genser.data.labels import LabelMap
from genser.data.utterance import Utterance
from genser.errors import reason
from genser.files import file_hash
from genser.inference.windows import LONGEST, cut, window_weights
from genser.peers.mapping import ClassMapping
from genser.peers.peer import Answer, Peer, PeerInfo


@dataclass(frozen=True)
class PeerScores:
    """Scores of a peer over the classes of a corpus.

    Attributes:
        info: Where the peer comes from.
        mapping: Its classes and those of the corpus.
        probabilities: Shape (n, classes); a row of NaN is an utterance without an answer.
        gives_scores: Whether they are probabilities of the peer; else its decision has 1.
        unread: Number of answers that name no class, or several.
        outside: Number of answers whose best class is one that the corpus does not have.
        problems: One sentence for each utterance that failed.
    """

    info: PeerInfo
    mapping: ClassMapping
    probabilities: np.ndarray
    gives_scores: bool
    unread: int
    outside: int
    problems: tuple[str, ...]

    def about(self) -> dict[str, str]:
        """What a reader must know of the system, as rows of a table."""
        facts = {
            "peer": self.info.name,
            "library": self.info.library,
            "weights": self.info.weights,
            "licence of the weights": self.info.licence,
            "prompt": self.info.prompt,
            "sound was sent to": self.info.sends_to,
            "classes": str(self.mapping),
            "answers without a class": str(self.unread),
            "answers of a class that the corpus lacks": str(self.outside),
            "utterances that failed": str(len(self.problems)),
        }
        return {name: value for name, value in facts.items() if value}

    def warnings(self) -> list[str]:
        """Limits of the comparison."""
        found = [
            f"{self.info.name} was trained elsewhere; whether on these clips or speakers, only its makers can say.",
        ]
        if self.mapping.missing:
            known = ",".join(name for name in self.mapping.classes if name not in self.mapping.missing)
            found.append(
                f"{self.info.name} has no class for {', '.join(self.mapping.missing)}: these clips count as wrong. "
                f"To compare systems on the classes that all have, give each --classes {known}."
            )
        return found


def score_peer(
    peer: Peer,
    utterances: Sequence[Utterance],
    classes: Sequence[str],
    label_map: LabelMap | None = None,
    *,
    folder: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> PeerScores:
    """Ask a peer for every utterance.

    A clip over 30 s is cut into windows of 10 s, whose scores are averaged.

    Args:
        peer: The peer.
        utterances: The clips.
        classes: Classes of the corpus.
        label_map: Label map of the corpus.
        folder: Folder for the file of its answers, in which those of an earlier run are found, unless the audio has
            changed since; None keeps none.
        progress: Called with the number of finished utterances and of all.
    """
    answers, problems, hash_of = [], [], cache(file_hash)
    with AnswerFile.open(folder, peer.info) as file:
        for done, item in enumerate(utterances, 1):
            answer = None
            try:
                digest = hash_of(item.path) if folder is not None and Path(item.path).is_file() else None
                answer = file.find(item.key, digest)
                if answer is None:
                    answer = _answer(peer, item)
                    file.add(item.key, digest, answer)
            except Exception as error:  # what another package raises for a clip must not stop the others
                problems.append(f"{item.key}: {reason(error)}")
            answers.append(answer)
            progress(done, len(utterances))
    given = [answer for answer in answers if answer is not None]
    mapping = ClassMapping.of(peer.classes, classes, label_map)
    return PeerScores(
        peer.info,
        mapping,
        mapping.probabilities([answer or Answer() for answer in answers]),
        peer.gives_scores,
        unread=sum(not answer.scores for answer in given),
        outside=mapping.outside(given),
        problems=tuple(problems),
    )


def _answer(peer: Peer, item: Utterance) -> Answer:
    windows = cut(load_audio(item.path, start=item.start, end=item.end), LONGEST)
    parts = [peer(window) for window in windows]
    if len(parts) == 1:
        return parts[0]
    weights = window_weights([len(window) for window in windows])
    scores: dict[str, float] = {}
    for part, weight in zip(parts, weights.tolist(), strict=True):
        for name, score in part.scores.items():
            scores[name] = scores.get(name, 0.0) + weight * score
    return Answer(scores, " | ".join(filter(None, (part.text for part in parts))))


class AnswerFile:
    """Answers of one peer as JSON lines, which also show what a prompted system said.

    Args:
        path: The file; None keeps nothing.
        answers: Key of an utterance and SHA-256 of its audio file → answer of an earlier run. The SHA-256 is None in
            files that were written without it.
    """

    def __init__(self, path: Path | None, answers: dict[tuple[str, str | None], Answer]) -> None:
        self.path, self._answers = path, answers
        self._file = None

    @classmethod
    def open(cls, folder: str | os.PathLike[str] | None, info: PeerInfo) -> "AnswerFile":
        """The file of a peer in a folder; another prompt, version or weights have another file."""
        if folder is None:
            return cls(None, {})
        digest = hashlib.sha256(json.dumps(asdict(info), sort_keys=True).encode()).hexdigest()[:12]
        path = Path(folder, f"{info.name}-{digest}.jsonl")
        return cls(path, dict(_read(path)) if path.exists() else {})

    def find(self, key: str, digest: str | None) -> Answer | None:
        """The answer of an earlier run for a clip whose audio file has this SHA-256; None if there is none."""
        return self._answers.get((key, digest), self._answers.get((key, None)))

    def add(self, key: str, digest: str | None, answer: Answer) -> None:
        """Append an answer, so that it outlives this process."""
        if self._file is not None:
            line = {"clip": key, "file": digest, "scores": dict(answer.scores), "text": answer.text}
            self._file.write(json.dumps(line) + "\n")  # ASCII: an answer may hold half a character
            self._file.flush()

    def __enter__(self) -> "AnswerFile":
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            is_cut = self.path.exists() and not self.path.read_bytes().endswith(b"\n")
            self._file = self.path.open("a", encoding="utf-8")
            self._file.write("\n" * is_cut)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def _read(path: Path) -> Iterable[tuple[tuple[str, str | None], Answer]]:
    for line in path.read_text("utf-8", errors="replace").split("\n"):
        with suppress(ValueError, TypeError, KeyError, RecursionError):  # a line that a stop or a full disk has torn
            entry = json.loads(line)
            yield (
                (str(entry["clip"]), entry.get("file") and str(entry["file"])),
                Answer({**entry["scores"]}, entry["text"]),
            )
