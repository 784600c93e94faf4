"""Runs a model from its ONNX file with ONNX Runtime, without torch."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from genser.encoders.batches import padded
from genser.errors import ConfigError, ModelError
from genser.files import usable_cores
from genser.inference.backend import MOST_THREADS, ModelOutput
from genser.inference.onnx_file import EXPORT_AGAIN, read_checked
from genser.onnx_runtime import cpu_session, import_onnxruntime

OUTPUTS = ("scores", "trajectory", "states", "speech", "familiar", "gender", "features")


class OnnxBackend:
    """A graph from waveforms to class probabilities.

    The file is checked at once. The session is created in a thread, so that audio can be decoded meanwhile.

    Windows are run one by one, never as a padded batch: over 64 clips of 2 to 5 s a batch of eight took 7 % more time
    in float32 and 13 % more in int8. A few windows share the cores inside each operator. Many run in parallel on one
    core each, in a session of its own, without waiting for each other. While other calls are running, a call gets one
    core.

    Args:
        path: ONNX file written by ``genser export``.
        threads: Number of cores to use; None means those that this process may use.
        shared: Whether several threads call at once. Cores are then released between operators. Otherwise threads spin
            until more work comes, which serves a single caller 4 to 7 ms per clip sooner, but makes the median wait for
            a server on two cores 72 instead of 49 ms at 70 % load.

    Raises:
        ModelError: The file is missing, was changed, was not made by genser or has an unknown format.
    """

    def __init__(self, path: str | os.PathLike[str], threads: int | None = None, *, shared: bool = False) -> None:
        if threads is not None and (isinstance(threads, bool) or not 1 <= threads <= MOST_THREADS):
            raise ConfigError(f"threads must lie in [1, {MOST_THREADS}], got {threads}.")
        self.path, self.threads, self.shared = Path(path), threads or usable_cores(), shared
        content, self.metadata = read_checked(self.path)
        self.labels = tuple(self.metadata["labels"])
        self._sessions: dict[int, Future] = {}
        self._lock = Lock()
        self._callers = 0
        self._start(self.threads, content)

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickle names the file, which is opened again where it is loaded."""
        return partial(OnnxBackend, shared=self.shared), (self.path.absolute(), self.threads)

    def outputs(
        self,
        windows: Sequence[np.ndarray],
        batch_samples: float | None = None,  # noqa: ARG002
        shift: np.ndarray | None = None,
    ) -> Iterator[tuple[list[int], ModelOutput]]:
        """Run on windows, see :class:`genser.inference.backend.Backend`; a batch is always one window.

        Raises:
            ModelError: ONNX Runtime cannot load or run the graph.
        """
        if self.threads == 1 or len(windows) < 2 * self.threads or self._callers:
            for index, window in enumerate(windows):
                yield [index], self._shared(*padded([window]), shift)
        else:
            yield from (([index], output) for index, output in enumerate(self._parallel(windows, shift)))

    def run(
        self,
        waveforms: np.ndarray,
        lengths: np.ndarray,
        shift: np.ndarray | None = None,
        *,
        threads: int | None = None,
    ) -> ModelOutput:
        """Run on a padded batch (batch, samples); each row is valid up to its length of 400 to 480,000 samples.

        Raises:
            ModelError: ONNX Runtime cannot load or run the graph.
        """
        session = self._session(threads or self.threads)
        names = [output.name for output in session.get_outputs()]
        inputs = {"waveform": waveforms, "lengths": lengths}
        if shift is not None:
            inputs["shift"] = shift[None]
        try:
            values = dict(zip(names, session.run(names, inputs), strict=True))
        except Exception as error:  # the errors of ONNX Runtime have no common base
            raise ModelError(f"{self.path} does not run: {error}. {EXPORT_AGAIN}.") from error
        if "scores" not in values or values["scores"].shape != (len(waveforms), len(self.labels)):
            raise ModelError(f"{self.path} does not return a score for each of its classes. {EXPORT_AGAIN}.")
        return ModelOutput(**{name: values[name] for name in OUTPUTS if name in values})

    def _shared(self, waveforms: np.ndarray, lengths: np.ndarray, shift: np.ndarray | None) -> ModelOutput:
        """Run on all cores, or on one if other calls are running."""
        with self._cores() as cores:
            return self.run(waveforms, lengths, shift, threads=cores)

    def _parallel(self, windows: Sequence[np.ndarray], shift: np.ndarray | None) -> list[ModelOutput]:
        """Run each window on one core; a list, as a generator that is abandoned would wait for its threads anywhere."""
        run = partial(self.run, shift=shift, threads=1)
        with self._cores() as cores, ThreadPoolExecutor(cores, thread_name_prefix="genser-run") as executor:
            return list(executor.map(lambda window: run(*padded([window])), windows))

    @contextmanager
    def _cores(self) -> Iterator[int]:
        """Number of cores for a call: all, or one if other calls are running."""
        with self._lock:
            self._callers += 1
            cores = self.threads if self._callers == 1 else 1
        try:
            yield cores
        finally:
            with self._lock:
                self._callers -= 1

    def _session(self, threads: int) -> Any:
        future = self._start(threads)
        if error := future.exception():  # to raise this one would keep the frames of every caller, with their audio
            raise ModelError(str(error))
        return future.result()

    def _start(self, threads: int, content: bytes | None = None) -> Future:
        """Create the session with that many threads, once, in the background."""
        with self._lock:
            if threads not in self._sessions:
                executor = ThreadPoolExecutor(1, thread_name_prefix="genser-session")
                self._sessions[threads] = executor.submit(_make_session, self.path, threads, self.shared, content)
                executor.shutdown(wait=False)
            return self._sessions[threads]


def _make_session(path: Path, threads: int, shared: bool, content: bytes | None) -> Any:
    try:
        return cpu_session(path, threads, spinning=not shared, content=content)
    except Exception as error:  # the errors of ONNX Runtime have no common base
        version = import_onnxruntime().__version__
        raise ModelError(f"{path} cannot be loaded by onnxruntime {version}: {error}. Upgrade onnxruntime.") from error
