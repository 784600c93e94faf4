"""Torch modules: the estimator x_θ and the head around it."""

from genser.model.estimator import Committee, EstimatorConfig, TargetEstimator, make_estimator
from genser.model.features import FrontConfig, PrincipalComponents, Standardizer, make_front
from genser.model.transport_head import HeadConfig, TransportHead

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
