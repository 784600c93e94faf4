"""Speech emotion recognition by distribution transport."""

from importlib import import_module
from typing import TYPE_CHECKING

from genser._version import __version__

if TYPE_CHECKING:
    from genser.inference.load import load
    from genser.inference.prediction import Prediction
    from genser.inference.profile import Profile
    from genser.inference.recognizer import Recognizer
    from genser.segments.segment import Segment
    from genser.segments.stream import Stream

__all__ = ["Prediction", "Profile", "Recognizer", "Segment", "Stream", "__version__", "load"]

_HOMES = {
    "Prediction": "inference.prediction",
    "Profile": "inference.profile",
    "Recognizer": "inference.recognizer",
    "Segment": "segments.segment",
    "Stream": "segments.stream",
    "load": "inference.load",
}


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"genser.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
