"""Train a speech gate: logistic regression on pooled states of speech against synthetic noise."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from genser.audio.synthetic_noise import FAMILIES, synthetic_noise
from genser.caches import import_torch_compiler
from genser.encoders import Pooling, SpeechEncoder, encode
from genser.errors import ConfigError
from genser.model.features import Standardizer
from genser.model.speech_gate import SpeechGate

SOUNDS_EACH = 30
"""Sounds of each family of synthetic noise that a gate is trained on."""


def train_gate(
    encoder: SpeechEncoder,
    pooling: Pooling,
    speech: Float[Tensor, "clips states dim"],
    recordings: Sequence[np.ndarray] | np.ndarray = (),
    progress: Callable[[int, int], None] = lambda *_: None,
) -> SpeechGate:
    """Train a gate between clips with speech and sounds without: synthetic noise of all families, and recordings.

    The gate looks at one pooled state: the last mean over time of the highest hidden state.

    Args:
        encoder: Of the clips' features; it encodes the noise.
        pooling: How it pools.
        speech: Features of clips with speech, among them augmented copies if training has them.
        recordings: Features of recordings without speech, shape (recordings, states, dim); rows of NaN, of files that
            could not be read, do not count.
        progress: Called with the families of noise that are encoded and their number.
    """
    encoded = []
    for family in FAMILIES:
        progress(len(encoded), len(FAMILIES))
        encoded.append(encode(encoder, [synthetic_noise(family, number) for number in range(SOUNDS_EACH)]))
    progress(len(encoded), len(FAMILIES))
    noise = torch.from_numpy(np.concatenate(encoded))
    real = torch.tensor(np.asarray(recordings), dtype=torch.float32)
    if len(real):
        noise = torch.cat([noise, real[~real.isnan().any(dim=(1, 2))]])
    means = [index for index, name in enumerate(pooling.statistics) if name.endswith("mean")] or [-1]
    each = noise.shape[1] // len(pooling.statistics)
    return fit_gate(speech, noise, states=((means[-1] % len(pooling.statistics) + 1) * each - 1,))


def fit_gate(
    speech: Float[Tensor, "clips states dim"],
    other: Float[Tensor, "sounds states dim"],
    *,
    states: tuple[int, ...] | None = None,
    penalty: float = 0.03,
    threshold: float = 0.5,
) -> SpeechGate:
    """Fit a gate that separates clips with speech from other sounds.

    Both kinds count equally, however many there are of each. Features are standardised for the fit, and the
    standardisation is folded into the gate's weights. The gated mean of one lower state suffices: fitted to it with
    this penalty, a gate rejected no clip of unseen speakers and 99 % of the sounds of unseen families.

    Args:
        speech: Pooled states of clips with speech.
        other: Pooled states of sounds without.
        states: Indices of the pooled states that the gate looks at; None for all. The others get weight 0.
        penalty: Factor of half the squared norm of the weights on standardised features, added to the mean loss.
        threshold: Probability from which a clip counts as speech.

    Returns:
        The gate, on the CPU, in float32.

    Raises:
        ConfigError: A kind has no row or a value that is not finite, their shapes differ, a state does not exist, the
            penalty is not positive, or the threshold is not in (0, 1).
    """
    _check(speech, other, penalty)
    count, dim = speech.shape[1:]
    chosen = _chosen(states, count)
    gate = SpeechGate(count, dim, threshold)
    features = torch.cat([speech[:, chosen].cpu(), other[:, chosen].cpu()])
    target = torch.cat([torch.ones(len(speech)), torch.zeros(len(other))]).double()
    share = target / (2 * len(speech)) + (1 - target) / (2 * len(other))
    scaling = Standardizer(len(chosen), dim).fit(features, share)
    weight, bias = _logistic_regression(scaling(features).flatten(1).double(), target, share, penalty)
    weight = weight.unflatten(0, (len(chosen), dim)) / scaling.scale
    with torch.no_grad():
        gate.weight[chosen] = weight.float()
        gate.bias.copy_(bias - (weight * scaling.mean).sum())
    return gate.eval().requires_grad_(False)


def _logistic_regression(features: Tensor, target: Tensor, share: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Weights and bias that minimise the weighted cross-entropy plus the penalty; this convex loss has one minimum."""
    weight = features.new_zeros(features.shape[1], requires_grad=True)
    bias = features.new_zeros((), requires_grad=True)
    settings = {"max_iter": 1000, "tolerance_grad": 1e-9, "tolerance_change": 1e-14}
    import_torch_compiler()
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
                f"A gate is fitted to rows (clips, states, dim) of both kinds, but {kind} is {tuple(rows.shape)}."
            )
        if not rows.isfinite().all():
            raise ConfigError(f"The features of {kind} have values that are not finite. Remove the broken clips.")
    if speech.shape[1:] != other.shape[1:]:
        raise ConfigError(
            f"Speech of {tuple(speech.shape[1:])} and other sounds of {tuple(other.shape[1:])} states and dimensions "
            "come from different encoders. Encode both with the same one."
        )
    if not penalty > 0:
        raise ConfigError(f"The penalty must be positive, got {penalty}: without one, separable kinds have no fit.")


def _chosen(states: Iterable[int] | None, count: int) -> list[int]:
    """Check the indices of the states."""
    chosen = list(range(count)) if states is None else list(states)
    if not chosen or len(set(chosen)) < len(chosen) or not all(0 <= state < count for state in chosen):
        raise ConfigError(f"A gate looks at one or more different states among 0 to {count - 1}, got {chosen}.")
    return chosen
