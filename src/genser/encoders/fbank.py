"""Log-mel filter banks as an encoder, for a baseline without a pretrained network."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from genser.encoders.base import SpeechEncoder, masked_mean
from genser.encoders.mel import FRAME, MelSpectrum

FLOOR = 1e-10  # smallest power, that of silence


class FbankEncoder(SpeechEncoder):
    """Mean and standard deviation over time of log-mel filter banks (natural logarithm, 25 ms every 10 ms).

    It has one state, so X_c is empty. x_1 is the mean followed by the standard deviation, so ``dim`` is twice ``bins``.

    Args:
        bins: Number of mel bands.
    """

    def __init__(self, bins: int = 80) -> None:
        super().__init__()
        self.name, self.bins = f"fbank-{bins}", bins
        self.dim, self.states = 2 * bins, 1
        self.spectrum = MelSpectrum(bins)

    @property
    def settings(self) -> dict:
        """Front end, for the fingerprint."""
        return {"kind": "fbank", "bins": self.bins, "floor": FLOOR, "frame": FRAME}

    def frame_states(self, waveforms: Tensor, lengths: Tensor) -> tuple[Iterator[Tensor], Tensor]:
        """Return the banks, (batch, frames, bins), and the valid frames, (batch, frames); 100 per second."""
        power, frames = self.spectrum(waveforms, lengths)
        mask = torch.arange(power.shape[2], device=frames.device) < 2 * frames[:, None]
        return iter([power.clamp(min=FLOOR).log().transpose(1, 2)]), mask

    def forward(
        self, waveforms: Float[Tensor, "batch samples"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch 1 dim"]:
        """Return mean and standard deviation of each band over the valid frames."""
        (banks,), mask = self.frame_states(waveforms, lengths)
        mean = masked_mean(banks, mask)
        variance = masked_mean((banks - mean[:, None]).square(), mask)
        return torch.cat([mean, variance.sqrt()], dim=1)[:, None]


def load(source: None = None, revision: None = None) -> FbankEncoder:  # noqa: ARG001 - it has no weights
    """Make the filter banks."""
    return FbankEncoder()
