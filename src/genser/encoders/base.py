"""What every speech encoder is: waveforms to the mean of each of its hidden states, Eq. (1)."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cached_property
from itertools import chain

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

MIN_SAMPLES = 400  # 25 ms at 16 kHz: one window of every encoder here


class SpeechEncoder(nn.Module, ABC):
    """A frozen network from 16 kHz waveforms to hidden states.

    Attributes:
        name: For people.
        dim: Width L of a state.
        states: Number of states; all but the last are the conditions X_c, the last is x_1.
        max_samples: Longest waveform it takes at once, None if any.
        hop: Samples from one frame to the next, None where frames have no fixed place.
    """

    name: str
    dim: int
    states: int
    max_samples: int | None = None
    hop: int | None = None

    @property
    @abstractmethod
    def settings(self) -> dict:
        """Everything besides the weights that decides the output, for the fingerprint; JSON values only."""

    @abstractmethod
    def frame_states(self, waveforms: Tensor, lengths: Tensor) -> tuple[Iterable[Tensor], Tensor]:
        """Return the hidden states, each (batch, frames, dim), and which frames are valid, (batch, frames)."""

    @property
    def device(self) -> torch.device:
        """Where its weights lie."""
        return next(chain(self.parameters(), self.buffers())).device

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over settings and weights, which tells features of different encoders apart."""
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
            waveforms: Mono at 16 kHz, each padded at its end; what the padding holds does not matter.
            lengths: Valid samples of each, at least 400.
        """
        states, mask = self.frame_states(waveforms, lengths)
        return torch.stack([masked_mean(state, mask) for state in states], dim=1)

    def forward_frames(
        self, waveforms: Float[Tensor, "batch samples"], lengths: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch states frames dim"], Bool[Tensor, "batch frames"]]:
        """Return every hidden state frame by frame, and which frames are valid."""
        states, mask = self.frame_states(waveforms, lengths)
        return torch.stack(list(states), dim=1), mask


def masked_mean(state: Tensor, mask: Tensor) -> Tensor:
    """Average (batch, frames, dim) over the frames that the mask (batch, frames) names."""
    # Summed in float32: under autocast the states may be bfloat16.
    total = torch.where(mask[:, :, None], state.float(), 0.0).sum(dim=1)
    return total / mask.sum(dim=1, keepdim=True)
