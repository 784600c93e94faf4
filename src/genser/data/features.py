"""Features of utterances: decoded and encoded once, kept in a store, found again by content."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from genser.audio import SAMPLE_RATE
from genser.audio.augment import AugmentedCopy
from genser.config import build, to_mapping
from genser.data.decode_ahead import AHEAD, Job, decoders, decoding_threads
from genser.data.hashing import FileHasher
from genser.data.store import FeatureStore, feature_key
from genser.data.utterance import Utterance
from genser.errors import ConfigError, GenserError

__all__ = [
    "Extraction",
    "FeatureProblem",
    "FeatureStore",
    "compute_features",
    "extract_features",
    "feature_key",
    "open_store",
]

BATCH_SECONDS = 120.0  # sound that the encoder takes at once
WINDOW_BATCHES = 4  # batches decoded together, so that clips of like length meet
Progress = Callable[[int, int], None]
_FAILURES = (GenserError, OSError, ValueError, RuntimeError)  # torch reports a failing kernel as RuntimeError


@dataclass(frozen=True)
class FeatureProblem:
    """One utterance without features.

    Args:
        row: Its position in the list of utterances.
        key: Its path, with the times where it is a part.
        reason: What went wrong.
    """

    row: int
    key: str
    reason: str

    def __str__(self) -> str:
        return f"{self.key}: {self.reason}"


@dataclass(frozen=True)
class Extraction:
    """What :func:`compute_features` did.

    Args:
        keys: Key in the store for every utterance; None where it has no features.
        problems: One for every None.
        computed: Number of rows that were not in the store before.
    """

    keys: tuple[str | None, ...]
    problems: tuple[FeatureProblem, ...]
    computed: int


_Decoded = tuple[Job, np.ndarray]


def open_store(
    path: str | os.PathLike[str],
    encoder: Any,
    *,
    dtype: str = "float32",
    bf16: bool | None = None,
    view: AugmentedCopy | None = None,
) -> FeatureStore:
    """Open the feature store of an encoder, of clips as they are or of one altered copy of each.

    Args:
        path: Folder of stores; each encoder has its own inside.
        encoder: One of ``genser.encoders``.
        dtype: Number format on disk.
        bf16: Whether features are computed in bfloat16; they are kept apart from the others. None does so where the
            encoder is on a GPU, which is several times as fast.
        view: How clips are altered before they are encoded. A store belongs to one view and alters what it computes by
            it, so that altered features are never taken for clean ones.

    Raises:
        StoreError: The store is damaged or was altered.
    """
    if bf16 is None:
        bf16 = str(encoder.device).startswith("cuda")
    settings = {"sample_rate": SAMPLE_RATE, "bf16": bf16}
    settings |= {} if view is None else {"view": to_mapping(view)}
    return FeatureStore(path, encoder.fingerprint, (encoder.states, encoder.dim), dtype, settings=settings)


def extract_features(
    utterances: Sequence[Utterance],
    encoder: Any,
    store: FeatureStore,
    *,
    progress: Progress | None = None,
    batch_seconds: float = BATCH_SECONDS,
) -> tuple[np.ndarray, list[FeatureProblem]]:
    """Features of all utterances as one array, computed where the store lacks them.

    Args:
        utterances: In any order; equal sounds are computed once.
        encoder: One of ``genser.encoders``.
        store: From :func:`open_store`.
        progress: Called with the rows done and the rows to do.
        batch_seconds: Sound in one batch of the encoder.

    Returns:
        float32 array of shape (utterances, states, dim), a row of NaN for each problem; and the problems.

    Raises:
        StoreError: The store cannot be read or written.
    """
    extraction = compute_features(utterances, encoder, store, progress=progress, batch_seconds=batch_seconds)
    features = np.full((len(utterances), *store.shape), np.nan, dtype=np.float32)
    there = [row for row, key in enumerate(extraction.keys) if key is not None]
    features[there] = store.rows(extraction.keys[row] for row in there)
    return features, list(extraction.problems)


def compute_features(
    utterances: Sequence[Utterance],
    encoder: Any,
    store: FeatureStore,
    *,
    progress: Progress | None = None,
    batch_seconds: float = BATCH_SECONDS,
    pool: Executor | None = None,
) -> Extraction:
    """Bring the features of all utterances into the store.

    Others hash and decode while the encoder computes. A clip that cannot be read, decoded or encoded becomes a problem
    and stops nothing. Stopped at any moment and begun again, it goes on where it was.

    Args:
        utterances: In any order; equal sounds are computed once.
        encoder: One of ``genser.encoders``.
        store: From :func:`open_store`.
        progress: Called with the rows done and the rows to do.
        batch_seconds: Sound in one batch of the encoder.
        pool: Where clips are decoded, such as processes; None makes threads.

    Returns:
        Keys aligned with the utterances, and the problems.

    Raises:
        ConfigError: ``batch_seconds`` is not above 0.
        StoreError: The store cannot be read or written.
    """
    if not batch_seconds > 0:
        raise ConfigError(f"batch_seconds is {batch_seconds}; a batch needs more than 0 seconds of sound")
    store.refresh()
    with nullcontext(pool) if pool else decoding_threads() as decoding:
        run = _Run(encoder, store, batch_seconds, decoding, progress or _silent)
        jobs = run.jobs(utterances)
        keys = [job and job.key for job in jobs]
        lacking = set(store.missing(key for key in keys if key is not None))
        waiting = {job.key: job for job in jobs if job and job.key in lacking}
        try:
            run.compute(list(waiting.values()))
        finally:
            store.flush()
    return _extraction(utterances, keys, run.failures, len(waiting))


def _silent(done: int, total: int) -> None:
    """Progress that nobody watches."""


class _Run:
    """One pass over the jobs: decoding on one side, the encoder on the other."""

    def __init__(
        self, encoder: Any, store: FeatureStore, batch_seconds: float, pool: Executor, progress: Progress
    ) -> None:
        self.encoder = encoder
        self.store = store
        self.batch_seconds = batch_seconds
        self.pool = pool
        self.progress = progress
        self.view = build(AugmentedCopy, store.settings["view"]) if "view" in store.settings else None
        self.failures: dict[str, str] = {}  # reasons by key, or by path where the file cannot even be read
        self.done = 0

    def jobs(self, utterances: Sequence[Utterance]) -> list[Job | None]:
        hasher = FileHasher(self.store.path / "hashes.jsonl")
        paths = list(dict.fromkeys(item.path for item in utterances))

        def attempt(path: str) -> str | None:
            try:
                return hasher(path)
            except (OSError, ValueError) as error:  # ValueError: a NUL in the name
                self.failures[path] = f"cannot be read: {error}"
                return None

        with decoding_threads() as threads:
            hashes = dict(zip(paths, threads.map(attempt, paths), strict=True))
        hasher.save()
        found = ((hashes[item.path], item) for item in utterances)
        return [sound and Job(self.store.key(sound, item.start, item.end), sound, item) for sound, item in found]

    def compute(self, jobs: Sequence[Job]) -> None:
        for window in _windows(self.decoded(jobs), self.batch_seconds * WINDOW_BATCHES):
            self.encode(window)
            self.done += len(window)
            self.progress(self.done, len(jobs))
        if jobs:
            self.progress(len(jobs), len(jobs))

    def decoded(self, jobs: Iterable[Job]) -> Iterator[_Decoded]:
        """Waveforms in the order of the jobs, decoded a few ahead; failures are noted and passed over."""
        waiting: deque[tuple[Job, Future]] = deque()
        rest = iter(jobs)
        while True:
            for job in islice(rest, AHEAD * decoders() - len(waiting)):
                waiting.append((job, self.pool.submit(job.waveform, self.view)))
            if not waiting:
                return
            job, future = waiting.popleft()
            try:
                yield job, future.result()
            except _FAILURES as error:
                self.failures[job.key] = _reason(error)
                self.done += 1

    def encode(self, window: Sequence[_Decoded]) -> None:
        """Encode a window; where that fails, each of its clips alone, so that only the bad ones are lost."""
        from genser.encoders import encode

        bf16 = bool(self.store.settings.get("bf16"))
        waveforms = [waveform for _, waveform in window]
        try:
            rows = encode(self.encoder, waveforms, batch_seconds=self.batch_seconds, bf16=bf16)
        except _FAILURES as error:
            if len(window) == 1:
                self.failures[window[0][0].key] = _reason(error)
            else:
                for one in window:
                    self.encode([one])
            return
        self.keep([job.key for job, _ in window], rows)

    def keep(self, keys: Sequence[str], rows: np.ndarray) -> None:
        with np.errstate(over="ignore"):
            finite = np.isfinite(rows.astype(self.store.dtype)).all(axis=(1, 2))
        reason = f"the encoder gave numbers that are not finite as {self.store.dtype.name}"
        self.failures.update((keys[row], reason) for row in np.flatnonzero(~finite))
        self.store.add_many([keys[row] for row in np.flatnonzero(finite)], rows[finite])


def _windows(decoded: Iterable[_Decoded], seconds: float) -> Iterator[list[_Decoded]]:
    window: list[_Decoded] = []
    samples = 0
    for job, waveform in decoded:
        window.append((job, waveform))
        samples += len(waveform)
        if samples >= seconds * SAMPLE_RATE:
            yield window
            window, samples = [], 0
    if window:
        yield window


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, GenserError) else f"{type(error).__name__}: {error}"


def _extraction(
    utterances: Sequence[Utterance], keys: Sequence[str | None], failures: dict[str, str], jobs: int
) -> Extraction:
    problems = []
    kept = list(keys)
    for row, (item, key) in enumerate(zip(utterances, keys, strict=True)):
        reason = failures.get(item.path if key is None else key)
        if reason is not None:
            problems.append(FeatureProblem(row, item.key, reason))
            kept[row] = None
    failed = sum(key in failures for key in set(keys) - {None})
    return Extraction(tuple(kept), tuple(problems), jobs - failed)
