"""Messages about options: an unknown option names the nearest known one."""

import os
import shlex
from collections.abc import Iterable
from difflib import get_close_matches

from cyclopts import CycloptsError, MissingArgumentError, UnknownCommandError, UnknownOptionError
from cyclopts.exceptions import UnusedCliTokensError


def unknown_option(verb: str, option: str, keys: Iterable[str] = ()) -> str:
    """Message on an unknown option of a verb.

    Args:
        verb: Name of the verb.
        option: The option as it was given, such as ``--modell`` or ``--modell=base``.
        keys: Further names that the verb takes as options, such as the keys of a recipe.
    """
    if option == "-":
        return f"genser {verb} takes no standard input. Name a file."
    known = [name.removeprefix("--") for name in _options(verb) if name.startswith("--")]
    name = option.partition("=")[0]
    first, dot, rest = name.strip("-").partition(".")
    close = get_close_matches(first.lower(), [*known, *keys], n=1, cutoff=0.5)
    cure = f"Did you mean '--{close[0]}{dot}{rest}'?" if close else f"See: genser {verb} --help."
    return f"Unknown option {name!r}. {cure}"


def is_option(verb: str, word: str) -> bool:
    """Whether a word, such as ``--model`` or ``--model=base``, is an option of a verb."""
    return word.partition("=")[0] in _options(verb)


def _options(verb: str) -> list[str]:
    from genser.cli import LOUDNESS, app

    return [*(name for argument in app[verb].assemble_argument_collection() for name in argument.names), *LOUDNESS]


def usage_message(error: CycloptsError) -> str:
    """Message on a command line that cannot be parsed."""
    error.verbose = False  # without the function and the file that define the verb
    verb = " ".join(error.command_chain or ())
    if isinstance(error, UnknownOptionError) and verb:
        return unknown_option(verb, error.token.keyword or error.token.value)
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        if error.unused_tokens[0] == "-":
            return unknown_option(verb, "-")
        return f"Unexpected argument {error.unused_tokens[0]!r}. See: genser {verb} --help."
    if type(error) is MissingArgumentError and error.argument and verb:
        return f"{_missing(error, verb)} See: genser {verb} --help."
    if isinstance(error, UnknownCommandError) and error.unused_tokens:
        name = error.unused_tokens[0]
        if os.path.exists(name):  # noqa: PTH110 - a name that is too long for a path is none
            return f"{name!r} is a path, but the first word must be a verb, such as: genser predict {shlex.quote(name)}"
    return str(error)


def _missing(error: MissingArgumentError, verb: str) -> str:
    """Which argument or option is missing, or which option has no value."""
    assert error.argument is not None
    given = error.keyword or next((token.keyword for token in error.argument.tokens if token.keyword), None)
    if given:
        return f"{given} needs a value."
    names = error.argument.names
    if error.argument.field_info.is_positional:
        return f"genser {verb} needs {names[0].removeprefix('--').upper()}."
    return f"genser {verb} needs {' or '.join(names)}."
