"""Base class of the speech encoders: from waveforms to the mean of every hidden state, Eq. (1)."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cached_property
from itertools import chain

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class SpeechEncoder(nn.Module, ABC):
    """A frozen network from 16 kHz waveforms to hidden states.

    Attributes:
        name: Name to display.
        dim: Width L of a state.
        states: Number of hidden states; the last is x_1, the others are the conditions X_c.
        max_samples: Longest waveform in samples; None if there is no limit.
        hop: Samples from one frame to the next; None if frames have no fixed position.
        is_graph: Whether torch can trace it, so that it can be exported to ONNX.
    """

    name: str
    dim: int
    states: int
    max_samples: int | None = None
    hop: int | None = None
    is_graph: bool = True

    @property
    @abstractmethod
    def settings(self) -> dict:
        """Everything except the weights that determines the output, for the fingerprint; includes ``kind``."""

    @property
    def file_metadata(self) -> dict[str, str]:
        """What a file with the weights alone must also say, so that the encoder can be loaded from it."""
        return {}

    @abstractmethod
    def frame_states(self, waveforms: Tensor, lengths: Tensor) -> tuple[Iterable[Tensor], Tensor]:
        """Return the hidden states, each (batch, frames, dim), and which frames are valid, (batch, frames)."""

    @property
    def device(self) -> torch.device:
        """Device of its weights; the CPU if it has none."""
        return next((tensor.device for tensor in chain(self.parameters(), self.buffers())), torch.device("cpu"))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over settings and weights; features with different fingerprints must not be mixed."""
        digest = hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode())
        for key, tensor in sorted(self.state_dict().items()):
            digest.update(f"{key} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        return digest.hexdigest()

    def forward(
        self, waveforms: Float[Tensor, "batch samples"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch states dim"]:
        """Average every hidden state over the valid frames, Eq. (1).

        Args:
            waveforms: Mono at 16 kHz, each padded at its end; the values of the padding have no effect.
            lengths: Valid samples of each waveform, at least 400.
        """
        states, mask = self.frame_states(waveforms, lengths)
        return torch.stack([masked_mean(state, mask) for state in states], dim=1)


def masked_mean(state: Tensor, mask: Tensor) -> Tensor:
    """Average (batch, frames, dim) over the frames where the mask (batch, frames) is true."""
    # in float32: under autocast the states may be bfloat16
    total = torch.where(mask[:, :, None], state.float(), 0.0).sum(dim=1)
    return total / mask.sum(dim=1, keepdim=True)
