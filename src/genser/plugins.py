"""Registries that other packages extend by entry points: nothing of them is imported before it is asked for."""

from typing import Any, TypeVar

from genser.errors import ConfigError

T = TypeVar("T")


class Registry(dict[str, T]):
    """Things by name: those of genser, and those that installed packages offer.

    Names of other packages are listed and found. ``values()`` and ``items()`` have those only that were asked for, so
    that a package that cannot be imported stops nothing else. A name of genser itself cannot be replaced.

    Args:
        own: Those of genser.
        group: Group of entry points of other packages; the name of an entry point is that of the thing.
        kind: Class of the things, or a superclass if they are classes.
    """

    def __init__(self, own: dict[str, T], group: str, kind: type) -> None:
        super().__init__(own)
        self.group, self.kind = group, kind

    def __missing__(self, name: str) -> T:
        """Import what a package offers under a name.

        Raises:
            KeyError: There is no such name.
            ConfigError: The package cannot be imported, or offers something else.
        """
        found = self._offered().get(name)
        if found is None:
            raise KeyError(name)
        package = f"The package {found.dist.name if found.dist else found.value} offers {name!r} for {self.group}, but"
        try:
            thing: Any = found.load()
        except Exception as error:  # the code of others raises anything
            reason = f"{type(error).__name__}: {error}"
            raise ConfigError(f"{package} it cannot be imported: {reason}. Update or remove the package.") from error
        fits = issubclass(thing, self.kind) if isinstance(thing, type) else isinstance(thing, self.kind)
        if not fits:
            raise ConfigError(f"{package} {found.value} is no {self.kind.__name__}. Update or remove the package.")
        self[name] = thing
        return thing

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in self._offered()

    def __iter__(self):
        return iter({**dict.fromkeys(self.keys()), **self._offered()})

    def _offered(self) -> dict:
        from importlib.metadata import entry_points

        return {entry.name: entry for entry in entry_points(group=self.group)}
