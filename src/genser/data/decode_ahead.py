"""Where clips are decoded while an encoder computes."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from genser.audio import load_audio
from genser.audio.augment import AugmentedCopy
from genser.data.utterance import Utterance
from genser.files import usable_cores

MANY_CORES = 8
"""From here on processes decode more than threads: about 0.7 ms of a clip's decoding hold the interpreter's lock."""

AHEAD = 16
"""Clips decoded ahead for every worker."""


@dataclass(frozen=True)
class Job:
    """A row to compute.

    Attributes:
        key: Of the row in its store.
        sound: Hash of the sound file.
        utterance: One that needs it.
    """

    key: str
    sound: str
    utterance: Utterance

    def waveform(self, view: AugmentedCopy | None) -> np.ndarray:
        """Decode the clip, altered by a view."""
        item = self.utterance
        clean = load_audio(item.path, start=item.start, end=item.end)
        return clean if view is None else view(clean, f"{self.sound} {item.start or 0.0} {item.end}")


def decoders() -> int:
    """Workers that decode: one a core, 2 to 16."""
    return min(max(usable_cores(), 2), 16)


def decoding_threads() -> Executor:
    """Threads, which need nothing of the program that starts them."""
    return ThreadPoolExecutor(decoders(), thread_name_prefix="genser-decode")


@contextmanager
def decoding_pool() -> Iterator[Executor]:
    """Threads, or processes where there are many cores.

    Processes import the main module of the program again, so only programs that are written for it may use this.
    """
    if decoders() < MANY_CORES:
        pool = decoding_threads()
    else:
        pool = ProcessPoolExecutor(decoders(), mp_context=multiprocessing.get_context("forkserver"))
    with pool:
        yield pool
