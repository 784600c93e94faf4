"""The probability path between speech (x_1, at t = 1) and class (x_0, at t = 0): Eqs. (2) to (12) of the paper.

Most flow-matching code runs in the other direction; here the paper's letters hold. Nothing in this package depends on
files or networks: an estimator is any function of (x_t, X_c, t). The names load when they are used, since the codes are
needed where torch is missing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genser.transport.objective import Objective, TrainingExample
    from genser.transport.path import BridgePath
    from genser.transport.sampler import Sampler, time_grid

__all__ = ["BridgePath", "Objective", "Sampler", "TrainingExample", "time_grid"]

_HOMES = {
    "BridgePath": "path",
    "Objective": "objective",
    "Sampler": "sampler",
    "TrainingExample": "objective",
    "time_grid": "sampler",
}


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"genser.transport.{_HOMES[name]}"), name)
