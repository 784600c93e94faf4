"""Torch modules: the estimator x_θ and the head around it."""

from genser.model.estimator import EstimatorConfig, TargetEstimator
from genser.model.head import HeadConfig, TransportHead
from genser.model.standardize import FrontConfig, PrincipalComponents, Standardizer, make_front

__all__ = [
    "EstimatorConfig",
    "FrontConfig",
    "HeadConfig",
    "PrincipalComponents",
    "Standardizer",
    "TargetEstimator",
    "TransportHead",
    "make_front",
]
