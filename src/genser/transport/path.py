"""The conditional path between a speech feature x_1 and a class code x_0 (Eqs. 4, 5 and 9)."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from genser.errors import ConfigError
from genser.transport import schedule

Vectors = Float[Tensor, "batch dim"]
Times = Float[Tensor, "#batch"]
"""One time for each vector, or one for all of them."""


@dataclass(frozen=True)
class BridgePath:
    """Gaussian path N(μ_t, σ_t² I) with the logistic mean of Eq. (6) and the standard deviation of Eq. (7).

    Attributes:
        k: Steepness of the mean at t = ½; 0 is the straight line.
        sigma: Scale σ of the standard deviation, whose largest value is σ/2.
        t_eps: Distance kept from both ends, where σ'_t/σ_t is infinite. Public relatives of the method train with 0.03.
    """

    k: float = 10.0
    sigma: float = 0.5
    t_eps: float = 0.03

    def __post_init__(self) -> None:
        if not 0 <= self.k <= 200:
            raise ConfigError(f"path.k must lie in [0, 200], got {self.k}.")
        if not 0 <= self.sigma <= 100:
            raise ConfigError(f"path.sigma must lie in [0, 100], got {self.sigma}.")
        if not 0 < self.t_eps < 0.5:
            raise ConfigError(f"path.t_eps must lie in (0, 0.5), got {self.t_eps}.")

    @property
    def T(self) -> float:
        """Latest time of the path, 1 − t_eps, where the transport begins."""
        return 1 - self.t_eps

    def mean(self, x_0: Vectors, x_1: Vectors, t: Times) -> Vectors:
        """Eq. (6): μ_t(x_0, x_1)."""
        return x_0 + (x_1 - x_0) * schedule.mean_weight(t, self.k)[:, None]

    def mean_slope(self, x_0: Vectors, x_1: Vectors, t: Times) -> Vectors:
        """Time derivative μ'_t(x_0, x_1) of :meth:`mean`."""
        return (x_1 - x_0) * schedule.mean_weight_slope(t, self.k)[:, None]

    def std(self, t: Times) -> Times:
        """Eq. (7): σ_t."""
        return schedule.std(t, self.sigma)

    def perturb(self, x_0: Vectors, x_1: Vectors, t: Times, z: Vectors) -> Vectors:
        """Eq. (4): the perturbed state x_t = μ_t + σ_t·z for a draw z of N(0, I)."""
        return self.mean(x_0, x_1, t) + self.std(t)[:, None] * z

    def vector_field(self, x_0: Vectors, x_t: Vectors, x_1: Vectors, t: Times) -> Vectors:
        """Eqs. (5) and (9): u = σ'_t/σ_t·(x_t − μ_t) + μ'_t, the velocity dx_t/dt towards growing t.

        Eq. (9) prints the arguments of μ' in another order than Eq. (5); both mean the same.
        """
        drift = schedule.relative_std_slope(t)[:, None] * (x_t - self.mean(x_0, x_1, t))
        return drift + self.mean_slope(x_0, x_1, t)

    def bridge(self, x_0: Vectors, x_t: Vectors, x_1: Vectors, t: Times, s: Times) -> Vectors:
        """Exact solution of Eq. (3) at time s, from the state x_t at time t, if x_0 is the true end.

        x_s = μ_s + σ_s/σ_t·(x_t − μ_t): along the field of Eq. (5) the distance from the mean, in units of the standard
        deviation, does not change. Exponential integrators for bridges use the same identity.
        """
        ratio = (s * (1 - s) / (t * (1 - t))).sqrt()[:, None]
        return self.mean(x_0, x_1, s) + ratio * (x_t - self.mean(x_0, x_1, t))

    def posterior_mean(self, prior: Vectors, x_t: Vectors, x_1: Vectors, t: Times, variance: float | Tensor) -> Vectors:
        """E[x_0 | x_t, x_1] for x_0 ~ N(prior, variance·I): Bayes' rule for the state of Eq. (4).

        The state is linear in x_0, so the mean moves from the prior by K·(x_t − μ_t(prior, x_1)) with
        K = v·(1−w)/(v·(1−w)² + σ_t²): hardly at T, where the state carries no information, and fully as t falls to 0.
        """
        rest = 1 - schedule.mean_weight(t, self.k)
        gain = variance * rest / (variance * rest.square() + self.std(t).square())
        return prior + gain[:, None] * (x_t - self.mean(prior, x_1, t))
