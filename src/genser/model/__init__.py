"""Torch modules: the estimator x_θ and the head around it."""

from genser.model.estimator import EstimatorConfig, TargetEstimator
from genser.model.head import HeadConfig, TransportHead
from genser.model.standardize import Standardizer

__all__ = ["EstimatorConfig", "HeadConfig", "Standardizer", "TargetEstimator", "TransportHead"]
