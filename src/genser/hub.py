"""Downloads models from the Hugging Face hub, through huggingface_hub and its cache, without telemetry."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from genser.errors import MissingExtraError, ModelError

PREFIX = "hf:"
SNAPSHOT = re.compile(r"models--(.+?)--(.+)")
"""Folder of a model in the cache of huggingface_hub, above ``snapshots/COMMIT``."""


def import_hub(purpose: str) -> ModuleType:
    """Import huggingface_hub with its telemetry off.

    Args:
        purpose: What needs it, as the start of a sentence.

    Raises:
        MissingExtraError: It is not installed.
    """
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        import huggingface_hub.constants
    except ImportError as error:
        raise MissingExtraError("hub", purpose) from error
    huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY = True  # if it was imported before
    return huggingface_hub


def download(name: str, revision: str | None, patterns: Sequence[str], *, local_files_only: bool = False) -> Path:
    """Download some files of a model, unless they are in the cache; offline, the cache alone is read.

    Args:
        name: ``owner/name``.
        revision: Branch, tag or commit; None means the newest of ``main``.
        patterns: Which files.
        local_files_only: Whether the cache alone is read, as with the environment variable ``HF_HUB_OFFLINE``.

    Returns:
        Folder ``snapshots/COMMIT`` in the cache.

    Raises:
        ModelError: There is no such model or revision, it is not in the cache and cannot be downloaded.
        MissingExtraError: huggingface_hub is not installed.
    """
    hub = import_hub(f"Fetching {name}")
    try:
        found = hub.snapshot_download(
            name, revision=revision, allow_patterns=list(patterns), local_files_only=local_files_only
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"{name} is neither a local folder nor a model that can be downloaded or is in the cache "
            f"(revision {revision or 'main'}): {type(error).__name__}. Check the name and the network, "
            "or copy the model to this machine and name its folder or file instead."
        ) from error
    return Path(found)


def pinned_name(path: Path) -> str | None:
    """``hf:owner/name@COMMIT`` of a file or folder in the cache of huggingface_hub; None for any other."""
    for folder in (path, path.parent):
        match = SNAPSHOT.fullmatch(folder.parent.parent.name)
        if match and folder.parent.name == "snapshots":
            return f"{PREFIX}{match[1]}/{match[2]}@{folder.name}"
    return None
