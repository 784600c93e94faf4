"""Mel power spectra of a padded batch, without complex numbers and without leaks from the padding."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

import numpy as np
import torch
from torch import Tensor, nn

from genser.audio import SAMPLE_RATE

WINDOW = 400  # samples, 25 ms
HOP = 160  # samples, 10 ms
FRAME = 2 * HOP  # samples; clips are cut to pairs of hops, so that half the frame rate has whole frames


def mel_filters(bins: int) -> np.ndarray:
    """Return triangular filters on Slaney's mel scale with Slaney's area normalisation, shape (bins, 201).

    Linear below 1 kHz, logarithmic above (Auditory Toolbox, 1998), from 0 to 8 kHz, as in librosa and Whisper.
    """
    mels = np.linspace(0.0, _to_mel(SAMPLE_RATE / 2), bins + 2)
    edges = _to_hertz(mels)
    frequencies = np.linspace(0.0, SAMPLE_RATE / 2, WINDOW // 2 + 1)
    slopes = edges[:, None] - frequencies
    widths = np.diff(edges)[:, None]
    triangles = np.maximum(0.0, np.minimum(-slopes[:-2] / widths[:-1], slopes[2:] / widths[1:]))
    return triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None]


def _to_mel(hertz: float) -> float:
    return 15.0 + 27.0 * np.log(hertz / 1000.0) / np.log(6.4)


def _to_hertz(mels: np.ndarray) -> np.ndarray:
    return np.where(mels < 15.0, mels * 200.0 / 3.0, 1000.0 * np.exp((mels - 15.0) * np.log(6.4) / 27.0))


def fourier_kernels() -> np.ndarray:
    """Return the Hann-windowed cosines and sines of a 400-point transform, shape (402, 1, 400)."""
    samples = np.arange(WINDOW)
    angles = 2 * np.pi * np.outer(np.arange(WINDOW // 2 + 1), samples) / WINDOW
    window = 0.5 - 0.5 * np.cos(2 * np.pi * samples / WINDOW)
    return np.concatenate([np.cos(angles), np.sin(angles)])[:, None] * window


class MelSpectrum(nn.Module):
    """Power in mel bands, 100 frames per second; each clip is mirrored at its own ends.

    The transform is a convolution with windowed cosines and sines, so that ONNX needs no complex numbers.

    Args:
        bins: Number of mel bands.
    """

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.register_buffer("kernels", torch.tensor(fourier_kernels(), dtype=torch.float32), persistent=False)
        self.register_buffer("filters", torch.tensor(mel_filters(bins), dtype=torch.float32), persistent=False)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return the power in each band, (batch, bins, 2 frames), and the valid frames of 20 ms, (batch,).

        Only whole frames count: the last ``length % 320`` samples, less than 20 ms, are ignored.
        """
        device = waveforms.device.type
        if device == "cuda" or torch.is_autocast_enabled(device):
            # eight decades of power exceed the precision of bfloat16 and of TF32
            with full_precision(device):
                return self._power(waveforms, lengths)
        return self._power(waveforms, lengths)

    def _power(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        frames = torch.div(lengths, FRAME, rounding_mode="floor")
        whole = waveforms[:, : waveforms.shape[1] // FRAME * FRAME]
        continued = mirrored(whole, frames * FRAME, WINDOW // 2)[:, :-HOP]  # without the last hop, as Whisper does
        parts = nn.functional.conv1d(continued[:, None], self.kernels, stride=HOP)
        cosines, sines = parts.chunk(2, dim=1)
        return self.filters @ (cosines.square() + sines.square()), frames


@contextmanager
def full_precision(device: str) -> Iterator[None]:
    """Compute in float32: without autocast, and on a GPU without TF32, to which torch rounds convolutions otherwise.

    The latter is a setting of the process, so on a GPU one thread at a time may be here.
    """
    with torch.autocast(device, enabled=False):
        if device != "cuda":
            yield
            return
        with _SETTING, torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield


_SETTING = RLock()


def mirrored(waveforms: Tensor, lengths: Tensor, reach: int) -> Tensor:
    """Continue each clip by its mirror image at its own ends, over ``reach`` samples: (batch, samples + 2 reach).

    A clip has more samples than the reach. What follows behind the image is zero or padding.
    """
    steps = torch.arange(reach, device=waveforms.device)
    ends = lengths[:, None]
    before, behind = waveforms[:, 1 : reach + 1].flip(1), waveforms.gather(1, (ends - 2 - steps).clamp(min=0))
    longer = torch.cat([before, waveforms, torch.zeros_like(before)], dim=1)
    return longer.scatter(1, reach + ends + steps, behind)
