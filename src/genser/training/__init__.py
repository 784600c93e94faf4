"""Training of heads over stored features (Algorithm 1)."""

from genser.training.batches import TrainingData
from genser.training.recipe import OptimizerConfig, TrainConfig, load_recipe
from genser.training.train import TrainResult, train

__all__ = ["OptimizerConfig", "TrainConfig", "TrainResult", "TrainingData", "load_recipe", "train"]
