"""Readers of speech corpora in their official folder layouts."""

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from genser.data.corpora import crema_d, emodb, esd, folder, iemocap, meld, nemo, ravdess, savee, table, tess
from genser.data.corpora.report import CorpusReport, Problem
from genser.errors import ManifestError, suggestion

_MODULES = (crema_d, emodb, tess, savee, ravdess, meld, nemo, iemocap, esd, folder, table)
CORPORA: dict[str, ModuleType] = {module.NAME: module for module in _MODULES}
"""Reader modules by the name of their corpus; each has NAME, LAYOUT and read(root)."""

__all__ = ["CORPORA", "CorpusReport", "Problem", "prepare"]


def prepare(name: str, root: str | Path, *, columns: Mapping[str, str] | None = None) -> CorpusReport:
    """Read a corpus folder in its official layout.

    Args:
        name: Name of the corpus in any spelling, such as ``"CREMA-D"``; ``"folder"`` for one folder a label and
            ``"csv"`` for a table of one's own.
        root: Folder of the corpus (or the table itself for ``"csv"``).
        columns: For ``"csv"`` the table's column for each of ours, such as ``{"path": "clip"}``.

    Returns:
        The utterances, the files that do not fit and what is missing.

    Raises:
        ManifestError: The name or the folder is unknown, or no clip of the corpus is in the folder.
    """
    plain = {corpus.replace("-", ""): corpus for corpus in CORPORA}
    corpus = plain.get(name.lower().replace("-", "").replace("_", "").replace(" ", ""))
    if corpus is None:
        raise ManifestError(f"there is no reader for the corpus {name!r}. {suggestion(name, CORPORA)}")
    root = Path(root)
    if not root.exists():
        raise ManifestError(f"{root} does not exist; give the folder of {corpus}")
    reader = CORPORA[corpus]
    if columns and reader is not table:
        raise ManifestError(f"only the reader 'csv' takes names of columns, not {corpus!r}")
    report = table.read(root, columns) if reader is table else reader.read(root)
    if not report.utterances:
        remarks = "".join(f"\n  {problem}" for problem in report.problems[:5])
        raise ManifestError(f"{root} holds no clip of {corpus}; expected is {reader.LAYOUT}{remarks}")
    return report
