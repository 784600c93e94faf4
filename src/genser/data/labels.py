"""Tasks and label maps: which word of an utterance is its class, and what becomes of the labels of other corpora."""

import functools
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from genser.data.utterance import Utterance
from genser.errors import ConfigError, ManifestError, suggestion

TASKS = {"emotion": "label", "gender": "gender", "speaker": "speaker", "intensity": "intensity", "corpus": "corpus"}
"""Field of an utterance that holds the class of each task."""

_KEYS = ("about", "classes", "rename", "drop")


@dataclass(frozen=True)
class LabelMap:
    """What becomes of every label.

    Args:
        name: Name of the map.
        classes: Classes that come out, in the order of a model trained with the map.
        rename: Labels that become a class under another name.
        drop: Labels whose utterances are left out.
        about: One sentence for people.

    Raises:
        ConfigError: A class is named twice, a label becomes no class, or a label has two fates.
    """

    name: str
    classes: tuple[str, ...]
    rename: Mapping[str, str] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    about: str = ""

    def __post_init__(self) -> None:
        fates = [*self.classes, *self.rename, *self.drop]
        twice = sorted({label for label in fates if fates.count(label) > 1})
        if not self.classes:
            raise ConfigError(f"the label map {self.name!r} has no classes")
        if twice:
            raise ConfigError(f"the label map {self.name!r} names {twice[0]!r} twice; a label has one fate")
        for label, target in self.rename.items():
            if target not in self.classes:
                raise ConfigError(
                    f"the label map {self.name!r} makes {label!r} to {target!r}, which is none of its classes. "
                    f"{suggestion(target, self.classes)}"
                )

    def __call__(self, label: str) -> str | None:
        """Class of a label; None where it is left out.

        Raises:
            ManifestError: The map does not know the label.
        """
        if label in self.classes:
            return label
        if label in self.drop:
            return None
        if label not in self.rename:
            raise ManifestError(
                f"the label map {self.name!r} does not say what becomes of {label!r}. "
                f"{suggestion(label, [*self.classes, *self.rename, *self.drop])}"
            )
        return self.rename[label]


def task_label(utterance: Utterance, task: str) -> str | None:
    """Class of an utterance in a task; None where it is unknown.

    Args:
        utterance: The utterance.
        task: ``emotion``, ``gender``, ``speaker``, ``intensity`` or ``corpus``.

    Raises:
        ConfigError: There is no such task.
    """
    if task not in TASKS:
        raise ConfigError(f"there is no task {task!r}. {suggestion(task, TASKS)}")
    return getattr(utterance, TASKS[task])


def for_task(
    utterances: Iterable[Utterance], task: str, label_map: LabelMap | None = None
) -> tuple[list[Utterance], list[Utterance]]:
    """Make the class of a task the label of every utterance.

    Args:
        utterances: Utterances of any corpora.
        task: As in :func:`task_label`.
        label_map: What becomes of the labels; None leaves them.

    Returns:
        Utterances with their class as label, and those left out: their class is unknown or dropped by the map.

    Raises:
        ConfigError: There is no such task.
        ManifestError: The map does not know a label.
    """
    kept, left_out = [], []
    for utterance in utterances:
        label = task_label(utterance, task)
        if label is not None and label_map is not None:
            label = label_map(label)
        if label is None:
            left_out.append(utterance)
        else:
            kept.append(utterance if label == utterance.label else replace(utterance, label=label))
    return kept, left_out


def read_label_maps(path: str | os.PathLike[str] | None = None) -> dict[str, LabelMap]:
    """Label maps by name: those of the package, and those of one's own file, which win.

    Args:
        path: TOML file in the form of the package's ``label_maps.toml``; None for the package's alone.

    Raises:
        ConfigError: The file cannot be read, has an unknown key, or a map is impossible.
    """
    maps = dict(_packaged())
    if path is not None:
        try:
            maps |= _parse(Path(path).read_text("utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"the label maps {path} cannot be read: {error}") from error
    return maps


def label_map(name: str, path: str | os.PathLike[str] | None = None) -> LabelMap:
    """One label map by name.

    Args:
        name: Name in the package's table or in the file.
        path: File of one's own.

    Raises:
        ConfigError: There is no such map, or the file is not in order.
    """
    maps = read_label_maps(path)
    if name not in maps:
        raise ConfigError(f"there is no label map {name!r}. {suggestion(name, maps)}")
    return maps[name]


def find_label_map(name: str) -> LabelMap:
    """One label map as it is named on the command line: by its name, or as ``file.toml:name`` from one's own file.

    Raises:
        ConfigError: There is no such map, or the file is not in order.
    """
    path, _, inner = name.rpartition(":")
    return label_map(inner, path) if path.endswith(".toml") else label_map(name)


@functools.cache
def _packaged() -> dict[str, LabelMap]:
    file = resources.files("genser.data").joinpath("label_maps.toml")
    return _parse(file.read_text("utf-8"), "label_maps.toml")


def _parse(text: str, source: str) -> dict[str, LabelMap]:
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source} is not TOML: {error}") from error
    return {name: _label_map(name, table, source) for name, table in tables.items()}


def _label_map(name: str, table: Any, source: str) -> LabelMap:
    if not isinstance(table, dict):
        raise ConfigError(f"{source}: {name!r} is no table; a map is [{name}] with classes, rename and drop")
    for key in table:
        if key not in _KEYS:
            raise ConfigError(f"{source}: the map {name!r} has an unknown key {key!r}. {suggestion(key, _KEYS)}")
    rename = table.get("rename", {})
    if not isinstance(rename, dict) or not all(isinstance(target, str) for target in rename.values()):
        raise ConfigError(f"{source}: rename of the map {name!r} must be a table from label to class")
    classes, drop = (_words(name, key, table.get(key, []), source) for key in ("classes", "drop"))
    return LabelMap(name, classes, rename, drop, str(table.get("about", "")))


def _words(name: str, key: str, value: Any, source: str) -> tuple[str, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not all(isinstance(word, str) for word in value):
        raise ConfigError(f"{source}: {key} of the map {name!r} must be a list of labels")
    return tuple(value)
