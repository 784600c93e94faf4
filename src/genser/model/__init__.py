"""Torch modules: the estimator x_θ and the head around it."""

from genser.model.estimator import Ensemble, EstimatorConfig, TargetEstimator, make_estimator
from genser.model.features import FeatureTransformConfig, PrincipalComponents, Standardizer, make_feature_transform
from genser.model.transport_head import HeadConfig, TransportHead

__all__ = [
    "Ensemble",
    "EstimatorConfig",
    "FeatureTransformConfig",
    "HeadConfig",
    "PrincipalComponents",
    "Standardizer",
    "TargetEstimator",
    "TransportHead",
    "make_estimator",
    "make_feature_transform",
]
