"""The ridge prior: the best linear estimate of x_0 from the conditions, in closed form; the network corrects it."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class RidgePrior(nn.Module):
    """Ridge regression from all conditions together to class shares.

    Eq. (8) is a least-squares problem, so its minimiser among linear maps is known in closed form. A network that
    starts from it and learns only the residual generalises to other corpora at least as well as the linear map.
    ``variance`` is the remaining mean square error per dimension of the codes: orthogonal codes of norm √(L/2) turn
    errors e_b of the shares into Σ e_b²/2. The penalty equals the variance of feature noise with which gradient descent
    would find the same map.

    Args:
        conditions: Number of conditions.
        dim: Their width L.
        classes: Number of classes.
    """

    def __init__(self, conditions: int, dim: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(conditions * dim, classes))
        self.register_buffer("bias", torch.zeros(classes))
        self.register_buffer("variance", torch.ones(()))

    @torch.no_grad()
    def fit(
        self,
        X_c: Float[Tensor, "rows conditions dim"],
        shares: Float[Tensor, "rows classes"],
        weights: Float[Tensor, " rows"] | None,
        penalty: float,
    ) -> None:
        """Fit to standardised conditions.

        Args:
            X_c: Conditions of the training rows.
            shares: Their class shares.
            weights: Their weights; None weights all rows equally.
            penalty: Weight of the squared norm, per row.
        """
        rows = X_c.flatten(1).double()
        share = torch.ones(len(rows), dtype=torch.float64) if weights is None else weights.double()
        share = (share / share.mean())[:, None].to(rows.device)
        bias = (share * shares).mean(0)
        scaled = share * rows
        if rows.shape[1] <= len(rows):
            gram = scaled.T @ rows + penalty * len(rows) * torch.eye(rows.shape[1]).to(rows)
            weight = torch.linalg.solve(gram, scaled.T @ (shares - bias))
        else:
            root = share.sqrt()
            gram = (root * rows) @ (root * rows).T + penalty * len(rows) * torch.eye(len(rows)).to(rows)
            weight = (root * rows).T @ torch.linalg.solve(gram, root * (shares - bias))
        self.weight.copy_(weight)
        self.bias.copy_(bias)
        errors = (share * (rows @ weight + bias - shares).square()).mean(0).sum()
        self.variance.copy_(errors / 2)

    def forward(self, X_c: Float[Tensor, "batch conditions dim"]) -> Float[Tensor, "batch classes"]:
        """Estimate class shares, which may be negative or above 1."""
        return X_c.flatten(1) @ self.weight + self.bias
