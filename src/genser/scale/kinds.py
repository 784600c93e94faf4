"""What the three kinds of jobs make of a block of rows: predictions, segments or features, as a Parquet table."""

import io
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Protocol

import numpy as np

from genser.audio import SAMPLE_RATE
from genser.errors import ConfigError, GenserError
from genser.inference.clip_runner import BATCH_SECONDS
from genser.inference.decode_ahead import Clip, is_full
from genser.inference.load import load
from genser.inference.recognizer import Recognizer
from genser.output.predictions import prediction_rows
from genser.output.tables import Rows, write_parquet
from genser.output.timelines import timeline_rows
from genser.scale.blocks import Row
from genser.scale.commit import Counts
from genser.scale.decoding import Decoders
from genser.scale.job import Job, Setup
from genser.segments.segment import Timeline
from genser.segments.timeline import recognize_timeline

GROUP_SAMPLES = 4 * BATCH_SECONDS * SAMPLE_RATE
"""Audio that the model gets at once, to be sorted by length, as in :meth:`Recognizer.predict_many`."""

Shard = tuple[bytes, Counts]
"""A Parquet file, and what its footer counts."""


class Kind(Protocol):
    """A kind of job."""

    def prepare(self, row: Row) -> Any:
        """What can be done ahead for a row, in any thread."""

    def shard(self, prepared: Iterable[tuple[Row, Any]]) -> Shard:
        """The shard of a block of rows, with what was prepared for each."""
        raise NotImplementedError


def make_kind(job: Job, setup: Setup, decoders: Decoders) -> Kind:
    """Load what a job needs."""
    if job.kind == "features":
        return Features(job, setup, decoders)
    given: dict[str, Any] = {"task": job.task, "classes": job.classes, "prior": job.prior, "profile": job.profile}
    recognizer = load(job.model, threads=setup.threads, device=setup.device, encoder=job.source, **given)
    if job.kind == "segments":
        return Segments(job, recognizer, decoders)
    return Predictions(job, setup, recognizer, decoders)


class Predictions:
    """A row per clip, with the channel "each" per channel."""

    def __init__(self, job: Job, setup: Setup, recognizer: Recognizer, decoders: Decoders) -> None:
        self._recognizer, self._batch = recognizer, setup.batch_seconds
        self._channel, self._decoders = job.channel, decoders

    def prepare(self, row: Row) -> list[Clip]:
        """Decode the clips of a row."""
        return self._decoders.clips(row, self._channel)

    def shard(self, prepared: Iterable[tuple[Row, list[Clip]]]) -> Shard:
        """Recognise the clips, in groups that depend on nothing but the rows, so that the scores do not either."""
        of_clips: list[Row] = []

        def clips() -> Iterator[Clip]:
            for row, found in prepared:
                of_clips.extend([row] * len(found))
                yield from found

        predictions = list(self._recognizer.predict_clips(_groups(clips()), self._batch))
        table = prediction_rows(predictions, self._recognizer.labels)
        rows = (
            {"row": row.number, "start": row.start, "end": row.end, **cells}
            for row, cells in zip(of_clips, table.rows, strict=True)
        )
        first = {"row": int, "path": str, "start": float, "end": float}
        results = list(zip(of_clips, predictions, strict=True))
        failed, mixed = ({row.number for row, one in results if getattr(one, name)} for name in ("error", "mixed"))
        return _shard(Rows({**first, **table.columns}, table.labels, rows), Counts(len(failed), len(mixed)))


def _moved(cells: dict[str, Any], shift: float) -> dict[str, Any]:
    """Cells of a segment with times of the file, of which a part was recognised; those of a failure have no times."""
    times = {name: cells[name] for name in ("start", "end") if cells[name] is not None}
    return {**cells, **{name: round(time + shift, 3) for name, time in times.items()}}


def _groups(clips: Iterable[Clip]) -> Iterator[list[Clip]]:
    group: list[Clip] = []
    for clip in clips:
        group.append(clip)
        if is_full(group, GROUP_SAMPLES):
            yield group
            group = []
    if group:
        yield group


class Segments:
    """A row per segment; for a recording that failed, one without a segment."""

    def __init__(self, job: Job, recognizer: Recognizer, decoders: Decoders) -> None:
        self._recognizer, self._decoders = recognizer, decoders
        self._channel, self._options = job.channel, job.segments

    def prepare(self, row: Row) -> Timeline | None:
        """Nothing is decoded ahead, as a recording may be long; but its channels are counted, if each counts."""
        try:
            if row.error is not None:
                raise GenserError(row.error)
            if self._channel == "each":
                self._decoders.count_channels(row.path)  # a file that passes here can be opened in any process
        except GenserError as error:
            return self._failed(row, error)
        return None

    def shard(self, prepared: Iterable[tuple[Row, Timeline | None]]) -> Shard:
        """Recognise recordings one after the other, each while it is decoded."""
        timelines = [(row, failed or self._timeline(row)) for row, failed in prepared]
        table = timeline_rows([], self._recognizer.labels)
        rows = (
            {"row": row.number, **_moved(cells, row.start or 0.0)}
            for row, timeline in timelines
            for cells in timeline_rows([timeline], self._recognizer.labels).rows
        )
        failed = sum(timeline.error is not None for _, timeline in timelines)
        mixed = sum(timeline.mixed > 0 for _, timeline in timelines)
        return _shard(Rows({"row": int, **table.columns}, table.labels, rows), Counts(failed, mixed))

    def _timeline(self, row: Row) -> Timeline:
        """The timeline of a recording or of a part of it; its times begin with 0."""
        opened = partial(self._decoders.stream, row)
        try:
            return recognize_timeline(
                self._recognizer, row.path, self._options, channel=self._channel, open_stream=opened
            )
        except MemoryError:
            raise
        except Exception as error:  # one recording must not stop the others, whatever the reason
            return self._failed(row, error)

    def _failed(self, row: Row, error: Exception) -> Timeline:
        nothing = np.empty((0, 2), np.float32)
        return Timeline(row.path, 0.0, self._recognizer.labels, (), nothing, str(error) or repr(error))


class Features:
    """A row per clip with its features, as a list of fixed length; an empty one for a clip that failed."""

    def __init__(self, job: Job, setup: Setup, decoders: Decoders) -> None:
        from genser.encoders import load_encoder

        if job.encoder is None:
            raise ConfigError("Features need an encoder. Name it in the job.")
        self._encoder, self._bf16, self._decoders = load_encoder(job.encoder, setup.device), job.bf16, decoders
        self._batch = setup.batch_seconds or BATCH_SECONDS
        if setup.threads:
            import torch

            torch.set_num_threads(setup.threads)

    def prepare(self, row: Row) -> np.ndarray | str:
        """Decode a clip; the text is why that failed."""
        try:
            return self._decoders.waveform(row)
        except GenserError as error:
            return str(error)

    def shard(self, prepared: Iterable[tuple[Row, np.ndarray | str]]) -> Shard:
        """Encode the clips in groups that depend on nothing but the rows."""
        import pyarrow as pa
        from pyarrow import parquet

        rows: list[Row] = []
        found: list[np.ndarray | str] = []
        group: list[np.ndarray | str] = []
        for row, waveform in prepared:
            rows.append(row)
            group.append(waveform)
            if sum(len(one) for one in group if not isinstance(one, str)) >= GROUP_SAMPLES:
                found += self._encoded(group)
                group = []
        found += self._encoded(group)
        size = self._encoder.states * self._encoder.dim
        counts = Counts(sum(isinstance(one, str) for one in found))
        about = {"states": self._encoder.states, "dim": self._encoder.dim, "encoder": self._encoder.fingerprint}
        about |= counts.footer()
        columns = {
            "row": pa.array([row.number for row in rows], pa.int64()),
            "path": pa.array([row.path.encode("utf-8", "backslashreplace").decode() for row in rows], pa.string()),
            "start": pa.array([row.start for row in rows], pa.float64()),
            "end": pa.array([row.end for row in rows], pa.float64()),
            "features": pa.array(
                [None if isinstance(one, str) else one.ravel() for one in found], pa.list_(pa.float32(), size)
            ),
            "error": pa.array([one if isinstance(one, str) else None for one in found], pa.string()),
        }
        table = pa.table(columns).replace_schema_metadata({name: str(value) for name, value in about.items()})
        buffer = io.BytesIO()
        parquet.write_table(table, buffer, use_dictionary=["path", "error"])
        return buffer.getvalue(), counts

    def _encoded(self, group: list[np.ndarray | str]) -> list[np.ndarray | str]:
        """Features of each clip, or why there are none; if a group fails, its clips are encoded one by one."""
        from genser.encoders import encode

        waveforms = [one for one in group if not isinstance(one, str)]
        if not waveforms:
            return group
        try:
            encoded = iter(encode(self._encoder, waveforms, batch_seconds=self._batch, bf16=self._bf16))
        except (GenserError, RuntimeError) as error:  # torch raises RuntimeError if a kernel fails
            if len(group) == 1:
                return [str(error)]
            return [one for alone in group for one in self._encoded([alone])]
        results = [one if isinstance(one, str) else next(encoded) for one in group]
        bad = "The encoder gave numbers that are not finite."
        return [one if isinstance(one, str) or np.isfinite(one).all() else bad for one in results]


def _shard(rows: Rows, counts: Counts) -> Shard:
    buffer = io.BytesIO()
    write_parquet(rows, buffer, counts.footer())
    return buffer.getvalue(), counts
