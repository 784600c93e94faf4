"""The target estimator x_θ(x_t, X_c, t) of section 2.5, and committees of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genser.errors import ConfigError
from genser.model.layers import AdaptiveBlock, TimeEmbedding

TOKENS = ("fused", "layers", "concatenated")


@dataclass(frozen=True)
class EstimatorConfig:
    """Size and form of x_θ.

    The defaults are the paper's network: 71.4 M parameters over the 24 conditions of a large HuBERT.

    Attributes:
        dim: L, width of the speech features and of the class codes.
        conditions: Number of hidden states in X_c.
        width: Width of the transformer; None means L. Another width adds a projection back to L.
        depth: Number of transformer blocks.
        heads: Attention heads.
        dropout: Dropout on both branches of each block.
        tokens: ``"fused"`` sums the conditions into one vector x_c, as the paper does; ``"layers"`` keeps one token a
            condition, so that attention has something to attend to; ``"concatenated"`` gives every condition its own
            weights in the fusion, which suits a few conditions that differ in kind.
        members: Networks of that size whose estimates are averaged, see :class:`Committee`.
    """

    dim: int = 1024
    conditions: int = 24
    width: int | None = None
    depth: int = 4
    heads: int = 16
    dropout: float = 0.0
    tokens: str = "fused"
    members: int = 1

    def __post_init__(self) -> None:
        for name in ("dim", "depth", "heads", "members", "conditions"):
            if getattr(self, name) < (0 if name == "conditions" else 1):
                raise ConfigError(f"{name} is too small: {getattr(self, name)}.")
        if self.inner % (2 * self.heads):
            raise ConfigError(f"The width {self.inner} must be an even multiple of the number of heads, {self.heads}.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must lie in [0, 1), got {self.dropout}.")
        if self.tokens not in TOKENS:
            raise ConfigError(f"Unknown tokens {self.tokens!r}: use one of {', '.join(TOKENS)}.")
        if self.tokens == "layers" and not self.conditions:
            raise ConfigError("tokens='layers' needs at least one condition; this encoder gives none.")

    @property
    def inner(self) -> int:
        """Width of the transformer."""
        return self.width or self.dim

    @property
    def fused_vectors(self) -> int:
        """Vectors of width L that the fusion takes: x_t, with x_c or with every condition."""
        return 1 + (self.conditions if self.tokens == "concatenated" else min(self.conditions, 1))


class TargetEstimator(nn.Module):
    """x_θ: weighs and sums the conditions, fuses them with x_t (2L → width), and refines by a transformer on t."""

    def __init__(self, config: EstimatorConfig) -> None:
        super().__init__()
        self.config = config
        inner = config.inner
        if config.conditions and config.tokens != "concatenated":
            self.condition_logits = nn.Parameter(torch.zeros(config.conditions))
        self.fusion = nn.Linear(config.fused_vectors * config.dim, inner)
        self.time = TimeEmbedding(inner)
        if config.tokens == "layers":
            self.token_embedding = nn.Parameter(torch.zeros(config.conditions, inner))
        self.blocks = nn.ModuleList(AdaptiveBlock(inner, config.heads, config.dropout) for _ in range(config.depth))
        self.out = nn.Identity() if inner == config.dim else _zero_linear(inner, config.dim)

    def forward(
        self,
        x_t: Float[Tensor, "batch dim"],
        X_c: Float[Tensor, "batch conditions dim"],
        t: Float[Tensor, " batch"],
    ) -> Float[Tensor, "batch dim"]:
        """Estimate x_0 from the perturbed state, the conditions and the time."""
        tokens, time = self._tokens(x_t, X_c), self.time(t)
        for block in self.blocks:
            tokens = block(tokens, time)
        return self.out(tokens.mean(1))

    def _tokens(self, x_t: Tensor, X_c: Tensor) -> Tensor:
        """First two stages of section 2.5, as (batch, tokens, width)."""
        if not self.config.conditions:
            return self.fusion(x_t)[:, None]
        if self.config.tokens == "concatenated":
            return self.fusion(torch.cat([x_t, X_c.flatten(1)], dim=-1))[:, None]
        if self.config.tokens == "layers":
            spread = x_t[:, None].expand_as(X_c)
            return self.fusion(torch.cat([spread, X_c], dim=-1)) + self.token_embedding
        x_c = torch.einsum("c,bcd->bd", self.condition_logits.softmax(0), X_c)
        return self.fusion(torch.cat([x_t, x_c], dim=-1))[:, None]


class Committee(nn.Module):
    """Networks of one kind whose mean counts.

    An estimate of E[x_0 | x_t, X_c, t] is an average already, and the mean of several independent ones has less
    variance. While learning, every member has a part of each batch, so they stay independent and a step costs what it
    costs for one. Parts are consecutive rows, so that processes which take every n-th row agree on them.

    Args:
        make: Makes one network; all its inputs are batch first.
        members: How many.
    """

    def __init__(self, make: Callable[[], nn.Module], members: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(make() for _ in range(members))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the mean of all members; in training the answer of each row's own."""
        count = len(self.members)
        if not self.training:
            return torch.stack([member(*inputs) for member in self.members]).mean(0)
        parts = zip(*(x.tensor_split(count) for x in inputs), strict=True)
        return torch.cat([member(*part) for member, part in zip(self.members, parts, strict=True)])


def make_estimator(config: EstimatorConfig) -> nn.Module:
    """A fresh x_θ: one network, or a committee."""
    if config.members == 1:
        return TargetEstimator(config)
    return Committee(lambda: TargetEstimator(replace(config, members=1)), config.members)


def _zero_linear(width: int, dim: int) -> nn.Linear:
    """A projection that starts at 0, so that a fresh estimator says nothing."""
    linear = nn.Linear(width, dim)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
