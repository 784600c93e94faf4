"""Mappings to frozen dataclasses and back, so that every recipe and every model says exactly what it means."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from genser.errors import ConfigError, suggestion

Config = TypeVar("Config")


def build(kind: type[Config], mapping: Mapping[str, Any], where: str = "configuration") -> Config:
    """Make a configuration dataclass from nested mappings, converting every value to its declared type.

    Args:
        kind: Dataclass to make.
        mapping: Values by field name; absent fields keep their defaults.
        where: Named in errors, such as the recipe's path.

    Raises:
        ConfigError: For an unknown key (naming the nearest known one), a missing one, or a value of the wrong type.
    """
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{where}: expected a table of settings, got {mapping!r}.")
    hints = typing.get_type_hints(kind)
    known = [field.name for field in dataclasses.fields(kind)]
    for key in mapping:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}. {suggestion(str(key), known)}")
    values = {key: _convert(value, hints[key], f"{where}: {key}") for key, value in mapping.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigError(f"{where}: {error}.") from error


def to_mapping(config: Any) -> dict[str, Any]:
    """The reverse of :func:`build`: nested plain dictionaries and lists, ready for JSON."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def override(mapping: Mapping[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    """A copy of nested mappings with one setting replaced, named by its dotted path such as ``optimizer.lr``."""
    head, _, rest = dotted.partition(".")
    if not rest:
        return {**mapping, head: value}
    inner = mapping.get(head, {})
    if not isinstance(inner, Mapping):
        raise ConfigError(f"{head} is a single value, so it has no setting {rest!r}.")
    return {**mapping, head: override(inner, rest, value)}


def _convert(value: Any, hint: Any, where: str) -> Any:
    """A value as its declared type; text is read as the type, so that ``1e-4`` and ``true`` work in any source."""
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else build(hint, value, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None or value in ("null", "none"):
            return None
        return _convert(value, next(a for a in arguments if a is not types.NoneType), where)
    if origin is tuple:
        parts = value.split(",") if isinstance(value, str) else value
        return tuple(_convert(part, arguments[0], where) for part in parts)
    if hint in (int, float, bool, str):
        return _scalar(value, hint, where)
    return value


def _scalar(value: Any, kind: type, where: str) -> Any:
    text = str(value).strip()
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        if kind is int and not text.lstrip("+-").isdigit():
            whole = float(text)
            if whole != int(whole):
                raise ValueError(text)
            return int(whole)
        return kind(text) if kind is not str else str(value)
    except (ValueError, KeyError, OverflowError):
        raise ConfigError(f"{where} must be of type {kind.__name__}, got {value!r}.") from None


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_mapping(value)
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    return value
