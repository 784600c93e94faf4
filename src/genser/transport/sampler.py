"""Transport from speech to class along the learned field (Eqs. 10 and 11, Algorithm 2)."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from genser.errors import ConfigError
from genser.transport.objective import Conditions, Estimator
from genser.transport.path import BridgePath, Vectors

METHODS = ("euler", "bridge")
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
        steps: N of Table 3. With 0 the estimate at t = T is read without any step.
        method: ``"euler"`` is the paper's; ``"bridge"`` solves each step exactly for a fixed estimate.
        readout: ``"estimate"`` returns x_θ at the last time, as Algorithm 2 does; ``"state"`` returns the state.
    """

    steps: int = 4
    method: str = "euler"
    readout: str = "estimate"

    def __post_init__(self) -> None:
        if not 0 <= self.steps <= 1000:
            raise ConfigError(f"sampler.steps must lie in [0, 1000], got {self.steps}.")
        if self.method not in METHODS:
            raise ConfigError(f"Unknown sampler.method {self.method!r}: use one of {', '.join(METHODS)}.")
        if self.readout not in READOUTS:
            raise ConfigError(f"Unknown sampler.readout {self.readout!r}: use one of {', '.join(READOUTS)}.")
        if self.readout == "state" and self.steps == 0:
            raise ConfigError(
                "With 0 steps the state is still the speech feature. Set sampler.readout to estimate, or take a step."
            )

    def __call__(self, estimator: Estimator, path: BridgePath, x_1: Vectors, X_c: Conditions) -> Vectors:
        """Algorithm 2: the class end x̂_0 of every speech feature.

        Args:
            estimator: x_θ.
            path: The path that x_θ was trained on.
            x_1: Speech features, shape (batch, dim).
            X_c: Conditions, shape (batch, conditions, dim).

        Returns:
            Shape (batch, dim).
        """
        estimates, states = self.trace(estimator, path, x_1, X_c)
        return estimates[-1] if self.readout == "estimate" else states[-1]

    def trace(
        self, estimator: Estimator, path: BridgePath, x_1: Vectors, X_c: Conditions
    ) -> tuple[Float[Tensor, "times batch dim"], Float[Tensor, "times batch dim"]]:
        """Estimates x_θ(x_t, X_c, t) and states x_t at all N + 1 times of the grid, from T down to t_eps.

        Times have one row for the whole batch, so that whatever depends on time alone is computed once, and becomes a
        constant of an exported graph.
        """
        grid = [torch.full((1,), t, device=x_1.device, dtype=x_1.dtype) for t in time_grid(path, self.steps)]
        states, estimates = [x_1], [estimator(x_1, X_c, grid[0])]
        for t, s in pairwise(grid):
            states.append(self._step(path, estimates[-1], states[-1], x_1, t, s))
            estimates.append(estimator(states[-1], X_c, s))
        return torch.stack(estimates), torch.stack(states)

    def _step(self, path: BridgePath, estimate: Vectors, x_t: Vectors, x_1: Vectors, t: Tensor, s: Tensor) -> Vectors:
        """Eq. (10), from time t to the earlier time s. With dx/dt = u and t falling, a step subtracts u·(t − s)."""
        if self.method == "bridge":
            return path.bridge(estimate, x_t, x_1, t, s)
        return x_t - path.vector_field(estimate, x_t, x_1, t) * (t - s)

    def posterior_coefficients(
        self, path: BridgePath, variance: float
    ) -> tuple[Float[Tensor, "times 2"], Float[Tensor, "times 2"]]:
        """Algorithm 2 for an estimator that is a posterior mean, as coefficients of the prior and x_1.

        With x_θ(x_t, X_c, t) = prior + K_t·(x_t − μ_t(prior, x_1)), see :meth:`BridgePath.posterior_mean`, every
        estimate, every step of Eq. (10) and the start x_T = x_1 are linear in (prior, x_1). So at each of the N + 1
        times

            x̂_0(t_n) = a_n·prior + b_n·x_1   and   x_{t_n} = c_n·prior + d_n·x_1,

        and no step has to be computed for a clip. Running the sampler on unit vectors gives the coefficients.

        Args:
            path: The path.
            variance: Of the prior, per dimension.

        Returns:
            (a_n, b_n) and (c_n, d_n), each float64 of shape (N + 1, 2).
        """
        prior, x_1 = torch.eye(2, dtype=torch.float64).split(1)
        estimates, states = self.trace(
            lambda x_t, _, t: path.posterior_mean(prior, x_t, x_1, t, variance), path, x_1, x_1[:, None]
        )
        return estimates[:, 0], states[:, 0]
