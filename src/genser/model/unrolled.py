"""The transport with everything that only depends on time worked out beforehand, for inference.

The times of the grid are known once a model is trained. So are the coefficients of every step, which is linear in
(x̂_0, x_t, x_1), and the modulations of every block at every time. What remains a step is one product of the fusion,
attention and feed-forward. On Whisper base and 3 s of sound N = 20 as trained adds 40 % to the time; see
`benchmarks/` for what it adds unrolled.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from genser.model.estimator import AdaptiveBlock, Ensemble, TargetEstimator, rms_norm
from genser.model.transport_head import TransportHead
from genser.transport import BridgePath
from genser.transport.sampler import time_grid


class UnrolledTransport(nn.Module):
    """Algorithm 2 of a trained head: the same results as its sampler's trace, within rounding.

    Args:
        head: A trained head; its estimator's dropout is left out.
    """

    def __init__(self, head: TransportHead) -> None:
        super().__init__()
        config = head.config
        grid = time_grid(config.path, config.sampler.steps)
        self.method, self.is_posterior = config.sampler.method, config.state == "posterior"
        members = head.estimator.members if isinstance(head.estimator, Ensemble) else [head.estimator]
        times = grid[:1] if self.is_posterior else grid
        self.members = nn.ModuleList(UnrolledEstimator(member, times) for member in members)
        self.ridge_prior, self.codes = (head.ridge_prior if config.ridge_prior else None), head.codes
        variance = head.variance
        self.blends = [] if variance is None else [_blend(config.path, t, float(variance)) for t in grid]
        self.fields = [_field(config.path, t) for t in grid]
        self.bridges = [_bridge(config.path, t, s) for t, s in pairwise(grid)]
        self.deltas = [t - s for t, s in pairwise(grid)]

    def forward(
        self, x_1: Float[Tensor, "batch dim"], X_c: Float[Tensor, "batch conditions dim"]
    ) -> tuple[Float[Tensor, "times batch dim"], Float[Tensor, "times batch dim"]]:
        """Return the estimates x_θ(x_t, X_c, t) and the states x_t at all N + 1 times, from T down to t_eps."""
        given = self._given(x_1, X_c)
        states, estimates = [x_1], [self._estimate(x_1, given, 0)]
        for n in range(len(self.deltas)):
            states.append(self._step(n, estimates[-1], states[-1], x_1, given))
            estimates.append(self._estimate(states[-1], given, n + 1))
        return torch.stack(estimates), torch.stack(states)

    def _given(self, x_1: Tensor, X_c: Tensor) -> "_Given":
        """What stays the same at every time: the conditions' part of the fusions, x_1, and what is known of x_0."""
        fused = [member.fuse(X_c) for member in self.members]
        prior = None if self.ridge_prior is None else self.ridge_prior(X_c) @ self.codes
        if self.is_posterior:
            estimate = self._mean(x_1, fused, 0)
            prior = estimate if prior is None else prior + estimate
        return _Given(fused, x_1, prior)

    def _mean(self, x_t: Tensor, fused: list[Tensor], n: int) -> Tensor:
        estimates = [member(x_t, part, n) for member, part in zip(self.members, fused, strict=True)]
        return estimates[0] if len(estimates) == 1 else torch.stack(estimates).mean(0)

    def _estimate(self, x_t: Tensor, given: "_Given", n: int) -> Tensor:
        known = None if given.prior is None else _combined(self.blends[n], given.prior, x_t, given.x_1)
        if self.is_posterior:
            return known
        estimate = self._mean(x_t, given.fused, n)
        return estimate if known is None else estimate + known

    def _step(self, n: int, estimate: Tensor, x_t: Tensor, x_1: Tensor, given: "_Given") -> Tensor:
        """Eq. (10), from the n-th time to the next."""
        if self.method == "bridge":
            return _combined(self.bridges[n], estimate, x_t, x_1)
        delta, u = self.deltas[n], _combined(self.fields[n], estimate, x_t, x_1)
        proposal = x_t - delta * u
        if self.method == "euler":
            return proposal
        again = _combined(self.fields[n + 1], self._estimate(proposal, given, n + 1), proposal, x_1)
        return x_t - delta / 2 * (u + again)


class _Given(NamedTuple):
    """What no step changes; ``fused`` has a part for every member."""

    fused: list[Tensor]
    x_1: Tensor
    prior: Tensor | None


class UnrolledEstimator(nn.Module):
    """x_θ at the times of a grid."""

    def __init__(self, estimator: TargetEstimator, grid: list[float]) -> None:
        super().__init__()
        self.config, self.out = estimator.config, estimator.out
        dim, fusion = estimator.config.dim, estimator.fusion
        self.state_weight = nn.Parameter(fusion.weight[:, :dim].clone())
        self.condition_weight = nn.Parameter(fusion.weight[:, dim:].clone())
        self.bias = nn.Parameter(fusion.bias.clone())
        if hasattr(estimator, "condition_logits"):
            self.shares = nn.Parameter(estimator.condition_logits.softmax(0))
        if estimator.config.tokens == "layers":
            self.token_embedding = estimator.token_embedding
        with torch.no_grad():
            time = functional.silu(estimator.time(torch.tensor(grid, dtype=torch.float32)))
            self.blocks = nn.ModuleList(UnrolledBlock(block, time) for block in estimator.blocks)

    def fuse(self, X_c: Float[Tensor, "batch conditions dim"]) -> Float[Tensor, "#batch tokens width"]:
        """Return the part of the fusion that the conditions give, the same at every time."""
        if not self.config.conditions:
            return self.bias[None, None]
        if self.config.tokens == "layers":
            return functional.linear(X_c, self.condition_weight, self.bias) + self.token_embedding
        if self.config.tokens == "concatenated":
            return functional.linear(X_c.flatten(1), self.condition_weight, self.bias)[:, None]
        x_c = (self.shares[:, None] * X_c).sum(1, keepdim=True)
        return functional.linear(x_c, self.condition_weight, self.bias)

    def forward(
        self, x_t: Float[Tensor, "batch dim"], fused: Float[Tensor, "#batch tokens width"], n: int
    ) -> Float[Tensor, "batch dim"]:
        """Estimate x_0 from the state at the n-th time."""
        tokens = functional.linear(x_t, self.state_weight)[:, None] + fused
        for block in self.blocks:
            tokens = block(tokens, n)
        return self.out(tokens.mean(1))


class UnrolledBlock(nn.Module):
    """A transformer block with its modulations at every time; over one token, attention is one matrix."""

    def __init__(self, block: AdaptiveBlock, time: Float[Tensor, "times width"]) -> None:
        super().__init__()
        self.attention, self.feed_forward = block.attention, block.feed_forward
        scale_a, gate_a, scale_f, gate_f = block.modulation(time).chunk(4, dim=-1)
        self.register_buffer("modulations", torch.stack([1 + scale_a, gate_a, 1 + scale_f, gate_f], dim=1))
        value, out = block.attention.value, block.attention.out
        product = out.weight.double() @ value.weight.double()
        bias = out.weight.double() @ value.bias.double() + out.bias.double()
        self.alone_weight, self.alone_bias = nn.Parameter(product.float()), nn.Parameter(bias.float())

    def forward(self, x: Float[Tensor, "batch tokens width"], n: int) -> Float[Tensor, "batch tokens width"]:
        """Apply attention and feed-forward as at the n-th time."""
        scale_a, gate_a, scale_f, gate_f = self.modulations[n]
        x = x + gate_a * self._attend(rms_norm(x) * scale_a)
        return x + gate_f * self.feed_forward(rms_norm(x) * scale_f)

    def _attend(self, x: Tensor) -> Tensor:
        if x.shape[1] > 1:
            return self.attention(x)
        return functional.linear(x, self.alone_weight, self.alone_bias)


def _units() -> tuple[Tensor, Tensor, Tensor]:
    """x_0, x_t and x_1 of which one each is 1: the coefficients of what is linear in them."""
    return tuple(torch.eye(3, dtype=torch.float64)[:, :, None])


def _at(t: float) -> Tensor:
    return torch.full((3,), t, dtype=torch.float64)


def _field(path: BridgePath, t: float) -> list[float]:
    x_0, x_t, x_1 = _units()
    return path.vector_field(x_0, x_t, x_1, _at(t)).flatten().tolist()


def _bridge(path: BridgePath, t: float, s: float) -> list[float]:
    x_0, x_t, x_1 = _units()
    return path.bridge(x_0, x_t, x_1, _at(t), _at(s)).flatten().tolist()


def _blend(path: BridgePath, t: float, variance: float) -> list[float]:
    prior, x_t, x_1 = _units()
    return path.posterior_mean(prior, x_t, x_1, _at(t), variance).flatten().tolist()


def _combined(coefficients: list[float], x_0: Tensor, x_t: Tensor, x_1: Tensor) -> Tensor:
    a, b, c = coefficients
    return a * x_0 + b * x_t + c * x_1
