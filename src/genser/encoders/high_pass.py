"""A high-pass before an encoder: removes a constant offset, rumble and hum, which listeners hardly notice."""

import numpy as np
import torch
from torch import Tensor, nn

from genser.audio import SAMPLE_RATE
from genser.encoders.mel import mirrored

CUTOFF = 80.0  # Hz, 6 dB down; 35 dB down at 50 Hz, 20 dB at 60 Hz, 1 dB at 100 Hz
REACH = 320  # samples on both sides, 20 ms
BLOCK = 160  # samples that are filtered at once
KAISER = 4.0  # shape of the window
RANK = 8


def low_pass() -> np.ndarray:
    """Symmetric impulse response of what is removed, 2 REACH + 1 samples: a windowed low-pass of gain 1 at 0 Hz."""
    samples = np.arange(-REACH, REACH + 1)
    response = np.sinc(2 * CUTOFF / SAMPLE_RATE * samples) * np.kaiser(len(samples), KAISER)
    return response / response.sum()


class HighPass(nn.Module):
    """Linear-phase high-pass; each clip is mirrored at its own ends, so an offset causes no click there.

    What is removed in a block is a product of the samples around it with a matrix. So slow a signal has few degrees of
    freedom: RANK numbers describe it in a block to 60 dB below the signal, so the matrix is a product of two thin ones.
    """

    def __init__(self) -> None:
        super().__init__()
        matrix = np.zeros((BLOCK, 2 * REACH + BLOCK))
        for row in range(BLOCK):
            matrix[row, row : row + 2 * REACH + 1] = low_pass()
        left, values, right = np.linalg.svd(matrix, full_matrices=False)
        self.register_buffer("analysis", _float(right[:RANK, None]), persistent=False)
        self.register_buffer("synthesis", _float((values * left)[:, :RANK]), persistent=False)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Filter a padded batch, (batch, samples); behind the end of each clip are zeros."""
        count = waveforms.shape[1]
        around = nn.functional.pad(mirrored(waveforms, lengths, REACH), (0, -count % BLOCK))
        slow = nn.functional.conv1d(around[:, None], self.analysis, stride=BLOCK)
        removed = (slow.transpose(1, 2) @ self.synthesis.T).flatten(1)[:, :count]
        valid = torch.arange(count, device=waveforms.device) < lengths[:, None]
        return torch.where(valid, waveforms - removed, 0.0)


def _float(array: np.ndarray) -> Tensor:
    return torch.tensor(array, dtype=torch.float32)
