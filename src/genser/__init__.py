"""Speech emotion recognition by distribution transport."""

from genser._version import __version__

__all__ = ["__version__"]
