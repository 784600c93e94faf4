"""The speech gate: the probability that a clip contains speech."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genser.errors import ConfigError


class SpeechGate(nn.Module):
    """Logistic regression on the pooled hidden states.

    Args:
        states: Number of hidden states.
        dim: Their width L.
        threshold: Smallest probability at which a clip counts as speech.
    """

    def __init__(self, states: int, dim: int, threshold: float = 0.5) -> None:
        super().__init__()
        if not 0 < threshold < 1:
            raise ConfigError(f"The threshold of the speech gate must lie in (0, 1), got {threshold}.")
        self.threshold = threshold
        self.weight = nn.Parameter(torch.zeros(states, dim))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, features: Float[Tensor, "batch states dim"]) -> Float[Tensor, " batch"]:
        """Give the probability of speech for pooled hidden states, as the encoder gives them."""
        return torch.sigmoid((features * self.weight).flatten(1).sum(1) + self.bias)
