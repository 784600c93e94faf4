"""Statistics of hidden states over time other than the plain mean of Eq. (1): gated means, standard deviations."""

from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from genser.encoders.base import SpeechEncoder
from genser.encoders.config import GATES, Pooling
from genser.encoders.high_pass import CUTOFF, KAISER, REACH, HighPass
from genser.errors import ConfigError

LEVEL = 10 ** (-18 / 10)
"""Average power of the loud frames of a levelled clip: 18 dB below full scale."""

SMALLEST_POWER = 1e-12
"""Power, 120 dB below full scale, below which a clip counts as silent and is not amplified further."""

LOWEST = -16.0
"""Smallest argument of the gates' sigmoid, where they are practically closed. ONNX Runtime's sigmoid is 0 below −18:
without this bound, all frames of a silent clip would have the weight 0, and their mean would be 0/0."""


class PooledEncoder(SpeechEncoder):
    """An encoder whose hidden states are pooled by a :class:`Pooling`.

    ``states`` is the number of statistics times the number of chosen hidden states, statistics outermost; the last is
    x_1. Layers above the highest chosen state are not computed.

    Raises:
        ConfigError: The encoder lacks a chosen state, or has no fixed frame positions, which gates and levels need.
    """

    def __init__(self, encoder: SpeechEncoder, pooling: Pooling) -> None:
        super().__init__()
        if not encoder.hop and (pooling.level or any(gate for gate, _ in pooling.parts)):
            raise ConfigError(
                f"{encoder.name} has no statistics of loud frames and no level, because its frames have no fixed "
                "position. Use the statistics mean and std, without level."
            )
        self.chosen = pooling.states or tuple(range(encoder.states))
        if max(self.chosen) >= encoder.states or min(self.chosen) < 0:
            wrong = max(self.chosen) if max(self.chosen) >= encoder.states else min(self.chosen)
            raise ConfigError(
                f"{encoder.name} has the states 0 to {encoder.states - 1}, not {wrong}. Choose some of them with "
                f"--encoder.pooling.states {','.join(map(str, range(1, encoder.states)))}, or name another encoder."
            )
        self.encoder, self.pooling = encoder, pooling
        self.high_pass = HighPass() if pooling.high_pass else None
        self.name, self.dim, self.hop = encoder.name, encoder.dim, encoder.hop
        self.states, self.max_samples = len(pooling.statistics) * len(self.chosen), encoder.max_samples

    @property
    def settings(self) -> dict:
        """Settings of the encoder, and the pooling with its constants. Fingerprints keep the old name of ``std``."""
        gates = {gate: GATES[gate] for gate, _ in self.pooling.parts if gate}
        statistics = [name.replace("std", "deviation") for name in self.pooling.statistics]
        pooling = {"statistics": statistics, "states": self.chosen, "gates": gates}
        pooling |= {"level": LEVEL if self.pooling.level else None, "normalize": self.pooling.normalize}
        if self.high_pass is not None:  # absent otherwise, so that older fingerprints stay the same
            pooling |= {"high_pass": {"cutoff": CUTOFF, "reach": REACH, "kaiser": KAISER}}
        return {**self.encoder.settings, "pooling": pooling}

    def frame_states(self, waveforms: Tensor, lengths: Tensor) -> tuple[Iterable[Tensor], Tensor]:
        """Return the chosen hidden states in their order, and the valid frames."""
        states, mask = self.encoder.frame_states(self._levelled(self._filtered(waveforms, lengths), lengths), lengths)
        kept = dict(self._pick(states))
        return [kept[index] for index in self.chosen], mask

    def forward(
        self, waveforms: Float[Tensor, "batch samples"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch states dim"]:
        """Return every statistic of every chosen state."""
        waveforms = self._filtered(waveforms, lengths)
        states, mask = self.encoder.frame_states(self._levelled(waveforms, lengths), lengths)
        weights = self._weights(waveforms, mask)
        pooled = {index: self._statistics(state, weights) for index, state in self._pick(states)}
        by_statistic = zip(*(pooled[index] for index in self.chosen), strict=True)
        vectors = torch.cat([torch.stack(statistic, dim=1) for statistic in by_statistic], dim=1)
        return functional.layer_norm(vectors, vectors.shape[-1:]) if self.pooling.normalize else vectors

    def _pick(self, states: Iterable[Tensor]) -> Iterator[tuple[int, Tensor]]:
        """Yield the index and value of each chosen state; the encoder stops after the highest."""
        for index, state in enumerate(states):
            if index in self.chosen:
                yield index, state
            if index == max(self.chosen):
                return

    def _statistics(self, state: Tensor, weights: dict[str, Tensor]) -> list[Tensor]:
        """Weighted means and standard deviations of one state (batch, frames, dim), each (batch, dim), in float32."""
        state = state.float()
        means = {gate: (weight[:, None] @ state)[:, 0] for gate, weight in weights.items()}
        return [
            means[gate] if kind == "mean" else _std(state, means[gate], weights[gate])
            for gate, kind in self.pooling.parts
        ]

    def _weights(self, waveforms: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Weight of every frame, (batch, frames), for each gate in use; each row sums to 1."""
        gates = sorted({gate for gate, _ in self.pooling.parts if gate})
        weights = {"": mask.float()} if any(not gate for gate, _ in self.pooling.parts) else {}
        if gates:
            assert self.hop is not None  # checked when the encoder was made
            loudness = relative_loudness(frame_power(waveforms, mask, self.hop), mask)
            for gate in gates:
                threshold, slope = GATES[gate]
                opening = torch.sigmoid(((loudness - threshold) / slope).clamp(min=LOWEST))
                weights[gate] = torch.where(mask, opening, 0.0)
        return {gate: weight / weight.sum(1, keepdim=True) for gate, weight in weights.items()}

    def _filtered(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        return waveforms if self.high_pass is None else self.high_pass(waveforms, lengths)

    def _levelled(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        if not self.pooling.level:
            return waveforms
        assert self.hop is not None  # checked when the encoder was made
        frames = torch.arange(waveforms.shape[1] // self.hop, device=waveforms.device)
        mask = frames < torch.div(lengths, self.hop, rounding_mode="floor")[:, None]
        loud = loud_power(frame_power(waveforms, mask, self.hop), mask).clamp(min=SMALLEST_POWER)
        return waveforms * (LEVEL / loud).sqrt()[:, None]


def frame_power(waveforms: Tensor, mask: Tensor, hop: int) -> Tensor:
    """Mean power of the samples of each frame, (batch, frames)."""
    indices = torch.arange(mask.shape[1] * hop, device=waveforms.device).expand(waveforms.shape[0], -1)
    return waveforms.gather(1, indices).unflatten(1, (mask.shape[1], hop)).square().mean(2)


def loud_power(power: Tensor, mask: Tensor) -> Tensor:
    """Power of the loud frames of each clip, (batch,): the mean power of the valid frames, weighted by itself.

    Pauses hardly count, so this is the level of the speech, not that of the recording.
    """
    power = torch.where(mask, power, 0.0)
    return power.square().sum(1) / power.sum(1).clamp(min=SMALLEST_POWER)


def relative_loudness(power: Tensor, mask: Tensor) -> Tensor:
    """Frame power in dB relative to the loud frames of the clip, (batch, frames)."""
    loud = loud_power(power, mask).clamp(min=SMALLEST_POWER)[:, None]
    return 10 * torch.log10((power / loud).clamp(min=1e-10))


def _std(state: Tensor, mean: Tensor, weight: Tensor) -> Tensor:
    """Weighted standard deviation over the frames, (batch, dim)."""
    spread = (weight[:, None] @ (state - mean[:, None]).square())[:, 0]
    return (spread + 1e-8).sqrt()
