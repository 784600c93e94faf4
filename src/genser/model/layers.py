"""Building blocks of the estimator: adaptive RMS-norm transformer with the time injected (section 2.5)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

TIME_SCALE = 1000.0
"""Times in [0, 1] are stretched to this range before the sinusoidal embedding, as diffusion transformers do."""


class TimeEmbedding(nn.Module):
    """Sinusoidal embedding of t followed by an MLP (width → width → width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        half = width // 2
        frequencies = torch.exp(-math.log(10_000.0) * torch.arange(half) / half)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch width"]:
        """Embed times in [0, 1]."""
        angles = TIME_SCALE * t[:, None] * self.frequencies
        return self.mlp(torch.cat([angles.cos(), angles.sin()], dim=-1))


class SelfAttention(nn.Module):
    """Multi-head self-attention, which for a sequence of length one is exactly ``out(value(x))``.

    A softmax over one key is 1, so queries and keys can neither change the result nor learn; they are kept for the
    paper's parameter count and not computed.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        """Attend among the tokens of each item."""
        if x.shape[1] == 1:
            return self.out(self.value(x))
        q, k, v = (self._split(part(x)) for part in (self.query, self.key, self.value))
        return self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class AdaptiveBlock(nn.Module):
    """Pre-norm transformer block whose RMS norms and branches are scaled and gated by the time embedding.

    Fresh modulations do not depend on time: scales are 1 and gates are open. With gates that start closed, as in
    diffusion transformers (adaLN-zero), a few hundred steps do not suffice to make the network depend on time: it then
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
        self, x: Float[Tensor, "batch tokens width"], time: Float[Tensor, "batch width"]
    ) -> Float[Tensor, "batch tokens width"]:
        """Apply attention and feed-forward, each normalised, scaled and gated."""
        modulation = self.modulation(functional.silu(time))[:, None]
        scale_a, gate_a, scale_f, gate_f = modulation.chunk(4, dim=-1)
        x = x + gate_a * self.dropout(self.attention(rms_norm(x) * (1 + scale_a)))
        return x + gate_f * self.dropout(self.feed_forward(rms_norm(x) * (1 + scale_f)))


def rms_norm(x: Float[Tensor, "... width"]) -> Float[Tensor, "... width"]:
    """x divided by its root mean square over the last axis."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)
