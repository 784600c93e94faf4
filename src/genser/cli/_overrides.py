"""Parses settings of a recipe given as ``--dotted.name value`` or ``--dotted.name=value``."""

from collections.abc import Sequence

from genser.errors import ConfigError


def parse_overrides(tokens: Sequence[str]) -> dict[str, str]:
    """Dotted name → value; dashes in a name may stand for underscores.

    Raises:
        ConfigError: A token is no option, or an option has no value.
    """
    overrides: dict[str, str] = {}
    waiting = list(tokens)
    while waiting:
        token = waiting.pop(0)
        if not token.startswith("--"):
            raise ConfigError(f"Unexpected argument {token!r}. Settings of the recipe are given as --name value.")
        name, equals, value = token[2:].partition("=")
        if not equals and not waiting:
            raise ConfigError(f"--{name} has no value. Give one: --{name} VALUE.")
        overrides[name.replace("-", "_")] = value if equals else waiting.pop(0)
    return overrides
