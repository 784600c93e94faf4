"""The result of a corpus reader, and what readers share: file lists, problems, missing and duplicate clips."""

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genser.audio.endings import LOSSY_ENDINGS, VIDEO_ENDINGS
from genser.audio.folders import find_audio
from genser.data.tables import read_table
from genser.data.text import decode_text
from genser.data.utterance import Utterance
from genser.errors import ManifestError, counted
from genser.files import file_hash


@dataclass(frozen=True)
class Problem:
    """One file with a problem.

    Args:
        path: The file.
        reason: The problem, and whether the utterance was kept.
    """

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class CorpusReport:
    """The result of reading a corpus folder.

    Args:
        utterances: Usable clips, in the order of their paths.
        problems: Files that do not fit, and remarks on others.
        missing: Clips of the official release that the folder lacks.
    """

    utterances: tuple[Utterance, ...]
    problems: tuple[Problem, ...] = ()
    missing: tuple[str, ...] = ()

    def summary(self) -> str:
        """One line with the numbers of utterances, speakers, labels, unlabelled clips, problems and missing clips."""
        speakers = {item.speaker_key for item in self.utterances if item.speaker}
        labels = {item.label for item in self.utterances if item.label}
        unlabelled = sum(item.label is None for item in self.utterances)
        without = counted(unlabelled, "utterance has", "utterances have")
        return (
            f"{counted(len(self.utterances), 'utterance')}, {counted(len(speakers), 'speaker')}, "
            f"{counted(len(labels), 'label')}"
            f"{f' ({without} none)' if unlabelled else ''}; "
            f"{counted(len(self.problems), 'file')} with a remark, {len(self.missing):,} missing"
        )


def sound_files(root: Path) -> list[Path]:
    """Audio and video files below a folder, by path: lossless before lossy before video.

    See :func:`genser.audio.folders.walk` for hidden files and links.

    Raises:
        ManifestError: A folder cannot be read.
    """
    content = find_audio(os.fspath(root))
    if content.unreadable:
        raise ManifestError(f"The folder {content.unreadable[0]} cannot be read. Change its permissions.")

    def rank(path: Path) -> int:
        ending = path.suffix.lower()
        return (ending in LOSSY_ENDINGS) + 2 * (ending in VIDEO_ENDINGS)

    return sorted(map(Path, content.files), key=lambda path: (rank(path), path))


def genders(*, female: str = "", male: str = "") -> dict[str, str]:
    """Gender by speaker; each argument lists speakers, separated by spaces."""
    return dict.fromkeys(female.split(), "female") | dict.fromkeys(male.split(), "male")


class Collector:
    """Collects the utterances and problems of a corpus while its files are read.

    Args:
        root: Folder of the corpus.
        corpus: Name of the corpus for all utterances; None leaves it empty.
        language: BCP 47 tag for the extra column ``language`` of all utterances; None leaves it to :meth:`add`.
    """

    def __init__(self, root: Path, corpus: str | None = None, language: str | None = None) -> None:
        self.root, self.corpus, self.language = root, corpus, language
        self.utterances: dict[str, Utterance] = {}
        self.problems: list[Problem] = []

    def add(self, clip: str, path: Path, *, extra: Mapping[str, Any] | None = None, **fields: Any) -> None:
        """Add a clip.

        Args:
            clip: Its official name; a second file of that name is a problem.
            path: Its file.
            extra: Its extra columns, such as ``language``; None is an unknown value.
            **fields: Other fields of its :class:`Utterance`.
        """
        columns = {"language": self.language} | dict(extra or {})
        known = {name: value for name, value in columns.items() if value is not None}
        self.add_utterance(clip, Utterance(str(path), corpus=self.corpus, extra=known, **fields))

    def add_utterance(self, clip: str, utterance: Utterance) -> None:
        """Add an utterance that is already made, as :meth:`add` does; no manifest can hold a name that is not UTF-8."""
        if any("\ud800" <= letter <= "\udfff" for letter in utterance.path):
            self.problem(utterance.path, "has a name that is not UTF-8, omitted; rename it")
            return
        first = self.utterances.setdefault(clip, utterance)
        if first is not utterance:
            self.problem(utterance.path, f"is the clip {clip} again, omitted; {self._short(first.path)} is kept")

    def add_rows(
        self,
        table: Path,
        rows: Iterable[Mapping[str, Any]],
        *,
        clip: str,
        label: str,
        labels: Mapping[str, str],
        fields: Callable[[str, Mapping[str, Any]], Mapping[str, Any]],
    ) -> list[str]:
        """Add the clips of a table; a clip may have been converted to another format.

        Args:
            table: The table, for problems.
            rows: Its rows.
            clip: Column of file names.
            label: Column of labels.
            labels: Label by the content of this column, in small letters.
            fields: Other fields of a clip by its name and row, see :meth:`add`.

        Returns:
            Clips without a file. Clips with an unknown label are problems.
        """
        sounds = {path.stem: path for path in reversed(sound_files(self.root))}
        missing = []
        for row in rows:
            name, found = Path(row[clip]).stem, labels.get(row[label].strip().lower())
            if found is None:
                self.problem(table, f"{name} has the unknown emotion {row[label]!r}, omitted")
            elif name in sounds:
                self.add(name, sounds[name], label=found, **fields(name, row))
            else:
                missing.append(name)
        return missing

    def table(self, names: Collection[str], columns: Collection[str]) -> tuple[Path, list[dict[str, Any]]]:
        """Find and read a table of the release, wherever it is below the folder; broken rows become problems.

        Args:
            names: Names that the table has in different releases.
            columns: Columns that it must have.

        Returns:
            Its path, and its rows.

        Raises:
            ManifestError: There is no such table, it cannot be read, or it lacks a column.
        """
        path = next((path for path in sorted(self.root.rglob("*")) if path.name in names), None)
        if path is None:
            raise ManifestError(f"{self.root} has no {' or '.join(names)}, the table of labels. Use the whole release.")
        table = read_table(path)
        lost = [name for name in columns if name not in table.columns]
        if lost:
            raise ManifestError(f"{path} has no column {lost[0]!r}, so it is not from the release. Use the original.")
        for number, reason in table.problems:
            self.problem(path, f"row {number} {reason} It is omitted.")
        return path, [row for _, row in table.rows]

    def words(self, path: Path, encodings: Sequence[str] = ()) -> str | None:
        """Text of a transcript, None if it is empty; one that cannot be read is a problem, and costs no clip."""
        try:
            return decode_text(path, encodings).strip() or None
        except ManifestError as error:
            self.problem(path, f"{error} Its words are omitted.")
            return None

    def problem(self, path: str | Path, reason: str) -> None:
        """Add a file that does not fit, or a remark."""
        self.problems.append(Problem(str(path), reason))

    def report(self, missing: Iterable[str] = ()) -> CorpusReport:
        """Make the report; files with the same bytes become remarks."""
        for copy, first in same_bytes([Path(item.path) for item in self.utterances.values()]):
            self.problem(copy, f"has the same bytes as {self._short(first)}; both are kept")
        return CorpusReport(tuple(self.utterances.values()), tuple(self.problems), tuple(missing))

    def _short(self, path: str | Path) -> str:
        path = Path(path)
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)


def same_bytes(paths: Iterable[Path]) -> Iterator[tuple[Path, Path]]:
    """Pairs (copy, first) of different files with the same bytes; only files of equal size are read."""
    by_size: dict[int, list[Path]] = defaultdict(list)
    for path in dict.fromkeys(paths):
        by_size[path.stat().st_size].append(path)
    for alike in by_size.values():
        firsts: dict[str, Path] = {}
        for path in alike if len(alike) > 1 else ():
            first = firsts.setdefault(file_hash(path), path)
            if first is not path:
                yield path, first


def absent(expected: Mapping[str, Iterable[str]], found: Iterable[str]) -> list[str]:
    """Clips of the official release that are missing.

    Args:
        expected: Official clips by group, such as a speaker.
        found: Clips that exist.

    Returns:
        The names of missing clips; a group that is missing completely is one line.
    """
    found = set(found)
    lines: list[str] = []
    for group, clips in expected.items():
        clips = list(clips)
        lost = [clip for clip in clips if clip not in found]
        lines += [f"{group} (all {len(clips)} clips)"] if len(lost) == len(clips) > 1 else lost
    return lines
