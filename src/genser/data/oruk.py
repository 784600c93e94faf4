"""Shards of oruk-bench: clips with their labels in Parquet, written from our utterances and read as a corpus.

Each row has ``audio_flac``, ``label`` (an index of :data:`LABELS`), ``language`` and ``source_id``, as oruk-bench 0.1.1
documents them. Its own loader takes the shards in the order of their names, and the first 16 s of each clip.
"""

import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import soundfile

from genser.audio import SAMPLE_RATE, load_audio
from genser.data.labels import LabelMap, canonical, for_task
from genser.data.utterance import Utterance
from genser.errors import ManifestError, MissingExtraError
from genser.files import atomic_file, atomic_write

LABELS = ("anger", "happiness", "sadness", "fear", "disgust", "surprise", "neutral")
"""The classes of the benchmark, in the order of their indices."""

SECONDS = 16
"""Length to which the benchmark cuts clips."""

COLUMNS = ("audio_flac", "label", "language", "source_id")


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
        ManifestError: None has a class of the benchmark.
        MissingExtraError: pyarrow is not installed.
    """
    pa, parquet = _pyarrow()
    kept, _ = for_task(utterances, "emotion", label_map)
    kept = [item for item in kept if canonical(item.label or "") in LABELS]
    if not kept:
        raise ManifestError(f"No utterance has one of the classes {', '.join(LABELS)}. Map the labels.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    types = dict(zip(COLUMNS, (pa.binary(), pa.int64(), pa.string(), pa.string()), strict=True))
    for start in range(0, len(kept), rows):
        table = pa.Table.from_pylist([_row(item) for item in kept[start : start + rows]], schema=pa.schema(types))
        with atomic_file(folder / f"shard-{start // rows:05}.parquet") as file:
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
        ManifestError: There are no shards, or one lacks a column.
        MissingExtraError: pyarrow is not installed.
    """
    _, parquet = _pyarrow()
    shards = sorted(Path(folder).glob("*.parquet"))
    if not shards:
        raise ManifestError(f"{folder} has no shards of oruk-bench (*.parquet). Name their folder.")
    for shard in shards:
        if lost := set(COLUMNS) - set(parquet.read_schema(shard).names):
            raise ManifestError(f"{shard} has no column {min(lost)!r}, so it is not a shard of oruk-bench.")
        for number, row in enumerate(parquet.read_table(shard, columns=list(COLUMNS)).to_pylist()):
            path = Path(clips, f"{shard.stem}-{number:05}.flac")
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, row["audio_flac"])
            extra = {"language": row["language"]} if row["language"] else {}
            yield Utterance(str(path), LABELS[row["label"]], split="test", corpus=row["source_id"], extra=extra)


def _pyarrow():
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("parquet", "Shards of oruk-bench") from error
    return pyarrow, parquet
