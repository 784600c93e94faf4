"""Imports matplotlib without leaving its caches behind."""

import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from genser.caches import temporary_caches
from genser.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def import_figure(purpose: str) -> "type[Figure]":
    """Import matplotlib's class of figures.

    At its import, matplotlib writes a list of fonts into the user's cache folder, and fontconfig its own cache beside
    it. Here both are written into a temporary folder, which is then removed. A list of fonts that matplotlib made
    before is used, as it saves the search. Where ``MPLCONFIGDIR`` names a folder, matplotlib writes there.

    A figure needs no backend, which only windows use. But the import fails where ``MPLBACKEND`` names one that is not
    installed, as in programs that a notebook starts. So matplotlib does not see that name during its import.

    Args:
        purpose: What the figure is for, as the start of an error message.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        if "matplotlib" in sys.modules:
            from matplotlib.figure import Figure
        else:
            Figure = _imported()
    except ImportError as error:
        raise MissingExtraError("plot", purpose) from error
    return Figure


def _imported() -> "type[Figure]":
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        if "MPLCONFIGDIR" in os.environ:
            from matplotlib.figure import Figure
        else:
            Figure = _imported_in_temporary_folder()
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        import matplotlib

        with suppress(ValueError):  # for windows that the program of the user opens later
            matplotlib.rcParams["backend"] = backend
    return Figure


def _imported_in_temporary_folder() -> "type[Figure]":
    if sys.platform.startswith(("linux", "freebsd")):
        usual = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "matplotlib"
    else:
        usual = Path("~/.matplotlib").expanduser()
    with temporary_caches("MPLCONFIGDIR", "XDG_CACHE_HOME") as folder:
        for fonts in usual.glob("fontlist-*.json"):
            with suppress(OSError):
                shutil.copy(fonts, folder)
        from matplotlib.figure import Figure
    return Figure
