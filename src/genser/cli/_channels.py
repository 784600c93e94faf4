"""The hint on recordings whose different channels were mixed, such as the two sides of a call."""

from genser.audio.likeness import MIXED


class MixedChannels:
    """Collects the recordings of a run whose different channels were mixed.

    Args:
        is_chosen: Whether the user has chosen the channel, so that there is nothing to point out.
    """

    def __init__(self, *, is_chosen: bool = False) -> None:
        self._is_chosen = is_chosen
        self._counts: dict[str, str] = {}

    def others(self, name: str, remark: str | None) -> str | None:
        """Take the remark on a recording, and return what it says on anything else; None if it says nothing."""
        if found := MIXED.search(remark or ""):
            self._counts[name] = found[1]
        return " ".join(MIXED.sub("", remark or "").split()) or None

    def hint(self) -> list[str]:
        """One sentence on all of them, or none."""
        if not self._counts or self._is_chosen:
            return []
        name, count = next(iter(self._counts.items()))
        cure = "--channel each analyses each by itself."
        if len(self._counts) == 1:
            return [f"{name} has {count} different channels, mixed to one. {cure}"]
        return [f"{len(self._counts)} recordings have different channels, mixed to one, such as {name}. {cure}"]
