"""Imports ONNX Runtime with its telemetry off, and makes its sessions."""

import os
from pathlib import Path
from types import ModuleType
from typing import Any


def import_onnxruntime() -> ModuleType:
    """Import onnxruntime without telemetry.

    From its first import on, onnxruntime 1.32 keeps a database of events and a device identifier in the user's cache
    folder, from which it sends reports to its maker. It reads the variable only at that import.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    return onnxruntime


def cpu_session(
    path: str | os.PathLike[str], threads: int, *, spinning: bool = True, content: bytes | None = None
) -> Any:
    """Make an ``InferenceSession`` that runs the graph of a file on the CPU.

    Memory patterns are off: they let a session keep 17 KB for every new length of audio, without end. Weights outside
    the file are refused, since a graph may name any file of the folder in which it lies.

    Args:
        path: ONNX file.
        threads: Threads within one operator; operators run one after another.
        spinning: Whether threads spin until more work comes; see :class:`genser.inference.onnx_backend.OnnxBackend`.
        content: Content of the file, if it was read already.

    Raises:
        OSError: The file cannot be read.
        Exception: ONNX Runtime cannot load the graph; its errors have no common base.
    """
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    path = Path(path).resolve()  # as the folder of other files of weights, in which there is none
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path))
    providers = ["CPUExecutionProvider"]
    # A fallback would print to standard output and try the same provider again.
    content = path.read_bytes() if content is None else content
    return onnxruntime.InferenceSession(content, options, providers=providers, enable_fallback=0)
