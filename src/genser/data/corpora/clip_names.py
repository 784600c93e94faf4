"""Corpora whose file names state everything: one regular expression, and the meaning of its codes."""

import re
import unicodedata
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from genser.data.corpora.report import Collector, CorpusReport, sound_files
from genser.data.utterance import Utterance

_FIELDS = frozenset(item.name for item in fields(Utterance))


@dataclass(frozen=True)
class ClipNames:
    r"""Reads a corpus by the names of its files.

    Args:
        corpus: Name of the corpus.
        layout: An official path, for messages.
        pattern: Regular expression of the end of a path, from any folder on, without the file's ending; ``/`` is
            between folders. A named group is a field of :class:`~genser.data.utterance.Utterance` or else an extra
            column; a group whose name begins with ``_`` is neither.
        codes: Meaning of the codes of a group. A code is looked up as it is, then in lower case; a name with
            another code does not fit.
        speakers: Gender of each speaker, None where unknown. A name with another speaker does not fit; if empty,
            every speaker does.
        language: Language of all clips as a BCP 47 tag; None if a group states it, or if it is unknown.
        clip: Format of the official name of a clip, from ``stem`` (name of the file) and the groups.
        remarks: Remarks on clips that are kept.
        broken: Reasons to omit clips.
        missing: Takes the clips that exist, and returns lines about those of the release that do not; None where the
            release has no fixed list.
    """

    corpus: str
    layout: str
    pattern: str
    codes: Mapping[str, Mapping[str, str | None]]
    speakers: Mapping[str, str | None] = field(default_factory=dict)
    language: str | None = None
    clip: str = "{stem}"
    remarks: Mapping[str, str] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    missing: Callable[[Collection[str]], list[str]] | None = None

    def read(self, root: Path) -> CorpusReport:
        """Read all clips below a folder."""
        collector = Collector(root, self.corpus, self.language)
        for path in sound_files(root):
            groups = self._groups(path)
            values = groups and self._values(groups)
            clip = self.clip.format(stem=path.stem, **groups or {}) if values else ""
            if not values:
                collector.problem(path, f"is not named like {self.layout}")
            elif clip in self.broken:
                collector.problem(path, f"{self.broken[clip]}, omitted")
            else:
                extra = {name: value for name, value in values.items() if name not in _FIELDS}
                collector.add(clip, path, **{name: values[name] for name in values if name in _FIELDS}, extra=extra)
                if clip in self.remarks:
                    collector.problem(path, self.remarks[clip])
        return collector.report(self.missing(collector.utterances) if self.missing else ())

    def _groups(self, path: Path) -> dict[str, str] | None:
        name = unicodedata.normalize("NFC", path.absolute().with_suffix("").as_posix())
        match = re.fullmatch(f"(?:.*/)?(?:{self.pattern})", name)
        return {group: text for group, text in match.groupdict().items() if text is not None} if match else None

    def _values(self, groups: Mapping[str, str]) -> dict[str, Any] | None:
        """Values by field or extra column; None if a code or the speaker is unknown."""
        values: dict[str, Any] = {}
        for name, text in groups.items():
            if name in self.codes:
                code = text if text in self.codes[name] else text.lower()
                if code not in self.codes[name]:
                    return None
                values[name] = self.codes[name][code]
            elif not name.startswith("_"):
                values[name] = text
        if self.speakers:
            if values["speaker"] not in self.speakers:
                return None
            values["gender"] = self.speakers[values["speaker"]]
        return values


def all_of(size: int) -> Callable[[Collection[str]], list[str]]:
    """For ``missing``: one line if a release of this size is incomplete."""
    return lambda found: [f"{size - len(found)} of the {size} clips"] if len(found) < size else []
