"""The hint on recordings whose different channels were mixed, such as the two sides of a call."""

from genser.audio.likeness import mixed_remark
from genser.errors import counted


class MixedChannels:
    """Collects the recordings of a run whose different channels were mixed.

    Args:
        is_chosen: Whether the user has chosen the channel, so that there is nothing to point out.
    """

    def __init__(self, *, is_chosen: bool = False) -> None:
        self._is_chosen = is_chosen
        self._counts: dict[str, int] = {}

    def others(self, name: str, remark: str | None, mixed: int) -> str | None:
        """Count a recording if different channels were mixed; return the rest of its remark, or None."""
        if mixed:
            self._counts[name] = mixed
        return " ".join((remark or "").replace(mixed_remark(mixed), "").split()) or None

    def hint(self, unnamed: int = 0) -> list[str]:
        """One sentence on all of them, or none.

        Args:
            unnamed: Number of further recordings, of a bulk run, which names none.
        """
        total = len(self._counts) + unnamed
        if not total or self._is_chosen:
            return []
        cure = "--channel each analyses each by itself."
        many = counted(total, "recording has", "recordings have")
        if not self._counts:
            return [f"{many} different channels, mixed to one. {cure}"]
        name, count = next(iter(self._counts.items()))
        if total == 1:
            return [f"{name} has {count} different channels, mixed to one. {cure}"]
        return [f"{many} different channels, mixed to one, such as {name}. {cure}"]
