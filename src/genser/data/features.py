"""Computes the features of utterances: decodes ahead, encodes in batches, and keeps the results in a store."""

import math
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from genser.audio import SAMPLE_RATE, load_audio
from genser.audio.augment import AugmentedCopy
from genser.config import build, to_mapping
from genser.data.file_hasher import HASHES, FileHasher
from genser.data.store import FeatureStore
from genser.data.utterance import Utterance
from genser.errors import ConfigError, GenserError, cause, reason
from genser.files import usable_cores

BATCH_SECONDS = 120.0
"""Audio in one batch of the encoder."""

WINDOW_BATCHES = 4
"""Batches decoded together, so that clips of similar length share a batch."""

AHEAD = 16
"""Clips decoded ahead, per worker."""

MANY_CORES = 8
"""From this number on, processes decode faster than threads: each clip holds the interpreter lock for 0.7 ms."""

DECODING = 2
"""Raised when the same file decodes to other samples than before, so that features of earlier versions are not used."""

Progress = Callable[[int, int], None]
HASHED = 10_000
"""Files whose hashes are kept at once: what a stop can lose."""

_FAILURES = (GenserError, OSError, ValueError, RuntimeError)  # torch raises RuntimeError if a kernel fails


@dataclass(frozen=True)
class FeatureProblem:
    """One utterance without features.

    Attributes:
        row: Index in the list of utterances.
        key: Path of the utterance, with its times if it is a part of a file.
        reason: What went wrong.
    """

    row: int
    key: str
    reason: str

    def __str__(self) -> str:
        return f"{self.key}: {self.reason}"


@dataclass(frozen=True)
class Extraction:
    """Result of :func:`compute_features`.

    Attributes:
        keys: Store key of every utterance; None if it has no features.
        problems: One per None.
        computed: Number of rows that the store lacked before.
    """

    keys: tuple[str | None, ...]
    problems: tuple[FeatureProblem, ...]
    computed: int


@dataclass(frozen=True)
class Job:
    """A row to compute.

    Attributes:
        key: Store key of the row.
        audio_hash: SHA-256 of the audio file.
        utterance: First utterance that needs the row.
    """

    key: str
    audio_hash: str
    utterance: Utterance

    def waveform(self, augmented_copy: AugmentedCopy | None) -> np.ndarray:
        """Decode the clip, mono at 16 kHz, and augment it."""
        item = self.utterance
        clean = load_audio(item.path, start=item.start, end=item.end)
        if augmented_copy is None:
            return clean
        return augmented_copy(clean, f"{self.audio_hash} {item.start or 0.0} {item.end}")


def decoders() -> int:
    """Workers that decode: one per core, 2 to 16; processes that torchrun starts on a machine share its cores."""
    size = os.environ.get("LOCAL_WORLD_SIZE", "")
    return min(max(usable_cores() // max(int(size) if size.isdecimal() else 1, 1), 2), 16)


def decoding_threads() -> Executor:
    """Threads that decode."""
    return ThreadPoolExecutor(decoders(), thread_name_prefix="genser-decode")


@contextmanager
def decoding_pool() -> Iterator[Executor]:
    """Threads that decode, or processes from 8 cores on.

    A new process imports the main module of the program again, so importing that module must have no effect.

    Raises:
        GenserError: A process was killed.
    """
    if decoders() < MANY_CORES:
        pool = decoding_threads()
    else:
        method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"  # Windows
        context = multiprocessing.get_context(method)
        ignored = (signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; this one stops the pool
        pool = ProcessPoolExecutor(decoders(), mp_context=context, initializer=signal.signal, initargs=ignored)
    try:
        with pool:
            yield pool
    except BrokenExecutor as error:
        raise GenserError(
            "A process that decodes was killed, perhaps because memory ran out. What is finished is stored. Run the "
            "command again on fewer cores, such as with: taskset -c 0-3 genser …"
        ) from error


def open_store(
    path: str | os.PathLike[str],
    encoder: Any,
    *,
    bf16: bool | None = None,
    augmented_copy: AugmentedCopy | None = None,
) -> FeatureStore:
    """Open the feature store of an encoder, for clean clips or for one augmented copy of each.

    Args:
        path: Store folder; every combination of the other arguments has its own subfolder.
        encoder: Any encoder of :mod:`genser.encoders`.
        bf16: Whether to compute in bfloat16. None does so on a GPU, where it is several times as fast.
        augmented_copy: Augmentation of the clips before they are encoded.

    Raises:
        StoreError: The store is damaged, was changed, or has the format of an older genser.
    """
    if bf16 is None:
        bf16 = str(encoder.device).startswith("cuda")
    settings = {"sample_rate": SAMPLE_RATE, "decoding": DECODING, "bf16": bf16}
    settings |= {} if augmented_copy is None else {"augmented_copy": to_mapping(augmented_copy)}
    return FeatureStore(path, encoder.fingerprint, (encoder.states, encoder.dim), settings=settings)


def extract_features(
    utterances: Sequence[Utterance],
    encoder: Any,
    store: FeatureStore,
    *,
    progress: Progress | None = None,
    batch_seconds: float = BATCH_SECONDS,
) -> tuple[np.ndarray, list[FeatureProblem]]:
    """Features of all utterances as one array; rows that the store lacks are computed.

    Args:
        utterances: In any order; files with the same bytes are computed once.
        encoder: Any encoder of :mod:`genser.encoders`.
        store: From :func:`open_store`.
        progress: Called with the number of finished rows and of all rows to compute.
        batch_seconds: Audio in one batch of the encoder, in seconds.

    Returns:
        float32 array of shape (utterances, states, dim), with a row of NaN for each problem; and the problems.

    Raises:
        StoreError: The store cannot be read or written.
    """
    extraction = compute_features(utterances, encoder, store, progress=progress, batch_seconds=batch_seconds)
    found = store.rows(key for key in extraction.keys if key is not None)
    if not extraction.problems:
        return found, []
    features = np.full((len(utterances), *store.shape), np.nan, dtype=np.float32)
    features[[key is not None for key in extraction.keys]] = found
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
    """Add the features of all utterances to the store.

    Workers hash and decode files while the encoder computes. A clip that cannot be read, decoded or encoded becomes a
    problem and does not stop the others. A run that was stopped continues from there.

    Args:
        utterances: In any order; files with the same bytes are computed once.
        encoder: Any encoder of :mod:`genser.encoders`.
        store: From :func:`open_store`.
        progress: Called with the number of finished rows and of all rows to compute.
        batch_seconds: Audio in one batch of the encoder, in seconds.
        pool: Workers that decode; None starts threads.

    Raises:
        ConfigError: ``batch_seconds`` is not above 0.
        StoreError: The store cannot be read or written.
    """
    if not 0 < batch_seconds < math.inf:
        raise ConfigError(f"batch_seconds must be a number above 0, got {batch_seconds}.")
    store.refresh()
    failures: dict[str, str] = {}  # reason by key, or by path if the file cannot even be read
    jobs = _jobs(utterances, store, failures)
    lacking = store.missing(job.key for job in jobs if job)
    if lacking:
        with store.writing(), nullcontext(pool) if pool else decoding_threads() as decoding:
            lacking = store.missing(lacking)  # another program may have been faster
            by_key = {job.key: job for job in reversed(jobs) if job}
            run = _Run(encoder, store, batch_seconds, decoding, failures)
            run.compute([by_key[key] for key in lacking], progress or (lambda *_: None))
    keys = [None if job is None or job.key in failures else job.key for job in jobs]
    problems = tuple(
        FeatureProblem(row, item.key, failures[item.path if job is None else job.key])
        for row, (item, job, key) in enumerate(zip(utterances, jobs, keys, strict=True))
        if key is None
    )
    return Extraction(tuple(keys), problems, sum(key not in failures for key in lacking))


def _jobs(utterances: Sequence[Utterance], store: FeatureStore, failures: dict[str, str]) -> list[Job | None]:
    """A job per utterance; None if its file cannot be read."""
    paths = list(dict.fromkeys(item.path for item in utterances))
    hasher = FileHasher(store.path / HASHES, paths)

    def attempt(path: str) -> str | None:
        try:
            return hasher(path)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            failures[path] = f"cannot be read: {cause(error)}"
            return None

    hashes: dict[str, str | None] = {}
    with decoding_threads() as threads:
        for start in range(0, len(paths), HASHED):
            some = paths[start : start + HASHED]
            hashes |= zip(some, threads.map(attempt, some), strict=True)
            hasher.save()
    found = ((hashes[item.path], item) for item in utterances)
    return [Job(store.key(audio, item.start, item.end), audio, item) if audio else None for audio, item in found]


@dataclass
class _Run:
    """One pass over the jobs: workers decode, the encoder computes."""

    encoder: Any
    store: FeatureStore
    batch_seconds: float
    pool: Executor
    failures: dict[str, str]

    def compute(self, jobs: Sequence[Job], progress: Progress) -> None:
        """Encode all jobs, in windows of a few batches."""
        window: list[tuple[Job, np.ndarray]] = []
        samples = 0
        for done, (job, waveform) in enumerate(self.decoded(jobs), start=1):
            if waveform is not None:
                window.append((job, waveform))
                samples += len(waveform)
            if samples >= self.batch_seconds * WINDOW_BATCHES * SAMPLE_RATE or done == len(jobs):
                self.encode(window)
                window, samples = [], 0
                progress(done, len(jobs))

    def decoded(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, np.ndarray | None]]:
        """Waveforms in the order of the jobs, decoded a few ahead; None for a failure, which is noted."""
        copy = self.store.settings.get("augmented_copy")
        augmented_copy = copy and build(AugmentedCopy, copy)
        waiting: deque[tuple[Job, Future]] = deque()
        rest = iter(jobs)
        while True:
            for job in islice(rest, AHEAD * decoders() - len(waiting)):
                waiting.append((job, self.pool.submit(job.waveform, augmented_copy)))
            if not waiting:
                return
            job, future = waiting.popleft()
            try:
                yield job, future.result()
            except BrokenExecutor:  # a RuntimeError, but not of this clip
                raise
            except _FAILURES as error:
                self.failures[job.key] = reason(error)
                yield job, None

    def encode(self, window: Sequence[tuple[Job, np.ndarray]]) -> None:
        """Encode a window; if that fails, encode each of its clips alone, so that only the bad ones are lost."""
        from genser.encoders import encode

        if not window:
            return
        bf16 = bool(self.store.settings.get("bf16"))
        waveforms = [waveform for _, waveform in window]
        try:
            rows = encode(self.encoder, waveforms, batch_seconds=self.batch_seconds, bf16=bf16)
        except _FAILURES as error:
            if len(window) == 1:
                self.failures[window[0][0].key] = reason(error)
            else:
                for one in window:
                    self.encode([one])
            return
        keys = [job.key for job, _ in window]
        finite = np.isfinite(rows).all(axis=(1, 2))
        for index in np.flatnonzero(~finite):
            self.failures[keys[index]] = "The encoder gave numbers that are not finite."
        self.store.add_many([keys[index] for index in np.flatnonzero(finite)], rows[finite])
