"""Torch modules: the estimator x_θ and the head around it."""

from genser.model.estimator import Committee, EstimatorConfig, TargetEstimator, make_estimator
from genser.model.head import HeadConfig, TransportHead
from genser.model.standardize import FrontConfig, PrincipalComponents, Standardizer, make_front

__all__ = [
    "Committee",
    "EstimatorConfig",
    "FrontConfig",
    "HeadConfig",
    "PrincipalComponents",
    "Standardizer",
    "TargetEstimator",
    "TransportHead",
    "make_estimator",
    "make_front",
]
