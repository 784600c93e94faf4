"""Predictions of the recordings in a table of pandas, Polars or Arrow, as a table of the same kind."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from genser.audio import AudioLimits, AudioStream, stream_audio
from genser.errors import AudioError, ConfigError, GenserError, MissingExtraError, suggestion
from genser.inference.prediction import Prediction
from genser.storage import is_url

if TYPE_CHECKING:
    from genser.inference.recognizer import Recognizer

NUMBERS = ("score", "familiar", "duration")
TEXTS = ("label", "remark", "error")


class TablePredictions:
    """What a recogniser does with tables."""

    _limits: AudioLimits

    def predict_table(
        self,
        table: Any,
        path: str = "path",
        *,
        start: str | None = None,
        end: str | None = None,
        folder: str | os.PathLike[str] = "",
        prefix: str = "",
    ) -> Any:
        """Recognise the recordings in a table of pandas, Polars or Arrow.

        Args:
            table: A ``pandas.DataFrame``, ``polars.DataFrame`` or ``pyarrow.Table``.
            path: Name of the column of paths.
            start: Name of a column of times in seconds at which clips start; a missing time is the beginning.
            end: Name of a column of times at which they end; a missing time is the end.
            folder: Folder in which relative paths begin.
            prefix: Begin of the names of the new columns.

        Returns:
            A table of the same kind, with the columns label, remark, error, score, familiar, duration and one of each
            class behind those of the table. A row whose recording or times cannot be used has the reason in error, and
            no label.

        Raises:
            ConfigError: It is no such table, a column is missing, or the table has one of the new names.
            MissingExtraError: It needs the extra [tables].
        """
        try:
            import narwhals
        except ImportError as error:
            raise MissingExtraError("tables", "A table") from error
        try:
            frame = narwhals.from_native(table, eager_only=True)
        except TypeError as error:
            raise ConfigError(
                f"{type(table).__name__} is not a table of pandas, Polars or Arrow in memory. Convert it to one."
            ) from error
        for name in filter(None, (path, start, end)):
            if name not in frame.columns:
                raise ConfigError(f"The table has no column {name!r}. {suggestion(name, frame.columns)}")
        names = self._columns()
        if taken := [prefix + name for name in names if prefix + name in frame.columns]:
            raise ConfigError(
                f"The table has the column {taken[0]!r} already. Name those of the predictions otherwise, such as by "
                "prefix='predicted_'."
            )
        starts, ends = (frame[name].to_list() if name else [None] * len(frame) for name in (start, end))
        rows = self._rows(frame[path].to_list(), starts, ends, folder)
        new = [
            narwhals.new_series(
                prefix + name,
                [row.get(name) for row in rows],
                narwhals.String() if name in TEXTS else narwhals.Float64(),
                backend=frame.implementation,
            )
            for name in names
        ]
        return frame.with_columns(*new).to_native()

    def predict_index(self, index: Any, folder: str | os.PathLike[str] = "") -> Any:
        """Recognise the files or segments of an index of audformat.

        Args:
            index: The ``pandas.Index`` of a filewise or segmented table, with the levels file, or file, start and end.
            folder: Folder in which relative paths begin, such as that of the database.

        Returns:
            A ``pandas.DataFrame`` with this index and the columns of :meth:`predict_table`.

        Raises:
            ConfigError: The index has other levels.
        """
        import pandas

        if list(index.names) not in (["file"], ["file", "start", "end"]):
            raise ConfigError(f"An index of audformat has the levels file, or file, start, end; got {index.names}.")

        def seconds(name: str) -> list[float | None]:
            values = index.get_level_values(name) if name in index.names else [None] * len(index)
            return [None if pandas.isna(one) else pandas.Timedelta(one).total_seconds() for one in values]

        rows = self._rows(index.get_level_values("file").tolist(), seconds("start"), seconds("end"), folder)
        return pandas.DataFrame(rows, index=index, columns=self._columns())  # type: ignore[arg-type]

    def _columns(self) -> list[str]:
        """Names of the columns of a prediction."""
        return [*TEXTS, *NUMBERS, *cast("Recognizer", self).labels]

    def _rows(
        self, paths: Iterable[Any], starts: Iterable, ends: Iterable, folder: str | os.PathLike[str]
    ) -> list[dict[str, Any]]:
        """A prediction of each part of a recording."""
        parts, failed = list(zip(paths, starts, ends, strict=True)), dict[int, Prediction]()

        def streams() -> Iterator[AudioStream]:
            for number, part in enumerate(parts):
                try:
                    yield _stream(*part, Path(folder), self._limits)
                except GenserError as error:
                    failed[number] = Prediction(str(part[0]), None, error=str(error))

        found = iter(list(cast("Recognizer", self).predict_many(streams())))
        rows = [failed.get(number) or next(found) for number in range(len(parts))]
        return [{**row.to_dict(), **row.scores} for row in rows]


def _stream(path: Any, start: Any, end: Any, folder: Path, limits: AudioLimits) -> AudioStream:
    """A recording, or its part between two times in seconds; a missing time is the begin or the end."""
    if path is None or path != path:
        raise AudioError("The path is missing.")
    times: list[float | None] = []
    for time in (start, end):
        try:
            times.append(None if time is None or time != time else float(time))
        except (TypeError, ValueError) as error:
            raise AudioError(f"{path}: {time!r} is no time in seconds.") from error
    return stream_audio(path if is_url(path) else folder / str(path), start=times[0], end=times[1], limits=limits)
