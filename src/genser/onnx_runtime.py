"""Imports ONNX Runtime with its telemetry off."""

import os
from types import ModuleType


def import_onnxruntime() -> ModuleType:
    """Import onnxruntime without telemetry.

    From its first import on, onnxruntime 1.32 keeps a database of events and a device identifier in the user's cache
    folder, from which it sends reports to its maker. It reads the variable only at that import.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    return onnxruntime
