"""What a corpus reader finds: utterances, what does not fit, and what is absent."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from genser.audio.endings import AUDIO_ENDINGS, LOSSY_ENDINGS, VIDEO_ENDINGS
from genser.data.utterance import Utterance
from genser.errors import ManifestError


@dataclass(frozen=True)
class Problem:
    """One file that does not fit.

    Args:
        path: The file.
        reason: What is wrong with it, and whether its utterance was kept.
    """

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class CorpusReport:
    """The result of reading a corpus folder.

    Args:
        utterances: What can be used, in the order of the paths.
        problems: Files that do not fit, or that need a remark, one by one.
        missing: What the official release has and the folder has not.
    """

    utterances: tuple[Utterance, ...]
    problems: tuple[Problem, ...] = ()
    missing: tuple[str, ...] = ()

    def summary(self) -> str:
        """One line for people: utterances, speakers, labels, problems and what is missing."""
        speakers = {item.speaker_key for item in self.utterances if item.speaker}
        labels = {item.label for item in self.utterances if item.label}
        return (
            f"{len(self.utterances)} utterances, {len(speakers)} speakers, {len(labels)} labels; "
            f"{len(self.problems)} files with a remark, {len(self.missing)} missing"
        )


def sound_files(root: Path) -> list[Path]:
    """Files whose ending is of sound or film: lossless before lossy before film, by path; links are followed once.

    Raises:
        ManifestError: A folder cannot be read.
    """
    found: list[Path] = []
    visited: set[tuple[int, int]] = set()
    for folder, below, names in os.walk(root, onerror=_refuse, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in visited:
            below.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        found += [Path(folder, name) for name in names if name[name.rfind(".") :].lower() in AUDIO_ENDINGS]
    return sorted(found, key=lambda path: (_rank(path.suffix.lower()), path))


def _refuse(error: OSError) -> None:
    raise ManifestError(f"the folder {error.filename} cannot be read: {error.strerror}") from error


def _rank(ending: str) -> int:
    return (ending in LOSSY_ENDINGS) + 2 * (ending in VIDEO_ENDINGS)


def genders(*, female: str = "", male: str = "") -> dict[str, str]:
    """Table from speaker to gender; the speakers are words of two texts."""
    return dict.fromkeys(female.split(), "female") | dict.fromkeys(male.split(), "male")


class Collector:
    """Gathers the utterances and problems of one corpus while its files are read."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.utterances: dict[str, Utterance] = {}
        self.problems: list[Problem] = []

    def add(self, clip: str, utterance: Utterance) -> None:
        """Keep an utterance under the official name of its clip; a second file of that name is a problem."""
        first = self.utterances.setdefault(clip, utterance)
        if first is not utterance:
            self.problem(utterance.path, f"is the clip {clip} again, left out; kept is {self._short(first.path)}")

    def problem(self, path: str | Path, reason: str) -> None:
        """Report a file that does not fit."""
        self.problems.append(Problem(str(path), reason))

    def report(self, missing: Iterable[str] = ()) -> CorpusReport:
        """Close the collection: same bytes under two names become remarks."""
        for copy, first in same_bytes([Path(item.path) for item in self.utterances.values()]):
            self.problem(copy, f"holds the same bytes as {self._short(first)}; both are kept")
        return CorpusReport(tuple(self.utterances.values()), tuple(self.problems), tuple(missing))

    def _short(self, path: str | Path) -> str:
        path = Path(path)
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)


def same_bytes(paths: Iterable[Path]) -> Iterator[tuple[Path, Path]]:
    """Pairs (copy, first) of different files with the same bytes; only files of one size are read."""
    by_size: dict[int, list[Path]] = defaultdict(list)
    for path in dict.fromkeys(paths):
        by_size[path.stat().st_size].append(path)
    for alike in by_size.values():
        firsts: dict[bytes, Path] = {}
        for path in alike if len(alike) > 1 else ():
            with path.open("rb") as file:
                first = firsts.setdefault(hashlib.file_digest(file, "sha256").digest(), path)
            if first is not path:
                yield path, first


def absent(expected: Mapping[str, Iterable[str]], found: Iterable[str]) -> list[str]:
    """Clips of the official release that are not there.

    Args:
        expected: Official clips by group, such as a speaker.
        found: Clips that are there.

    Returns:
        The names of single clips; a group of which nothing is there is one line.
    """
    found = set(found)
    lines: list[str] = []
    for group, clips in expected.items():
        clips = list(clips)
        lost = [clip for clip in clips if clip not in found]
        lines += [f"{group} (all {len(clips)} clips)"] if len(lost) == len(clips) > 1 else lost
    return lines
