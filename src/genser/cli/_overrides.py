"""Settings given as ``--dotted.name value`` or ``--dotted.name=value``."""

from collections.abc import Sequence

from genser.errors import ConfigError


def parse_overrides(tokens: Sequence[str]) -> dict[str, str]:
    """Values by dotted name; dashes inside a name may stand for underscores.

    Raises:
        ConfigError: If a token is no option, or an option has no value.
    """
    overrides: dict[str, str] = {}
    waiting = list(tokens)
    while waiting:
        token = waiting.pop(0)
        if not token.startswith("--"):
            raise ConfigError(f"Unexpected {token!r}: settings of the recipe are given as --name value.")
        name, equals, value = token[2:].partition("=")
        if not equals and not waiting:
            raise ConfigError(f"--{name} has no value.")
        overrides[name.replace("-", "_")] = value if equals else waiting.pop(0)
    return overrides
