"""Readers of speech corpora in their official folder layouts. A new one needs its module, and a line in READERS."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType

from genser.data.corpora import table
from genser.data.corpora.report import CorpusReport, Problem
from genser.errors import ManifestError, suggestion

READERS = (
    "crema_d",
    "emodb",
    "tess",
    "savee",
    "ravdess",
    "meld",
    "nemo",
    "iemocap",
    "esd",
    "emovo",
    "ased",
    "emotiontts",
    "emospeech",
    "aesdd",
    "asvp_esd",
    "cafe",
    "casia",
    "emns",
    "emov_db",
    "emozionalmente",
    "enterface",
    "jl_corpus",
    "m3ed",
    "mesd",
    "msp_podcast",
    "oreau",
    "shemo",
    "subesco",
    "turev_db",
    "urdu",
    "folder",
    "table",
)
"""Modules of this folder, in the order of help texts."""

_MODULES = [import_module(f"{__name__}.{name}") for name in READERS]
CORPORA: dict[str, ModuleType] = {module.NAME: module for module in _MODULES}
"""Reader modules by the name of their corpus. Each has NAME, LAYOUT (shown in errors) and read(root)."""

__all__ = ["CORPORA", "CorpusReport", "Problem", "prepare"]


def prepare(name: str, root: str | Path, *, columns: Mapping[str, str] | None = None) -> CorpusReport:
    """Read a corpus folder in its official layout.

    Args:
        name: Name of the corpus in any spelling, such as ``"CREMA-D"``; ``"folder"`` for one subfolder per label, or
            ``"csv"`` for any table.
        root: Folder of the corpus, or the table for ``"csv"``.
        columns: For ``"csv"``, column of the table for each column of a manifest, such as ``{"path": "clip"}``.

    Returns:
        The utterances, the files that do not fit, and the missing clips.

    Raises:
        ManifestError: The name or the folder is unknown, or no clip of the corpus is in the folder.
    """
    plain = {corpus.replace("-", ""): corpus for corpus in CORPORA}
    corpus = plain.get(name.lower().replace("-", "").replace("_", "").replace(" ", ""))
    if corpus is None:
        raise ManifestError(f"There is no reader for the corpus {name!r}. {suggestion(name, CORPORA)}")
    root = Path(root)
    if not root.exists():
        raise ManifestError(f"{root} does not exist. Name the folder of {corpus}.")
    reader = CORPORA[corpus]
    if columns and reader is not table:
        raise ManifestError(f"Only the reader 'csv' takes names of columns, not {corpus!r}.")
    report = table.read(root, columns) if reader is table else reader.read(root)
    if not report.utterances:
        remarks = "".join(f"\n  {problem}" for problem in report.problems[:5])
        raise ManifestError(f"{root} has no clip of {corpus}. Expected: {reader.LAYOUT}.{remarks}")
    return report
