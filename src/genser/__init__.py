"""Speech emotion recognition by distribution transport."""

from importlib import import_module
from typing import TYPE_CHECKING

from genser._version import __version__

if TYPE_CHECKING:
    from genser.runtime.loading import load
    from genser.runtime.prediction import Prediction
    from genser.runtime.recognizer import Recognizer
    from genser.runtime.segments import Segment
    from genser.runtime.stream import Stream

__all__ = ["Prediction", "Recognizer", "Segment", "Stream", "__version__", "load"]

_HOMES = {
    "Prediction": "prediction",
    "Recognizer": "recognizer",
    "Segment": "segments",
    "Stream": "stream",
    "load": "loading",
}


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"genser.runtime.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
