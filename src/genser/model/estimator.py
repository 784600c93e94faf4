"""The target estimator x_θ(x_t, X_c, t) of section 2.5, and ensembles of it."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from genser.errors import ConfigError

TIME_SCALE = 1000.0
"""Times in [0, 1] are scaled to this range before the sinusoidal embedding, as in diffusion transformers."""


class TimeEmbedding(nn.Module):
    """Sinusoidal embedding of t followed by an MLP (width → width → width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        half = width // 2
        frequencies = torch.exp(-math.log(10_000.0) * torch.arange(half) / half)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, t: Float[Tensor, " times"]) -> Float[Tensor, "times width"]:
        """Embed times in [0, 1]."""
        angles = TIME_SCALE * t[:, None] * self.frequencies
        return self.mlp(torch.cat([angles.cos(), angles.sin()], dim=-1))


class SelfAttention(nn.Module):
    """Multi-head self-attention, which for a sequence of length one is exactly ``out(value(x))``.

    A softmax over one key is 1, so queries and keys neither change the result nor learn. They are kept for the paper's
    parameter count and not computed.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        """Attend among the tokens of each item."""
        if x.shape[1] == 1:
            return self.out(self.value(x))
        parts = (part(x).unflatten(-1, (self.heads, -1)) for part in (self.query, self.key, self.value))
        q, k, v = (part.transpose(1, 2) for part in parts)
        return self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class AdaptiveBlock(nn.Module):
    """Pre-norm transformer block whose RMS norms and branches are scaled and gated by the time embedding.

    Initial modulations do not depend on time: scales are 1 and gates are open. If gates start closed, as in diffusion
    transformers (adaLN-zero), a few hundred training steps do not suffice to make the network depend on time. It then
    trusts x_t as much at T as at the end, and every step of the transport loses accuracy.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention = SelfAttention(width, heads)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.modulation = nn.Linear(width, 4 * width)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.modulation.weight)
        gates_open = torch.tensor([0.0, 1.0, 0.0, 1.0]).repeat_interleave(width)
        self.modulation.bias = nn.Parameter(gates_open)

    def forward(
        self, x: Float[Tensor, "batch tokens width"], time: Float[Tensor, "#batch width"]
    ) -> Float[Tensor, "batch tokens width"]:
        """Apply attention and feed-forward, each normalised, scaled and gated."""
        modulation = self.modulation(functional.silu(time))[:, None]
        scale_a, gate_a, scale_f, gate_f = modulation.chunk(4, dim=-1)
        x = x + gate_a * self.dropout(self.attention(rms_norm(x) * (1 + scale_a)))
        return x + gate_f * self.dropout(self.feed_forward(rms_norm(x) * (1 + scale_f)))


def rms_norm(x: Float[Tensor, "... width"]) -> Float[Tensor, "... width"]:
    """x divided by its root mean square over the last axis."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)


TOKENS = ("fused", "concatenated")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The part of :class:`EstimatorConfig` that a recipe chooses; the encoder decides the rest.

    Attributes:
        width: Width of the transformer; None means L. With another width a projection back to L is added.
        depth: Number of transformer blocks.
        heads: Attention heads.
        dropout: Dropout on both branches of each block.
        tokens: ``"fused"`` sums the conditions into one vector x_c, as the paper does. ``"concatenated"`` gives every
            condition its own weights in the fusion, which suits a few conditions that differ in kind.
        ensemble: Number of networks of that size whose estimates are averaged, see :class:`Ensemble`.
    """

    width: int | None = None
    depth: int = 4
    heads: int = 16
    dropout: float = 0.0
    tokens: str = "fused"
    ensemble: int = 1

    def __post_init__(self) -> None:
        for name in ("depth", "heads", "ensemble"):
            if getattr(self, name) < 1:
                raise ConfigError(f"network.{name} is too small: {getattr(self, name)}.")
        if self.width is not None and (self.width < 1 or self.width % (2 * self.heads)):
            raise ConfigError(f"network.width {self.width} must be an even multiple of network.heads {self.heads}.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"network.dropout must lie in [0, 1), got {self.dropout}.")
        if self.tokens not in TOKENS:
            raise ConfigError(f"Unknown network.tokens {self.tokens!r}: use one of {', '.join(TOKENS)}.")


@dataclass(frozen=True)
class EstimatorConfig(NetworkConfig):
    """Size and form of x_θ.

    The defaults give the paper's network: 71.4 M parameters for the 24 conditions of a large HuBERT.

    Attributes:
        dim: L, width of the speech features and of the class codes.
        conditions: Number of hidden states in X_c.
    """

    dim: int = 1024
    conditions: int = 24

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dim < 1 or self.conditions < 0:
            raise ConfigError(f"dim and conditions must be at least 1, got {self.dim} and {self.conditions}.")
        if self.inner % (2 * self.heads):
            raise ConfigError(f"network.width {self.inner} must be an even multiple of network.heads {self.heads}.")

    @property
    def inner(self) -> int:
        """Width of the transformer."""
        return self.width or self.dim

    @property
    def fused_vectors(self) -> int:
        """Number of vectors of width L that enter the fusion: x_t with x_c, or with every condition."""
        return 1 + (self.conditions if self.tokens == "concatenated" else min(self.conditions, 1))


class TargetEstimator(nn.Module):
    """x_θ: weights and sums the conditions, fuses them with x_t (2L → width), and applies a transformer on t."""

    def __init__(self, config: EstimatorConfig) -> None:
        super().__init__()
        self.config = config
        inner = config.inner
        if config.conditions and config.tokens != "concatenated":
            self.condition_logits = nn.Parameter(torch.zeros(config.conditions))
        self.fusion = nn.Linear(config.fused_vectors * config.dim, inner)
        self.time = TimeEmbedding(inner)
        self.blocks = nn.ModuleList(AdaptiveBlock(inner, config.heads, config.dropout) for _ in range(config.depth))
        self.out: nn.Module = nn.Identity()
        if inner != config.dim:
            self.out = projection = nn.Linear(inner, config.dim)
            nn.init.zeros_(projection.weight)  # an untrained estimator gives 0
            nn.init.zeros_(projection.bias)

    def forward(
        self,
        x_t: Float[Tensor, "batch dim"],
        X_c: Float[Tensor, "batch conditions dim"],
        t: Float[Tensor, "#batch"],
    ) -> Float[Tensor, "batch dim"]:
        """Estimate x_0 from the perturbed state, the conditions and the time, of each item or of all."""
        if not self.config.conditions:
            given = x_t
        elif self.config.tokens == "concatenated":
            given = torch.cat([x_t, X_c.flatten(1)], dim=-1)
        else:
            x_c = torch.einsum("c,bcd->bd", self.condition_logits.softmax(0), X_c)
            given = torch.cat([x_t, x_c], dim=-1)
        token, time = self.fusion(given)[:, None], self.time(t)
        for block in self.blocks:
            token = block(token, time)
        return self.out(token[:, 0])


class Ensemble(nn.Module):
    """Networks of one kind whose outputs are averaged.

    An estimate of E[x_0 | x_t, X_c, t] has less variance if several independent ones are averaged. In training every
    network gets a part of each batch, so the networks stay independent and a step costs as much as for one network.
    Parts are consecutive rows, so that processes which take every n-th row agree on them.

    Args:
        make: Makes one network; the first axis of all its inputs is the batch.
        members: Number of networks.
    """

    def __init__(self, make: Callable[[], nn.Module], members: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(make() for _ in range(members))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the mean over all networks; in training, for each row the output of its own network."""
        if not self.training:
            return torch.stack([member(*inputs) for member in self.members]).mean(0)
        rows = (x.expand(len(inputs[0]), *x.shape[1:]) for x in inputs)  # a time may have one row for all
        parts = zip(*(x.tensor_split(len(self.members)) for x in rows), strict=True)
        return torch.cat([member(*part) for member, part in zip(self.members, parts, strict=True)])


def make_estimator(config: EstimatorConfig) -> nn.Module:
    """Make x_θ with fresh weights: one network, or an ensemble."""
    if config.ensemble == 1:
        return TargetEstimator(config)
    return Ensemble(lambda: TargetEstimator(replace(config, ensemble=1)), config.ensemble)
