"""Waveforms of training rows, decoded in advance and kept in memory.

An adaptation draws each many times, and every adapted encoder encodes all of them anew.
"""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from dataclasses import replace

import numpy as np

from genser.audio import load_audio
from genser.audio.augment import AugmentedCopy
from genser.data.features import decoding_pool
from genser.data.utterance import Utterance
from genser.encoders import SpeechEncoder, encode
from genser.encoders.batches import SHORTEST
from genser.encoders.encode_clips import has_fast_bf16
from genser.training.data import Dataset
from genser.training.distributed import ALONE, Processes
from genser.training.recipe import TrainConfig

MEMORY = 6 * 2**30
"""Bytes of waveforms that are kept: 55 hours."""

AHEAD = 3
"""Batches that are decoded in advance."""

BATCH, BATCH_SECONDS = 1024, 240.0
"""Clips that are encoded together, and seconds of audio that the encoder sees at once."""

FULL_SCALE = 32767.0

Draw = tuple[Utterance, AugmentedCopy | None]
"""A clip, or an augmented copy of it."""


class Clips:
    """Decodes drawn clips and copies in workers, and keeps them as 16-bit integers until the memory is used up."""

    def __init__(self) -> None:
        self._kept: dict[Draw, np.ndarray] = {}
        self._bytes = 0

    def batches(self, draws: Iterable[Sequence[Draw]]) -> Iterator[list[np.ndarray]]:
        """The waveforms of each batch of draws: mono at 16 kHz, int16, each of shape (samples,).

        Raises:
            AudioError: A clip cannot be read.
        """
        waiting: deque[tuple[Sequence[Draw], list[np.ndarray | Future]]] = deque()
        with ExitStack() as stack:
            pool: Executor | None = None
            for batch in draws:
                if pool is None and not all(draw in self._kept for draw in batch):
                    pool = stack.enter_context(decoding_pool())  # processes take seconds to start
                waiting.append((batch, [self._begin(draw, pool) for draw in batch]))
                if len(waiting) > AHEAD:
                    yield self._finish(*waiting.popleft())
            while waiting:
                yield self._finish(*waiting.popleft())

    def dataset(
        self,
        encoder: SpeechEncoder,
        dataset: Dataset,
        copied: np.ndarray,
        config: TrainConfig,
        processes: Processes = ALONE,
    ) -> Dataset:
        """A data set with the features of an adapted encoder, and with augmented copies of some rows.

        They are not stored, since each adapted encoder needs all of them anew.

        Args:
            encoder: The adapted encoder.
            dataset: Clips with the features of any encoder.
            copied: Indices of the rows to copy, such as the training rows; a copy of any other row is the clip itself.
            config: Recipe with the augmentation and the number of copies.
            processes: Processes that share the work; each encodes its part of the clips.
        """
        items, chosen = dataset.utterances, [dataset.utterances[row] for row in copied]
        features = self._table("adapted", encoder, [(item, None) for item in items], processes)
        if not config.augmented_copies:
            return replace(dataset, features=features)
        copies = [AugmentedCopy(config.augmentation, index + 1) for index in range(config.augmented_copies)]
        tables = [
            self._table(f"adapted-copy-{copy.number}", encoder, [(item, copy) for item in chosen], processes)
            for copy in copies
        ]

        def augmented() -> dict[str, np.ndarray]:
            found = np.repeat(features[:, None], len(copies), axis=1)
            for index, rows in enumerate(tables):
                found[copied, index] = rows
            return {"adapted-copies": found}

        return replace(dataset, features=features, augmented=processes.once(augmented)["adapted-copies"])

    def _table(self, name: str, encoder: SpeechEncoder, draws: Sequence[Draw], processes: Processes) -> np.ndarray:
        """Features of draws: each process encodes whole batches, so that their number does not change the result."""
        part = [draws[index] for index in processes.share(len(draws), BATCH)]
        return processes.table(name, self.features(encoder, part), len(draws), BATCH)

    def features(self, encoder: SpeechEncoder, draws: Sequence[Draw]) -> np.ndarray:
        """Features of drawn clips and copies, float32 of shape (draws, states, dim), in bfloat16 where that is fast."""
        parts = [draws[start : start + BATCH] for start in range(0, len(draws), BATCH)]
        options = {"batch_seconds": BATCH_SECONDS, "bf16": has_fast_bf16(encoder.device)}
        found = [
            encode(encoder, [one / np.float32(FULL_SCALE) for one in part], **options) for part in self.batches(parts)
        ]
        return np.concatenate([np.empty((0, encoder.states, encoder.dim), np.float32), *found])

    def _begin(self, draw: Draw, pool: Executor | None) -> np.ndarray | Future:
        kept = self._kept.get(draw)
        if kept is not None:
            return kept
        assert pool is not None  # it is started with the first draw that is not kept
        return pool.submit(_decoded, *draw)

    def _finish(self, batch: Sequence[Draw], found: Sequence[np.ndarray | Future]) -> list[np.ndarray]:
        waveforms = [one.result() if isinstance(one, Future) else one for one in found]
        for draw, waveform in zip(batch, waveforms, strict=True):
            if draw not in self._kept and self._bytes + waveform.nbytes <= MEMORY:
                self._kept[draw] = waveform
                self._bytes += waveform.nbytes
        return waveforms


def _decoded(item: Utterance, augmented_copy: AugmentedCopy | None) -> np.ndarray:
    waveform = load_audio(item.path, start=item.start, end=item.end)
    if augmented_copy is not None:
        copy = augmented_copy(waveform, hashlib.sha256(waveform.tobytes()).hexdigest())
        waveform = copy if len(copy) >= SHORTEST else waveform
    return np.rint(np.clip(waveform, -1.0, 1.0) * FULL_SCALE).astype(np.int16)
