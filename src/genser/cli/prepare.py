"""``genser prepare``: makes a manifest of a corpus folder."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from genser.cli._notes import note
from genser.data.corpora import CORPORA
from genser.errors import ConfigError, counted

OFFICIAL = ", ".join(name for name in CORPORA if name not in ("folder", "csv"))


def prepare(
    corpus: Annotated[
        str,
        Parameter(
            help=f'{OFFICIAL}; "folder" (one subfolder per label), "csv" (any table) or "oruk" (shards of oruk-bench).'
        ),
    ],
    folder: Path,
    *,
    output: Annotated[Path, Parameter(alias="-o")] = Path("manifest.csv"),
    relative: bool = True,
    columns: Annotated[list[str] | None, Parameter(negative="")] = None,
    clips: Path | None = None,
    shards: Path | None = None,
) -> int:
    """Read a corpus in its official folder layout, and write a table of its clips for the other verbs.

    Files that do not fit and missing clips are listed on standard error, one per line.

    Example: genser prepare folder recordings/ -o table.csv

    Args:
        corpus: Name of the corpus.
        folder: Folder of the corpus, or a table for "csv".
        output: Manifest to write; .csv, .tsv, .jsonl or .parquet.
        relative: Whether paths start at the folder of the manifest; else they are absolute.
        columns: For "csv", the name of a column in the table if it is not a usual one, such as label=mood; may be given
            several times.
        clips: For "oruk", the folder to which the clips of the shards are written, as FLAC files.
        shards: Folder to which the clips are also written as shards of oruk-bench, for "oruk-bench eval".

    Returns:
        0 if the corpus is complete, 1 if clips of its official release are missing.
    """
    from genser.cli._outputs import check_file, check_folder
    from genser.data.corpora import CorpusReport
    from genser.data.corpora import prepare as read
    from genser.data.manifest import write_manifest
    from genser.data.oruk import read_shards, write_shards

    check_file(output, [str(folder)])
    for written in filter(None, (clips, shards)):
        check_folder(written)
    if (corpus == "oruk") != (clips is not None):
        raise ConfigError(
            "The shards of oruk-bench, and no other corpus, need a folder for their clips: --clips FOLDER."
        )
    named = dict(_renamed(pair) for pair in columns or ())
    report = CorpusReport(tuple(read_shards(folder, clips))) if clips else read(corpus, folder, columns=named)
    write_manifest(report.utterances, output, relative=relative)
    for problem in report.problems:
        note(problem)
    for missing in report.missing:
        note(f"missing: {missing}")
    note(f"{report.summary()} → {output}")
    if shards:
        kept = write_shards(report.utterances, shards)
        note(f"{counted(len(kept), 'clip')} of {len(report.utterances)} have a class of oruk-bench → {shards}")
    return 1 if report.missing else 0


def _renamed(pair: str) -> tuple[str, str]:
    ours, sign, theirs = pair.partition("=")
    if not (ours and sign and theirs):
        raise ConfigError(f"--columns {pair} names no two columns. Write --columns OURS=THEIRS, such as label=mood.")
    return ours, theirs
