"""Heads that transport has to beat, trained by the same code on the same rows with the same mix-up and noise.

They take the gain apart: :class:`LinearHead` and :class:`MlpHead` are classification layers over learned layer weights
(Table 1's "CLS"), :class:`NetworkHead` is the estimator's own network under cross-entropy, :class:`RegressionHead` the
same network regressed to the codes without a path, and :class:`DiffusionHead` the generative classifier of Li et al.
(the paper's reference 11), whose cost grows with the classes.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from genser.errors import ConfigError
from genser.model import Ensemble, HeadConfig, TransportHead, make_estimator, make_feature_transform
from genser.transport import Objective
from genser.transport.codes import class_codes, probabilities, projections

DIFFUSION_DRAWS = 16
"""Pairs of time and noise, shared by all classes, over which the diffusion classifier averages its error."""


class Fronted(nn.Module):
    """A head that learns nothing without gradients but its front."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        self.standardizer = make_feature_transform(config.feature_transform)

    def fit(self, features: Tensor, labels: Tensor, weights: Tensor | None = None) -> None:  # noqa: ARG002
        """Learn the front from training rows."""
        self.standardizer.fit(features, weights)


class Coded(Fronted):
    """A head whose targets are the class codes, as transport's are."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__(config)
        codes = torch.from_numpy(class_codes(len(config.labels), config.estimator.dim, config.code))
        self.register_buffer("codes", codes, persistent=False)


class Classifier(Fronted):
    """A head that gives one logit a class and is trained by cross-entropy with class shares as the target."""

    def logits(self, states: Tensor) -> Tensor:
        """Logits (batch, classes) of standardised hidden states (batch, states, dim)."""
        raise NotImplementedError

    def example(self, x_1: Tensor, X_c: Tensor, target: Tensor, objective: Objective) -> tuple[Tensor, ...]:  # noqa: ARG002
        """All hidden states and the class shares."""
        return torch.cat([X_c, x_1[:, None]], dim=1), target

    def loss(self, *example: Tensor) -> Tensor:
        """Cross-entropy."""
        states, target = example
        return functional.cross_entropy(self.logits(states), target)

    def forward(self, features: Tensor) -> Tensor:
        """Class probabilities of raw features."""
        return self.logits(self.standardizer(features)).softmax(-1)


class MajorityHead(Classifier):
    """Always the most frequent class of the training rows: the floor."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__(config)
        self.bias = nn.Parameter(torch.zeros(len(config.labels)))

    def logits(self, states: Tensor) -> Tensor:
        """The same logits for every row."""
        return self.bias.expand(len(states), -1)


class LinearHead(Classifier):
    """One linear layer over a learned weighting of the hidden states, as SUPERB and the paper's baselines have it."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__(config)
        self.layer_logits = nn.Parameter(torch.zeros(config.feature_transform.given[0]))
        self.out = nn.Linear(config.estimator.dim, len(config.labels))

    def logits(self, states: Tensor) -> Tensor:
        """Linear in the weighted mean of the layers."""
        return self.out(torch.einsum("s,bsd->bd", self.layer_logits.softmax(0), states))


class FlatHead(Classifier):
    """One linear layer over all hidden states side by side: softmax regression with every state's own weights."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__(config)
        size = config.estimator
        self.dropout = nn.Dropout(size.dropout)
        self.out = nn.Linear(config.feature_transform.given[0] * size.dim, len(config.labels))

    def logits(self, states: Tensor) -> Tensor:
        """Linear in all states."""
        return self.out(self.dropout(states.flatten(1)))


class MlpHead(Classifier):
    """A hidden layer of GELU units, with dropout, between the weighted layers and the classes; or several."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__(config)
        size, classes = config.estimator, len(config.labels)
        self.layer_logits = nn.Parameter(torch.zeros(config.feature_transform.given[0]))

        def layers() -> nn.Module:
            hidden = (nn.Linear(size.dim, size.inner), nn.GELU(), nn.Dropout(size.dropout))
            return nn.Sequential(*hidden, nn.Linear(size.inner, classes))

        self.out = layers() if size.ensemble == 1 else Ensemble(layers, size.ensemble)

    def logits(self, states: Tensor) -> Tensor:
        """An MLP of the weighted mean of the layers."""
        return self.out(torch.einsum("s,bsd->bd", self.layer_logits.softmax(0), states))


class NetworkHead(Classifier):
    """The estimator's network at t = T on the clean features, with a linear classifier and cross-entropy."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__(config)
        self.time = config.path.T
        self.network = make_estimator(config.estimator)
        self.out = nn.Linear(config.estimator.dim, len(config.labels))

    def logits(self, states: Tensor) -> Tensor:
        """Linear in the network's output."""
        time = states.new_full((len(states),), self.time)
        return self.out(
            self.network(states[:, -1], self.config.feature_transform.conditions(states[:, -1], states[:, :-1]), time)
        )


class RegressionHead(Coded):
    """The estimator's network regressed to the codes from x_1 at t = T: transport without a path."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__(config)
        self.network = make_estimator(config.estimator)

    def example(self, x_1: Tensor, X_c: Tensor, target: Tensor, objective: Objective) -> tuple[Tensor, ...]:  # noqa: ARG002
        """Features and the mixture of codes."""
        return x_1, self.config.feature_transform.conditions(x_1, X_c), target @ self.codes

    def loss(self, *example: Tensor) -> Tensor:
        """Mean square distance to the code."""
        x_1, X_c, x_0 = example
        return (self._estimate(x_1, X_c) - x_0).square().mean()

    def forward(self, features: Tensor) -> Tensor:
        """Class probabilities of raw features, read from the codes."""
        states = self.standardizer(features)
        X_c = self.config.feature_transform.conditions(states[:, -1], states[:, :-1])
        return probabilities(projections(self._estimate(states[:, -1], X_c), self.codes))

    def _estimate(self, x_1: Tensor, X_c: Tensor) -> Tensor:
        return self.network(x_1, X_c, x_1.new_full((len(x_1),), self.config.path.T))


class DiffusionHead(Coded):
    """Diffusion classifier (Li et al., ICCV 2023): the class under which a clip's noise is best predicted.

    A density p(x | class) of the mean x of the standardised hidden states; the class code stands in the place of the
    conditions, so the network has the size of the transport estimator. Hidden states are no conditions here: they tell
    the class themselves, and a density given them would leave nothing for the class to explain. Noise and times are the
    same for every class; class probabilities are the softmax of the negative errors, as the evidence bound suggests.
    Cost: classes x draws passes.
    """

    def __init__(self, config: HeadConfig, draws: int = DIFFUSION_DRAWS) -> None:
        super().__init__(config)
        self.draws = draws
        self.network = make_estimator(replace(config.estimator, conditions=1))

    def example(self, x_1: Tensor, X_c: Tensor, target: Tensor, objective: Objective) -> tuple[Tensor, ...]:  # noqa: ARG002
        """Noisy features at a random time, the class code as the condition, and the noise."""
        t = torch.rand(len(x_1), device=x_1.device)
        noise = torch.randn_like(x_1)
        x = torch.cat([X_c, x_1[:, None]], dim=1).mean(1)
        return _diffused(x, noise, t), (target @ self.codes)[:, None], t, noise

    def loss(self, *example: Tensor) -> Tensor:
        """Mean square error of the predicted noise."""
        x_t, code, t, noise = example
        return (self.network(x_t, code, t) - noise).square().mean()

    def forward(self, features: Tensor) -> Tensor:
        """Class probabilities of raw features."""
        x = self.standardizer(features).mean(1)
        generator = torch.Generator().manual_seed(0)
        errors = x.new_zeros(len(x), len(self.codes))
        for draw in range(self.draws):
            t = x.new_full((len(x),), (draw + 0.5) / self.draws)
            noise = torch.randn(x.shape[-1], generator=generator).to(x).expand_as(x)
            errors += self._errors(_diffused(x, noise, t), t, noise)
        return (-errors / self.draws / 2).softmax(-1)

    def _errors(self, x_t: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Square errors of the noise (batch, classes), one pass a class."""
        passes = [self.network(x_t, code.expand(len(x_t), 1, -1), t) for code in self.codes]
        return torch.stack([(estimate - noise).square().sum(-1) for estimate in passes], dim=-1)


def _diffused(x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Variance-preserving noising on the cosine schedule: cos(πt/2)·x + sin(πt/2)·noise."""
    angle = (t * torch.pi / 2)[:, None]
    return angle.cos() * x + angle.sin() * noise


HEADS: dict[str, Callable[[HeadConfig], Any]] = {
    "transport": TransportHead,
    "linear": LinearHead,
    "flat": FlatHead,
    "mlp": MlpHead,
    "network": NetworkHead,
    "regression": RegressionHead,
    "diffusion": DiffusionHead,
    "majority": MajorityHead,
}
"""Every head by name, made from the same configuration."""


def make_head(name: str, config: HeadConfig) -> Any:
    """A fresh head.

    Raises:
        ConfigError: If there is no head of that name.
    """
    if name not in HEADS:
        raise ConfigError(f"There is no head {name!r}: use one of {', '.join(HEADS)}.")
    return HEADS[name](config)
