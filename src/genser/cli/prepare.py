"""``genser prepare``: makes a manifest of a corpus folder."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from genser.cli._notes import note
from genser.data.corpora import CORPORA

OFFICIAL = ", ".join(name for name in CORPORA if name not in ("folder", "csv"))


def prepare(
    corpus: Annotated[str, Parameter(help=f'{OFFICIAL}; "folder" (one subfolder per label) or "csv" (any table).')],
    folder: Path,
    *,
    output: Annotated[Path, Parameter(alias="-o")] = Path("manifest.csv"),
    relative: bool = True,
) -> int:
    """Read a corpus in its official folder layout, and write a table of its clips for the other verbs.

    Files that do not fit and missing clips are listed on standard error, one per line.

    Example: genser prepare folder recordings/ -o table.csv

    Args:
        corpus: Name of the corpus.
        folder: Folder of the corpus, or a table for "csv".
        output: Manifest to write; .csv, .tsv, .jsonl or .parquet.
        relative: Whether paths start at the folder of the manifest; else they are absolute.

    Returns:
        0 if the corpus is complete, 1 if clips of its official release are missing.
    """
    from genser.cli._outputs import check_file
    from genser.data.corpora import prepare as read
    from genser.data.manifest import write_manifest

    check_file(output, [str(folder)])
    report = read(corpus, folder)
    write_manifest(report.utterances, output, relative=relative)
    for problem in report.problems:
        note(problem)
    for missing in report.missing:
        note(f"missing: {missing}")
    note(f"{report.summary()} → {output}")
    return 1 if report.missing else 0
