"""Torch modules: the estimator x_θ, the heads around it, and the model from waveform to probabilities."""

from genser.model.estimator import Ensemble, EstimatorConfig, TargetEstimator, make_estimator
from genser.model.features import FeatureTransformConfig, PrincipalComponents, Standardizer, make_feature_transform
from genser.model.head import Head, HeadConfig
from genser.model.heads import HEADS, make_head
from genser.model.transport_head import TransportHead

__all__ = [
    "HEADS",
    "Ensemble",
    "EstimatorConfig",
    "FeatureTransformConfig",
    "Head",
    "HeadConfig",
    "PrincipalComponents",
    "Standardizer",
    "TargetEstimator",
    "TransportHead",
    "make_estimator",
    "make_feature_transform",
    "make_head",
]
