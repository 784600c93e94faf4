"""Parses settings of a recipe given as ``--dotted.name value`` or ``--dotted.name=value``."""

from collections.abc import Collection, Sequence

from genser.cli._options import unknown_option
from genser.errors import ConfigError


def parse_overrides(tokens: Sequence[str], verb: str, keys: Collection[str]) -> dict[str, str]:
    """Dotted name → value; dashes in a name may stand for underscores.

    Args:
        tokens: Words of the command line that are no options of the verb.
        verb: Name of the verb.
        keys: Keys of a recipe.

    Raises:
        ConfigError: A token is no option, names no key of a recipe, or has no value.
    """
    overrides: dict[str, str] = {}
    waiting = list(tokens)
    while waiting:
        token = waiting.pop(0)
        if not token.startswith("--"):
            raise ConfigError(f"Unexpected argument {token!r}. Settings of the recipe are given as --name value.")
        name, equals, value = token[2:].partition("=")
        if name.partition(".")[0].replace("-", "_") not in keys:
            raise ConfigError(unknown_option(verb, token, keys))
        if not equals and not waiting:
            raise ConfigError(f"--{name} has no value. Give one: --{name} VALUE.")
        overrides[name.replace("-", "_")] = value if equals else waiting.pop(0)
    return overrides
