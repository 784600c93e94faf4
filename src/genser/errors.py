"""Everything that genser raises for its users: what happened, to which value, and the cure."""

from collections.abc import Callable, Iterable


class GenserError(Exception):
    """Base of every error that genser raises on purpose."""


class AudioError(GenserError):
    """Audio that cannot be read or is outside the limits."""


class ManifestError(GenserError):
    """A manifest, table or corpus folder that cannot be used."""


class StoreError(GenserError):
    """A feature store that is damaged, in use, or of another version."""


class StorageError(GenserError):
    """A URL that cannot be read or written."""


class ConfigError(GenserError):
    """A recipe, an option or a combination of them that cannot work."""


class ModelError(GenserError):
    """A model file or folder that is missing, damaged, not made by genser, or of another version."""


class NothingToLearnError(ConfigError):
    """Recordings to learn a profile from hold no speech."""


class MissingExtraError(GenserError):
    """A feature whose optional dependencies are not installed.

    Args:
        extra: Name of the extra, such as ``"train"``.
        purpose: What needs it, as the start of a sentence, such as ``"Training"``.
    """

    def __init__(self, extra: str, purpose: str) -> None:
        self.extra = extra
        super().__init__(f"{purpose} needs the extra [{extra}]. Install it with: pip install 'genser[{extra}]'")


def suggestion(name: object, known: Iterable[str]) -> str:
    """End of an error message: the known name that was probably meant, else all of them."""
    import difflib  # only where something went wrong

    known = list(known)
    close = difflib.get_close_matches(str(name).lower(), known, n=1, cutoff=0.5)
    return f"Did you mean {close[0]!r}?" if close else f"Known are: {', '.join(known)}."


def cause(error: Exception) -> str:
    """What went wrong; an error of the system without its number and path, which the sentence around it names."""
    return getattr(error, "strerror", None) or str(error)


def reason(error: Exception) -> str:
    """What went wrong, with the name of an error that does not come from genser."""
    return str(error) if isinstance(error, GenserError) else f"{type(error).__name__}: {error}"


def counted(count: int, one: str, many: str = "") -> str:
    """A number with its words, such as ``1 clip`` and ``1,200 clips``.

    Args:
        count: The number.
        one: The words after 1, such as ``clip is``.
        many: The words after other numbers, such as ``clips are``; by default `one` with an s.
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def each_once(say: Callable[[str], object]) -> Callable[[str], None]:
    """The same function, which says no sentence twice."""
    said: set[str] = set()

    def once(sentence: str) -> None:
        if sentence not in said:
            said.add(sentence)
            say(sentence)

    return once
