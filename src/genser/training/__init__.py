"""Training of heads over stored features (Algorithm 1)."""

from genser.training.config import OptimizerConfig, TrainConfig, load_recipe
from genser.training.rows import TrainingData
from genser.training.train import TrainResult, train

__all__ = ["OptimizerConfig", "TrainConfig", "TrainResult", "TrainingData", "load_recipe", "train"]
