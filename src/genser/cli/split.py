"""``genser split``: divides a manifest into training, validation and test side."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from genser.cli._notes import note
from genser.errors import counted

if TYPE_CHECKING:
    from genser.data.utterance import Utterance


def split(
    manifest: Path,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    test: float = 0.2,
    validation: float = 0.1,
    by: Literal["speaker", "file"] = "speaker",
    replace_split: Annotated[bool, Parameter(negative=())] = False,
    seed: int = 0,
) -> int:
    """Divide a table of clips into training, validation and test, with no speaker on two sides.

    It fills the column "split". Each side has its share of every class; all parts of a recording and files with the
    same bytes stay together. Other columns are kept. The same seed gives the same division, whatever the order of the
    rows. Rows with the label "no speech" need no speaker.

    Example: genser split table.csv -o mine.csv

    Args:
        manifest: Table (CSV, JSON lines or Parquet) with the columns path and speaker, and label where known.
        output: Manifest to write; .csv, .tsv, .json, .jsonl or .parquet.
        test: Share of the clips for the test side.
        validation: Share of the clips for the validation side; with 0 genser train holds out speakers itself.
        by: What stays on one side: "speaker", or "file" if speakers are unknown. Scores are then optimistic.
        replace_split: Divide again if the manifest has splits already.
        seed: Random seed.

    Returns:
        0.
    """
    from genser.cli._outputs import check_file
    from genser.data.divide import divide
    from genser.data.manifest import read_manifest, write_manifest
    from genser.errors import ConfigError, ManifestError

    check_file(output, [str(manifest)])
    utterances = read_manifest(manifest)
    filled = sum(item.split is not None for item in utterances)
    if filled and not replace_split:
        rows = counted(filled, f"row of {manifest} has", f"rows of {manifest} have")
        raise ConfigError(f"{rows} a split already. Use it, or add --replace-split.")
    if not 0 <= validation < 1 or not 0 <= test < 1 or not 0 < validation + test < 1:
        raise ConfigError(f"--test {test:g} and --validation {validation:g} must leave a share for training.")
    shares = {"train": 1 - test - validation, "validation": validation, "test": test}
    shares = {side: share for side, share in shares.items() if share}
    try:
        division = divide(utterances, shares, by=by, seed=seed)
    except ManifestError as error:
        unknown = by == "speaker" and any(item.speaker is None for item in utterances)
        hint = " Or add --by file: the sides then may share speakers, and scores are optimistic." if unknown else ""
        raise ManifestError(f"{error}{hint}") from error
    divided = [replace(item, split=side) for item, side in zip(utterances, division.sides, strict=True)]
    write_manifest(divided, output)
    for remark in (*division.remarks, *_speaker_remarks(divided, by)):
        note(f"genser: {remark}")
    for side in shares:
        note(_summary(side, divided))
    note(f"→ {output}")
    return 0


def _speaker_remarks(utterances: "Sequence[Utterance]", by: str) -> Iterator[str]:
    """Sentences on speakers that sides may share, or that are too few on the test side."""
    from genser.metrics.bootstrap import FEW_SPEAKERS

    if by == "file":
        yield "The sides may share speakers, so scores on them are optimistic."
        return
    tested = {item.speaker_key for item in utterances if item.split == "test"}
    if 0 < len(tested) < FEW_SPEAKERS:
        yield (
            f"The test side has {counted(len(tested), 'speaker')}; intervals over speakers need {FEW_SPEAKERS} or "
            "more. Raise --test if there are more speakers."
        )


def _summary(side: str, utterances: "Sequence[Utterance]") -> str:
    inside = [item for item in utterances if item.split == side]
    speakers = {item.speaker_key for item in inside} - {None}
    labels = sorted({item.label for item in utterances if item.label is not None})
    counts = (f"{label} {sum(item.label == label for item in inside)}" for label in labels)
    share = len(inside) / len(utterances)
    clips, voices = counted(len(inside), "clip"), counted(len(speakers), "speaker")
    return f"{side}: {clips} ({share:.0%}), {voices}; {', '.join(counts)}"
