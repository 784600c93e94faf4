"""Keeps the caches of dependencies out of the user's folders."""

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

TORCH_COMPILER = ("torch._dynamo", "torch._inductor.compiler_bisector")
"""Modules of torch that make a folder for the compiler's cache when they are imported."""


@contextmanager
def temporary_caches(*variables: str) -> Iterator[Path]:
    """Name one temporary folder in environment variables, for a dependency that writes a cache at its import.

    Args:
        *variables: Names; their values are restored at the end, and the folder is removed.
    """
    before = {name: os.environ.get(name) for name in variables}
    with TemporaryDirectory(prefix="genser-") as folder:
        os.environ.update(dict.fromkeys(variables, folder))
        try:
            yield Path(folder)
        finally:
            for name, value in before.items():
                os.environ.pop(name)
                os.environ.update({} if value is None else {name: value})


def import_torch_compiler() -> None:
    """Import torch's compiler, which optimizers and exports load, without the folder that its import leaves behind.

    genser compiles nothing, so the folder stays empty. A folder named by ``TORCHINDUCTOR_CACHE_DIR`` is used.
    """
    missing = [name for name in TORCH_COMPILER if name not in sys.modules]
    if missing and "TORCHINDUCTOR_CACHE_DIR" not in os.environ:
        with temporary_caches("TORCHINDUCTOR_CACHE_DIR"), suppress(ImportError):  # other versions have other modules
            for name in missing:
                importlib.import_module(name)
