"""Runs a model from its ONNX file with ONNX Runtime; torch is never needed."""

import math
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from genser.errors import ConfigError, ModelError
from genser.runtime.backend import ModelOutput
from genser.runtime.onnx_file import AGAIN, read_metadata

OUTPUTS = ("scores", "trajectory", "states", "speech")


class OnnxBackend:
    """A graph from waveforms to class probabilities.

    The file is checked at once. The session is made in a thread, so that sound can be decoded meanwhile.

    Args:
        path: ONNX file made by ``genser export``.
        threads: Threads within one operator; None takes the physical cores that this process may use.

    Raises:
        ModelError: Missing, altered, foreign, or of another format.
    """

    def __init__(self, path: str | os.PathLike[str], threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise ConfigError(f"threads must be at least 1, got {threads}.")
        self.path = Path(path)
        self.metadata: dict[str, Any] = read_metadata(self.path)
        self.labels = tuple(self.metadata["labels"])
        self.together = bool(self.metadata["together"])
        executor = ThreadPoolExecutor(1, thread_name_prefix="genser-session")
        self._session: Future = executor.submit(_make_session, self.path, threads)
        executor.shutdown(wait=False)

    def run(self, waveforms: np.ndarray, lengths: np.ndarray) -> ModelOutput:
        """Run on mono 16 kHz sound of shape (batch, samples), each valid for its length of 400 … 480,000 samples.

        Raises:
            ModelError: ONNX Runtime cannot load or run the graph.
        """
        session = self._session.result()
        inputs = {"waveform": waveforms.astype(np.float32, copy=False), "lengths": lengths.astype(np.int64, copy=False)}
        names = [output.name for output in session.get_outputs()]
        try:
            values = dict(zip(names, session.run(names, inputs), strict=True))
        except Exception as error:  # ONNX Runtime's errors have no common base
            raise ModelError(f"{self.path} does not run: {error}. {AGAIN}.") from error
        return ModelOutput(*(values.get(name) for name in OUTPUTS))


def _make_session(path: Path, threads: int | None) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or _granted_cores()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common base
        version = onnxruntime.__version__
        raise ModelError(f"{path} cannot be loaded by onnxruntime {version}: {error}. Upgrade onnxruntime.") from error


def _granted_cores(limit: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Cores that a container's quota grants; 0, ONNX Runtime's own count of physical cores, where there is none."""
    try:
        quota, period = limit.read_text(encoding="ascii").split()
        return math.ceil(int(quota) / int(period))
    except (OSError, ValueError):
        return 0
