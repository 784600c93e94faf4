"""Fit the speech gate: logistic regression on pooled states of speech and of everything else."""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from genser.errors import ConfigError
from genser.model.features import Standardizer
from genser.model.speech_gate import SpeechGate


def fit_gate(
    speech: Float[Tensor, "clips states dim"],
    other: Float[Tensor, "sounds states dim"],
    *,
    states: tuple[int, ...] | None = None,
    penalty: float = 0.03,
    threshold: float = 0.5,
) -> SpeechGate:
    """Fit a gate that tells clips with speech from other sounds.

    Both kinds count equally, however many there are of each. Features are standardised for the fit, and that is folded
    into the gate's weights. The gated mean of one lower state suffices: fitted to it with this penalty, a gate turned
    away no clip of unseen speakers and 99 % of the sounds of unseen families.

    Args:
        speech: Pooled states of clips with speech.
        other: Pooled states of sounds without.
        states: Positions of the pooled states the gate looks at; None for all. The others get weight 0.
        penalty: Weight of half the squared norm of the weights on standardised features, beside the mean loss.
        threshold: Probability from which a clip counts as speech.

    Returns:
        The gate, on the CPU, in float32.

    Raises:
        ConfigError: A kind has no row or a value that is not finite, their shapes differ, the states are not among
            those given, the penalty is not positive or the threshold not in (0, 1).
    """
    _check(speech, other, penalty)
    count, dim = speech.shape[1:]
    chosen = _chosen(states, count)
    gate = SpeechGate(count, dim, threshold)
    features = torch.cat([speech[:, chosen].cpu(), other[:, chosen].cpu()])
    target = torch.cat([torch.ones(len(speech)), torch.zeros(len(other))]).double()
    share = target / (2 * len(speech)) + (1 - target) / (2 * len(other))
    front = Standardizer(len(chosen), dim).fit(features, share)
    weight, bias = _logistic_regression(front(features).flatten(1).double(), target, share, penalty)
    weight = weight.unflatten(0, (len(chosen), dim)) / front.scale
    with torch.no_grad():
        gate.weight[chosen] = weight.float()
        gate.bias.copy_(bias - (weight * front.mean).sum())
    return gate.eval().requires_grad_(False)


@torch.no_grad()
def rejection_rates(
    gate: SpeechGate, features: Float[Tensor, "clips states dim"], names: Sequence[str]
) -> dict[str, float]:
    """Share of clips that a gate takes for no speech, by name.

    Args:
        gate: The gate.
        features: Pooled states of the clips.
        names: What each clip is counted under, such as its corpus or its family of made sounds.

    Raises:
        ConfigError: There are not as many names as clips.
    """
    if len(names) != len(features):
        raise ConfigError(f"{len(features)} clips need as many names, got {len(names)}.")
    rejected = (gate(features) < gate.threshold).tolist()
    by_name: dict[str, list[bool]] = {name: [] for name in names}
    for name, answer in zip(names, rejected, strict=True):
        by_name[name].append(answer)
    return {name: sum(answers) / len(answers) for name, answers in by_name.items()}


def _logistic_regression(features: Tensor, target: Tensor, share: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Weights and bias that minimise weighted cross-entropy and penalty; convex, so that there is one minimum."""
    weight = features.new_zeros(features.shape[1], requires_grad=True)
    bias = features.new_zeros((), requires_grad=True)
    settings = {"max_iter": 1000, "tolerance_grad": 1e-9, "tolerance_change": 1e-14}
    optimizer = torch.optim.LBFGS([weight, bias], **settings, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        fit = functional.binary_cross_entropy_with_logits(features @ weight + bias, target, share, reduction="sum")
        loss = fit + penalty / 2 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weight.detach(), bias.detach()


def _check(speech: Tensor, other: Tensor, penalty: float) -> None:
    for kind, rows in (("speech", speech), ("other", other)):
        if rows.ndim != 3 or not len(rows):
            raise ConfigError(
                f"A gate is fitted to rows (clips, states, dim) of both kinds; {kind} is {tuple(rows.shape)}."
            )
        if not rows.isfinite().all():
            raise ConfigError(f"The features of {kind} hold values that are not finite. Leave out the broken clips.")
    if speech.shape[1:] != other.shape[1:]:
        raise ConfigError(
            f"Speech of {tuple(speech.shape[1:])} and other sounds of {tuple(other.shape[1:])} states and dimensions "
            "come from different encoders. Encode both with the same."
        )
    if not penalty > 0:
        raise ConfigError(f"The penalty must be positive, got {penalty}; without one separable kinds have no fit.")


def _chosen(states: Iterable[int] | None, count: int) -> list[int]:
    """The states to look at, checked."""
    chosen = list(range(count)) if states is None else list(states)
    if not chosen or len(set(chosen)) < len(chosen) or not all(0 <= state < count for state in chosen):
        raise ConfigError(f"A gate looks at one or more different states among 0 to {count - 1}, got {chosen}.")
    return chosen
