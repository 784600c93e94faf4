"""Configurations: frozen dataclasses from mappings, YAML files and overrides, and back to mappings.

Every value is converted to the type that its field declares, so one rule holds for Python, YAML, JSON and the command
line: text such as ``1e-4``, ``true``, ``none`` or ``3,4`` is read as the declared type, and a value that does not fit
raises a :class:`ConfigError` that names the setting and the value.
"""

import base64
import collections.abc
import dataclasses
import math
import numbers
import os
import types
import typing
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from genser.errors import ConfigError, MissingExtraError, cause, suggestion
from genser.files import is_file

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")
MOST_NODES = 100_000
"""Most keys and values of a YAML file with all aliases written out: a few nested ones can stand for billions."""


def build(kind: type[Config], mapping: Mapping[str, Any] | None, where: str = "Configuration") -> Config:
    """Make a configuration dataclass from nested mappings.

    Args:
        kind: Dataclass to make.
        mapping: Values by field name; absent fields keep their defaults. None, as in an empty part of a YAML file, is
            an empty mapping.
        where: Start of error messages, such as ``"Recipe 'small'"``.

    Raises:
        ConfigError: A key is unknown or missing, or a value does not fit its field.
    """
    mapping = {} if mapping is None else mapping
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{where}: expected a table of settings, got {mapping!r}.")
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
    for key in mapping:
        if key not in fields:
            raise ConfigError(f"{where}: unknown key {key!r}. {suggestion(key, fields)}")
    for name, field in fields.items():
        if name not in mapping and field.default is field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{where}: {name} is missing. Add it.")
    hints = typing.get_type_hints(kind)
    return kind(**{key: _convert(value, hints[key], f"{where}: {key}") for key, value in mapping.items()})


def to_mapping(config: Any) -> dict[str, Any]:
    """Turn a configuration into nested dictionaries and lists, ready for JSON; the reverse of :func:`build`."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def override(mapping: Mapping[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    """Copy nested mappings with one setting replaced.

    Args:
        mapping: Settings; they stay as they are.
        dotted: Path of the setting, such as ``"optimizer.lr"``.
        value: New value.

    Raises:
        ConfigError: The path leads through a single value.
    """
    head, _, rest = dotted.partition(".")
    if not rest:
        return {**mapping, head: value}
    inner = mapping.get(head)
    if not isinstance(inner, Mapping | None):
        raise ConfigError(f"{head} is a single value, so it has no setting {rest!r}.")
    return {**mapping, head: override(inner or {}, rest, value)}


def is_number(value: Any) -> bool:
    """Whether a value is a number; True and False, which Python counts as 1 and 0, are none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def check_ranges(config: Any, **ranges: str) -> None:
    """Check that numbers of a configuration lie in their ranges; NaN and, in open ranges, infinity do not.

    Args:
        config: The dataclass, usually ``self`` in its ``__post_init__``.
        **ranges: Interval by field name, such as ``warmup="[0, 1)"`` or ``lr="(0, inf)"``.

    Raises:
        ConfigError: A number lies outside its range.
    """
    for name, interval in ranges.items():
        value, (low, high) = getattr(config, name), (float(end) for end in interval[1:-1].split(","))
        above = is_number(value) and (value > low if interval[0] == "(" else value >= low)
        if not (above and (value < high if interval[-1] == ")" else value <= high)):
            raise ConfigError(f"{name} must lie in {interval}, got {value}.")


def check_choice(name: str, value: str, known: collections.abc.Iterable[str]) -> None:
    """Check that a setting is one of the known names.

    Raises:
        ConfigError: It is none of them.
    """
    if value not in known:
        raise ConfigError(f"Unknown {name} {value!r}. {suggestion(value, known)}")


def packaged(folder: str) -> list[str]:
    """Names of the YAML files in a folder of the package, such as ``"training/recipes"``, without their ending."""
    files = resources.files("genser").joinpath(*folder.split("/")).iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def load_yaml(source: str, folder: str, what: str) -> dict[str, Any]:
    """Read the settings in a packaged YAML file or in the user's own.

    Args:
        source: Name of a packaged file, or path to a file.
        folder: Folder of the packaged files, see :func:`packaged`.
        what: Kind of file for error messages, such as ``"recipe"``.

    Raises:
        ConfigError: There is no such file, it cannot be read, or it is not a table of settings.
        MissingExtraError: PyYAML is not installed.
    """
    where = f"{what} {source!r}"
    if source in packaged(folder):
        file = resources.files("genser").joinpath(*folder.split("/"), f"{source}.yaml")
    elif is_file(source):
        file = Path(source)
    else:
        raise ConfigError(f"No {where}. Name a YAML file, or one of {', '.join(packaged(folder))}.")
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The {where} cannot be read: {cause(error)}. Check the file.") from error
    return parse_yaml(text, f"{what.capitalize()} {source!r}")


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """Read a table of settings from YAML; empty text is an empty table.

    Args:
        text: YAML.
        where: Start of error messages, such as ``"Recipe 'small'"``.

    Raises:
        ConfigError: The text is not YAML, or not a table.
        MissingExtraError: PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError:
        raise MissingExtraError("train", "Reading YAML") from None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        is_endless = node is not None and not _expanded(node, {}) <= MOST_NODES
        mapping = None if node is None or is_endless else loader.construct_document(node)
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{where} is not valid YAML: {error}. Check the file.") from error
    except Exception as error:  # PyYAML raises many kinds of errors for a value that its type does not have
        raise ConfigError(
            f"{where} has a value that does not fit its type ({error}). Check dates, numbers and tags such as !!int."
        ) from error
    if is_endless:
        raise ConfigError(f"{where} repeats itself by aliases without end. Write the settings out.")
    mapping = {} if mapping is None else mapping
    if not isinstance(mapping, dict):
        raise ConfigError(f"{where} must be a table of settings, got {type(mapping).__name__}.")
    return mapping


def _expanded(node: Any, sizes: dict[int, float]) -> float:
    """Number of YAML nodes below a node if every alias is written out; infinite if an alias contains itself."""
    if id(node) not in sizes:
        sizes[id(node)] = math.inf
        pairs = node.value if isinstance(node.value, list) else []
        parts = [part for one in pairs for part in (one if isinstance(one, tuple) else (one,))]
        sizes[id(node)] = 1 + sum(_expanded(part, sizes) for part in parts)
    return sizes[id(node)]


def _convert(value: Any, hint: Any, where: str) -> Any:
    """Convert a value to the type that its field declares."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else build(hint, value, where)
    if origin in (types.UnionType, typing.Union):  # of one type and None
        if value is None or (isinstance(value, str) and value.strip().lower() in ("null", "none")):
            return None
        return _convert(value, next(part for part in arguments if part is not types.NoneType), where)
    if origin is tuple:
        return _tuple(value, arguments, where)
    if origin in (dict, collections.abc.Mapping):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} must be a table, got {value!r}.")
        return {str(key): _convert(part, arguments[1], f"{where}.{key}") for key, part in value.items()}
    return _scalar(value, hint, where) if hint in (bool, int, float, str) else value


def _tuple(value: Any, arguments: tuple[Any, ...], where: str) -> tuple[Any, ...]:
    """Convert a list, or text such as ``"3,4"``, ``"[3, 4]"`` or ``"[]"``."""
    if isinstance(value, str):
        inner = value.strip().removeprefix("[").removesuffix("]").strip()
        parts = inner.split(",") if inner else []
        value = [part.strip() for part in parts]
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{where} must be a list, got {value!r}.")
    open_ended = len(arguments) == 2 and arguments[1] is Ellipsis
    if not open_ended and len(value) != len(arguments):
        raise ConfigError(f"{where} must be a list of {len(arguments)} values, got {list(value)}.")
    hints = [arguments[0]] * len(value) if open_ended else arguments
    return tuple(_convert(part, hint, where) for part, hint in zip(value, hints, strict=True))


def _scalar(value: Any, kind: type, where: str) -> Any:
    """Convert to a bool, a whole number, a finite number or text."""
    wrong = ConfigError(f"{where} must be of type {kind.__name__}, got {value!r}.")
    if kind is str and isinstance(value, os.PathLike):
        return str(value)
    if not (isinstance(value, str) or is_number(value) or (isinstance(value, bool) and kind is bool)):
        raise wrong
    if kind is str:
        return str(value)
    text = str(value).strip().lower()
    if kind is bool:
        if text not in ("true", "false"):
            raise wrong
        return text == "true"
    try:
        number = int(text) if kind is int and text.lstrip("+-").isdecimal() else float(text)
        if not math.isfinite(number) or (kind is int and number != int(number)):
            raise wrong
        return kind(number)
    except (ValueError, OverflowError):
        raise wrong from None


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_mapping(value)
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, tuple | list) else value


def plain_array(array: np.ndarray) -> dict[str, Any]:
    """An array as values for JSON: its shape, and base64 of its values as little-endian float32."""
    values = base64.b64encode(array.astype("<f4").tobytes()).decode()
    return {"shape": list(array.shape), "float32": values}


def array_of(plain: Mapping[str, Any]) -> np.ndarray:
    """The float32 array of what :func:`plain_array` returned.

    Raises:
        ValueError, TypeError, KeyError: It is something else.
    """
    values = np.frombuffer(base64.b64decode(plain["float32"], validate=True), "<f4")
    return values.astype(np.float32).reshape(plain["shape"])
