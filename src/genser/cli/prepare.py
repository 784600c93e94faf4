"""``genser prepare``: an official corpus folder becomes a manifest."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def prepare(
    corpus: str,
    folder: Path,
    *,
    output: Annotated[Path, Parameter(alias="-o")] = Path("manifest.csv"),
    relative: bool = True,
) -> int:
    """Read a corpus in its official folder layout and write a manifest.

    Files that do not fit and clips that are missing are listed on standard error, one a line.

    Args:
        corpus: crema-d, emodb, tess, savee, ravdess, meld, nemo, iemocap, esd; "folder" (a folder a label) or "csv".
        folder: The corpus.
        output: Manifest to write; .csv, .tsv, .jsonl or .parquet.
        relative: Write paths relative to the manifest's folder, or else absolute ones.

    Returns:
        0 if the corpus is complete, 1 if clips of its official release are missing.
    """
    from genser.data.corpora import prepare as read
    from genser.data.manifest import write_manifest

    report = read(corpus, folder)
    write_manifest(report.utterances, output, relative=relative)
    for problem in report.problems:
        print(problem, file=sys.stderr)
    for absent in report.missing:
        print(f"missing: {absent}", file=sys.stderr)
    print(f"{report.summary()} → {output}", file=sys.stderr)
    return 1 if report.missing else 0
