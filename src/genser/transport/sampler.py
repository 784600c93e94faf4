"""Transport from speech to class along the learned field (Eqs. 10 and 11, Algorithm 2)."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from genser.errors import ConfigError
from genser.transport.objective import Conditions, Estimator
from genser.transport.path import BridgePath, Vectors

METHODS = ("euler", "heun", "bridge")
READOUTS = ("estimate", "state")


def time_grid(path: BridgePath, steps: int) -> list[float]:
    """Eq. (11): N + 1 evenly spaced times falling from T to t_eps.

    The printed step of 1/N would pass t = 0, since T < 1; Δ = (T − t_eps)/N ends where the path does.
    """
    delta = (path.T - path.t_eps) / max(steps, 1)
    return [path.T - n * delta for n in range(steps)] + [path.t_eps if steps else path.T]


@dataclass(frozen=True)
class Sampler:
    """Solves the ODE of Eq. (3) from T down to t_eps.

    Attributes:
        steps: N of Table 3. 0 reads the estimate at t = T without any step.
        method: ``"euler"`` is the paper's; ``"heun"`` is of second order and asks the estimator twice a step;
            ``"bridge"`` solves each step exactly for a fixed estimate.
        readout: ``"estimate"`` returns x_θ at the last time, as Algorithm 2 does; ``"state"`` returns the state.
    """

    steps: int = 4
    method: str = "euler"
    readout: str = "estimate"

    def __post_init__(self) -> None:
        if not 0 <= self.steps <= 1000:
            raise ConfigError(f"The number of steps must lie in [0, 1000], got {self.steps}.")
        if self.method not in METHODS:
            raise ConfigError(f"Unknown method {self.method!r}: use one of {', '.join(METHODS)}.")
        if self.readout not in READOUTS:
            raise ConfigError(f"Unknown read-out {self.readout!r}: use one of {', '.join(READOUTS)}.")
        if self.readout == "state" and self.steps == 0:
            raise ConfigError("With 0 steps the state is still the speech feature: read the estimate, or take a step.")

    def __call__(
        self, estimator: Estimator, path: BridgePath, x_1: Vectors, X_c: Conditions, z: Vectors | None = None
    ) -> Vectors:
        """Algorithm 2: the class end x̂_0 of every speech feature.

        Args:
            estimator: x_θ.
            path: The path that x_θ was trained on.
            x_1: Speech features, shape (batch, dim).
            X_c: Conditions, shape (batch, conditions, dim).
            z: Starting noise in units of σ_T; none starts at x_1 itself, as the paper does.

        Returns:
            Shape (batch, dim).
        """
        estimates, states = self.trace(estimator, path, x_1, X_c, z)
        return estimates[-1] if self.readout == "estimate" else states[-1]

    def trace(
        self, estimator: Estimator, path: BridgePath, x_1: Vectors, X_c: Conditions, z: Vectors | None = None
    ) -> tuple[Float[Tensor, "times batch dim"], Float[Tensor, "times batch dim"]]:
        """Estimates x_θ(x_t, X_c, t) and states x_t at all N + 1 times of the grid, from T down to t_eps."""
        grid = time_grid(path, self.steps)
        x_t = x_1 if z is None else x_1 + path.deviation(x_1.new_tensor([path.T])) * z
        estimates, states = [estimator(x_t, X_c, _times(x_1, grid[0]))], [x_t]
        for t, s in pairwise(grid):
            x_t = self._step(estimator, path, estimates[-1], x_t, x_1, X_c, t, s)
            states.append(x_t)
            estimates.append(estimator(x_t, X_c, _times(x_1, s)))
        return torch.stack(estimates), torch.stack(states)

    def _step(
        self,
        estimator: Estimator,
        path: BridgePath,
        estimate: Vectors,
        x_t: Vectors,
        x_1: Vectors,
        X_c: Conditions,
        t: float,
        s: float,
    ) -> Vectors:
        """Eq. (10), from time t to the earlier time s. With dx/dt = u and t falling, a step subtracts u·(t − s)."""
        at_t, at_s = _times(x_1, t), _times(x_1, s)
        if self.method == "bridge":
            return path.bridge(estimate, x_t, x_1, at_t, at_s)
        u = path.vector_field(estimate, x_t, x_1, at_t)
        proposal = x_t - u * (t - s)
        if self.method == "euler":
            return proposal
        again = path.vector_field(estimator(proposal, X_c, at_s), proposal, x_1, at_s)
        return x_t - (u + again) / 2 * (t - s)


def _times(like: Tensor, t: float) -> Tensor:
    return torch.full((like.shape[0],), t, device=like.device, dtype=like.dtype)
