"""Shards of oruk-bench: clips with their labels in Parquet, written from our utterances and read as a corpus.

Each row has ``audio_flac``, ``label`` (an index of :data:`LABELS`), ``language`` and ``source_id``, as oruk-bench 0.1.1
documents them. Its own loader takes the shards in the order of their names, and the first 16 s of each clip.
"""

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import soundfile

from genser.audio import SAMPLE_RATE, load_audio
from genser.data.labels import LabelMap, canonical, for_task
from genser.data.tables import import_parquet
from genser.data.utterance import Utterance
from genser.errors import AudioError, ManifestError, cause
from genser.files import atomic_file, atomic_write

LABELS = ("anger", "happiness", "sadness", "fear", "disgust", "surprise", "neutral")
"""The classes of the benchmark, in the order of their indices."""

SECONDS = 16
"""Length to which the benchmark cuts clips."""

COLUMNS = ("audio_flac", "label", "language", "source_id")

PURPOSE = "Shards of oruk-bench"  # start of the sentence that names a missing extra

AT_ONCE = 64
"""Rows of a shard in memory."""


def write_shards(
    utterances: Sequence[Utterance],
    folder: str | os.PathLike[str],
    label_map: LabelMap | None = None,
    *,
    rows: int = 1000,
) -> list[Utterance]:
    """Write utterances as shards that oruk-bench evaluates.

    Args:
        utterances: Their language is taken from the column ``language`` of the manifest, if it has one.
        folder: Folder for the shards; created if missing.
        label_map: Label map for their labels; those of no class of the benchmark are omitted.
        rows: Clips in a shard.

    Returns:
        The written utterances, in the order of the shards.

    Raises:
        ManifestError: None has a class of the benchmark, or the folder has other shards.
        AudioError: A clip cannot be read.
        MissingExtraError: pyarrow is not installed.
    """
    parquet = import_parquet(PURPOSE)
    import pyarrow

    kept, _ = for_task(utterances, "emotion", label_map)
    kept = [item for item in kept if canonical(item.label or "") in LABELS]
    if not kept:
        raise ManifestError(f"No utterance has one of the classes {', '.join(LABELS)}. Map the labels.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    starts = {f"shard-{start // rows:05}.parquet": start for start in range(0, len(kept), rows)}
    if others := {path.name for path in folder.glob("*.parquet")} - starts.keys():
        raise ManifestError(f"{folder} has the shard {min(others)} already. Remove it, or choose another folder.")
    types = (pyarrow.binary(), pyarrow.int64(), pyarrow.string(), pyarrow.string())
    schema = pyarrow.schema(zip(COLUMNS, types, strict=True))
    for name, start in starts.items():
        table = pyarrow.Table.from_pylist([_row(item) for item in kept[start : start + rows]], schema=schema)
        with atomic_file(folder / name) as file:
            parquet.write_table(table, file)
    return kept


def _row(item: Utterance) -> dict[str, object]:
    waveform, file = load_audio(item.path, start=item.start, end=item.end), io.BytesIO()
    soundfile.write(file, waveform[: SECONDS * SAMPLE_RATE], SAMPLE_RATE, "PCM_16", format="FLAC")
    label = LABELS.index(canonical(item.label or ""))
    values = (file.getvalue(), label, item.extra.get("language"), item.corpus or "unnamed")
    return dict(zip(COLUMNS, values, strict=True))


def read_shards(folder: str | os.PathLike[str], clips: str | os.PathLike[str]) -> Iterator[Utterance]:
    """Read shards as a corpus: every clip becomes a FLAC file, and an utterance in the order of the shards.

    Args:
        folder: Folder of the shards.
        clips: Folder for the FLAC files; created if missing.

    Raises:
        ManifestError: There are no shards, or one cannot be read, lacks a column, or has a row that is not of the
            benchmark. The shard and the row are named.
        MissingExtraError: pyarrow is not installed.
    """
    import_parquet(PURPOSE)
    shards = sorted(Path(folder).glob("*.parquet"))
    if not shards:
        raise ManifestError(f"{folder} has no shards of oruk-bench (*.parquet). Name their folder.")
    Path(clips).mkdir(parents=True, exist_ok=True)
    for shard in shards:
        for number, row in enumerate(_rows(shard)):
            if fault := _fault(row):
                raise ManifestError(
                    f"{shard}: row {number} {fault}, so the shard is damaged or not of oruk-bench. Copy it again, or "
                    "remove it from the folder."
                )
            path = Path(clips, f"{shard.stem}-{number:05}.flac")
            atomic_write(path, row["audio_flac"])
            extra = {"language": row["language"]} if row["language"] else {}
            yield Utterance(str(path), LABELS[row["label"]], split="test", corpus=row["source_id"], extra=extra)


def _rows(shard: Path) -> Iterator[dict[str, Any]]:
    """The rows of a shard, a few in memory at a time."""
    parquet = import_parquet(PURPOSE)
    import pyarrow

    try:
        with parquet.ParquetFile(shard) as file:
            lost, count = set(COLUMNS) - set(file.schema_arrow.names), file.metadata.num_rows
            for batch in () if lost else file.iter_batches(AT_ONCE, columns=list(COLUMNS)):
                yield from batch.to_pylist()
    except (OSError, ValueError, pyarrow.ArrowException) as error:  # text may be no UTF-8
        fault = " ".join(cause(error).split()).rstrip(".")
        raise ManifestError(
            f"{shard} cannot be read as Parquet: {fault}. Copy it again, or remove it from the folder."
        ) from error
    if not lost and not count:
        raise ManifestError(f"{shard} has no rows. Copy it again, or remove it from the folder.")
    if lost:
        raise ManifestError(
            f"{shard} has no column {min(lost)!r}, so it is not a shard of oruk-bench. Remove it from the folder."
        )


def _fault(row: Mapping[str, Any]) -> str | None:
    """What is wrong with a row; None if it is as the benchmark documents it."""
    content, label = row["audio_flac"], row["label"]
    if not isinstance(label, int) or not 0 <= label < len(LABELS):
        return f"has the label {label!r}, which is no index from 0 to {len(LABELS) - 1}"
    for name in ("language", "source_id"):
        if not isinstance(row[name], str | None):
            return f"has {row[name]!r} as its {name}, which is no text"
    if not isinstance(content, bytes) or content[:4] != b"fLaC":
        return "has no FLAC file as its audio_flac"
    try:
        load_audio(content)
    except AudioError as error:
        return f"has audio that cannot be decoded ({error})"
    return None
