"""Tasks and label maps: which column of a manifest is the class, and how labels of corpora become common classes."""

import functools
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from genser.data.utterance import Utterance
from genser.errors import ConfigError, ManifestError, cause, suggestion

TASKS = {"emotion": "label", "gender": "gender"}
"""Field of an utterance that is the class in each task."""

NO_SPEECH = "no speech"
"""Label of a recording without speech, in manifests and predictions; it is not a class of any task."""

_KEYS = ("about", "classes", "rename", "drop")


@dataclass(frozen=True)
class LabelMap:
    """Maps the labels of corpora to classes.

    A label that is in none of the three lists is replaced by its canonical name (``"Joy"`` is ``"happiness"``) and
    looked up again.

    Args:
        name: Name of the map.
        classes: Resulting classes, in the order that a model trained with the map has.
        rename: Class of each label that has another name than its class.
        drop: Labels whose utterances are omitted.
        about: One sentence to display.

    Raises:
        ConfigError: There are no classes, a label is listed twice, or is mapped to an unknown class.
    """

    name: str
    classes: tuple[str, ...]
    rename: Mapping[str, str] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    about: str = ""

    def __post_init__(self) -> None:
        listed = [*self.classes, *self.rename, *self.drop]
        twice = sorted({label for label in listed if listed.count(label) > 1})
        if not self.classes:
            raise ConfigError(f"The label map {self.name!r} has no classes. List them under 'classes'.")
        if twice:
            raise ConfigError(f"The label map {self.name!r} lists {twice[0]!r} twice. List each label once.")
        for label, target in self.rename.items():
            if target not in self.classes:
                raise ConfigError(
                    f"The label map {self.name!r} maps {label!r} to {target!r}, which is not one of its classes. "
                    f"{suggestion(target, self.classes)}"
                )

    def __call__(self, label: str) -> str | None:
        """Class of a label; None if the map drops it.

        Raises:
            ManifestError: The map does not know the label.
        """
        for name in (label, canonical(label)):
            if name in self.classes:
                return name
            if name in self.drop:
                return None
            if name in self.rename:
                return self.rename[name]
        raise ManifestError(
            f"The label map {self.name!r} does not list {label!r}. "
            f"{suggestion(label, [*self.classes, *self.rename, *self.drop])}"
        )


def is_emotion(label: str) -> bool:
    """Whether a label is the name of an emotion in any case."""
    return _plain(label) in _canonical_names()


def is_no_speech(label: str) -> bool:
    """Whether a label is :data:`NO_SPEECH` in any case, also with an underscore."""
    return _plain(label) == NO_SPEECH


def canonical(label: str) -> str:
    """Canonical name of an emotion in any case, such as ``"happiness"`` for ``"Joy"``; other labels as they are."""
    return _canonical_names().get(_plain(label), label)


def _plain(label: str) -> str:
    return label.casefold().replace("_", " ").strip()


def for_task(
    utterances: Iterable[Utterance], task: str, label_map: LabelMap | None = None
) -> tuple[list[Utterance], list[Utterance]]:
    """Replace the label of every utterance by its class in a task.

    Labels that differ only in case are an error and are not merged: merging would have to guess which spelling the
    model should report, and the table is easily corrected.

    Args:
        utterances: Utterances of any corpora.
        task: ``emotion`` or ``gender``.
        label_map: Maps the labels; None keeps them.

    Returns:
        Utterances with their class as label, and the omitted ones, whose class is unknown or dropped by the map, or
        which have no speech (label :data:`NO_SPEECH`).

    Raises:
        ConfigError: There is no such task.
        ManifestError: The map does not list a label, or two labels differ only in case.
    """
    if task not in TASKS:
        raise ConfigError(f"There is no task {task!r}. {suggestion(task, TASKS)}")
    kept, omitted = [], []
    for utterance in utterances:
        label = None if utterance.label == NO_SPEECH else getattr(utterance, TASKS[task])
        if label is not None and label_map is not None:
            label = label_map(label)
        if label is None:
            omitted.append(utterance)
        else:
            kept.append(utterance if label == utterance.label else replace(utterance, label=label))
    spellings: dict[str, str] = {}
    for label in sorted({item.label for item in kept}):
        first = spellings.setdefault(label.casefold(), label)
        if first != label:
            raise ManifestError(
                f"The labels {first!r} and {label!r} differ only in case. Spell them alike in the manifest, or "
                "map both with a label map."
            )
    return kept, omitted


def classes_of(utterances: Iterable[Utterance], label_map: LabelMap | None = None) -> tuple[str, ...]:
    """The classes of utterances from :func:`for_task`: in the order of the label map, else sorted."""
    present = {item.label for item in utterances if item.label is not None}
    return tuple(name for name in label_map.classes if name in present) if label_map else tuple(sorted(present))


def read_label_maps(path: str | os.PathLike[str] | None = None) -> dict[str, LabelMap]:
    """Label maps by name: those of the package, and those of a file, which take precedence.

    Args:
        path: TOML file in the form of ``label_maps.toml`` in the package; None reads only the latter.

    Raises:
        ConfigError: The file cannot be read, has an unknown key, or a map is impossible.
    """
    maps = dict(_packaged())
    if path is not None:
        try:
            maps |= _parse(Path(path).read_text("utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"The label maps {path} cannot be read: {cause(error)}. Check the file.") from error
    return maps


def find_label_map(name: str) -> LabelMap:
    """One label map by its name in the package, or as ``file.toml:name``.

    Raises:
        ConfigError: There is no such map, or the file is not valid.
    """
    path, _, inner = name.rpartition(":")
    path, name = (path, inner) if path.endswith(".toml") else (None, name)
    maps = read_label_maps(path)
    if name not in maps:
        raise ConfigError(f"There is no label map {name!r}. {suggestion(name, maps)}")
    return maps[name]


@functools.cache
def _canonical_names() -> dict[str, str]:
    file = resources.files("genser.data").joinpath("label_names.toml")
    names = tomllib.loads(file.read_text("utf-8"))
    return {word: name for name, words in names.items() for word in (name, *words)}


@functools.cache
def _packaged() -> dict[str, LabelMap]:
    file = resources.files("genser.data").joinpath("label_maps.toml")
    return _parse(file.read_text("utf-8"), "label_maps.toml")


def _parse(text: str, source: str) -> dict[str, LabelMap]:
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source} is not valid TOML: {error}. Correct the file.") from error
    return {name: _label_map(name, table, source) for name, table in tables.items()}


def _label_map(name: str, table: Any, source: str) -> LabelMap:
    if not isinstance(table, dict):
        raise ConfigError(f"{source}: {name!r} is not a table. A map is [{name}] with classes, rename and drop.")
    for key in table:
        if key not in _KEYS:
            raise ConfigError(f"{source}: The map {name!r} has an unknown key {key!r}. {suggestion(key, _KEYS)}")
    rename = table.get("rename", {})
    if not isinstance(rename, dict) or not all(isinstance(target, str) for target in rename.values()):
        raise ConfigError(f"{source}: rename of the map {name!r} must be a table from label to class.")
    classes, drop = (_words(name, key, table.get(key, []), source) for key in ("classes", "drop"))
    return LabelMap(name, classes, rename, drop, str(table.get("about", "")))


def _words(name: str, key: str, value: Any, source: str) -> tuple[str, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not all(isinstance(word, str) for word in value):
        raise ConfigError(f"{source}: {key} of the map {name!r} must be a list of labels.")
    return tuple(value)
