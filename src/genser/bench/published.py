"""Published results, each with its source: the paper's Tables 1 to 3, the EmoBox leaderboard, MELD, Oruk's benchmark.

They are printed beside measured rows and always marked as published, because they cannot be reproduced here: they have
other training data, other seeds, and some of them other classes (see their notes).
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

from genser.errors import ConfigError, suggestion

TABLES = ("gen-ser-1", "gen-ser-2", "gen-ser-3", "emobox", "meld", "oruk", "floor")


@dataclass(frozen=True)
class Published:
    """One published row; scores in percent, None if the source gives none.

    Attributes:
        table: One of :data:`TABLES`.
        task: ``"emotion"`` or ``"gender"``.
        corpus: Test corpus.
        family: Kind of folds: ``"emobox"`` or ``"official"``.
        model: Name of the system.
        kind: Its type, as in the paper's tables: Classification, LLM, Diffusion, Floor.
        source: Publication of the row.
        wa: Accuracy.
        ua: Unweighted accuracy.
        macro_f1: Macro F1.
        weighted_f1: Weighted F1.
        steps: Number of transport steps, in the paper's Table 3.
        speaker_dependent: Whether test speakers are also training speakers.
        note: What a reader must know for a fair comparison.
    """

    table: str
    task: str
    corpus: str
    family: str
    model: str
    kind: str
    source: str
    wa: float | None = None
    ua: float | None = None
    macro_f1: float | None = None
    weighted_f1: float | None = None
    steps: int | None = None
    speaker_dependent: bool = False
    note: str = ""


def published(
    *,
    table: str | None = None,
    task: str | None = None,
    corpus: str | None = None,
    family: str | None = None,
) -> tuple[Published, ...]:
    """Return the published rows that match every given field, in the order of their tables.

    Raises:
        ConfigError: There is no such table.
    """
    if table is not None and table not in TABLES:
        raise ConfigError(f"There is no published table {table!r}. {suggestion(table, TABLES)}")
    wanted = {"table": table, "task": task, "corpus": corpus, "family": family}
    return tuple(row for row in _rows() if all(value in (None, getattr(row, name)) for name, value in wanted.items()))


@cache
def _rows() -> tuple[Published, ...]:
    text = resources.files("genser.bench").joinpath("published.json").read_text(encoding="utf-8")
    return tuple(Published(**row) for row in json.loads(text))
