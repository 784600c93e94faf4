"""What keeps the padding of a batch out of a HuBERT: the three places where transformers lets it in.

With each clip's own frames known, its states in a batch are what they are alone. Through transformers 5.23 the means
over the frames of six clips of 25 ms to 2 s (random weights, states of deviation 1) moved by up to 0.2 (HuBERT), 0.35
(WavLM), 0.55 (wav2vec 2.0, each with a group norm), 0.44 (with a batch norm) and 2.4 (data2vec):

- the group norm behind the first convolution of the base models takes its statistics over all frames, padding too;
- the batch norm before, and the stacked layers of, the positional convolution (data2vec) turn padded frames from zero
  to something, which the next convolution mixes into the clip's last frames;
- the normalisation of the waveform belongs to the valid samples alone.
"""

import torch
from torch import Tensor, nn


def valid_mask(lengths: Tensor, total: int) -> Tensor:
    """Return which of `total` places are within each length, (batch, total)."""
    return torch.arange(total, device=lengths.device) < lengths[:, None]


def normalized(waveforms: Tensor, mask: Tensor) -> Tensor:
    """Scale each waveform to zero mean and unit variance over its valid samples; zero behind them."""
    waveforms = torch.where(mask, waveforms, 0.0)
    count = mask.sum(dim=1, keepdim=True)
    centred = torch.where(mask, waveforms - waveforms.sum(dim=1, keepdim=True) / count, 0.0)
    variance = centred.square().sum(dim=1, keepdim=True) / count
    return centred / (variance + 1e-7).sqrt()  # the constant of Wav2Vec2FeatureExtractor


def convolved(layers: nn.ModuleList, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Run the convolutional feature extractor; return (batch, channels, frames) and the valid frames of each clip.

    The convolutions are unpadded: a frame counts as valid if all it sees is valid, so they leak nothing themselves.
    """
    hidden = waveforms[:, None]
    for layer in layers:
        (kernel,), (stride,) = layer.conv.kernel_size, layer.conv.stride
        lengths = torch.div(lengths - kernel, stride, rounding_mode="floor") + 1
        if isinstance(getattr(layer, "layer_norm", None), nn.GroupNorm):
            hidden = layer.conv(hidden)
            hidden = layer.activation(masked_channel_norm(layer.layer_norm, hidden, lengths))
        else:
            hidden = layer(hidden)
    return hidden, lengths


def masked_channel_norm(norm: nn.GroupNorm, hidden: Tensor, lengths: Tensor) -> Tensor:
    """Apply a group norm of one channel a group with the statistics of each clip's own frames."""
    mask = valid_mask(lengths, hidden.shape[2])[:, None]
    count = lengths[:, None, None]
    values = hidden.float()
    centred = values - torch.where(mask, values, 0.0).sum(dim=2, keepdim=True) / count
    variance = torch.where(mask, centred, 0.0).square().sum(dim=2, keepdim=True) / count
    scaled = centred * (variance + norm.eps).rsqrt()
    return (scaled * norm.weight[:, None] + norm.bias[:, None]).to(hidden.dtype)


def positions(embedding: nn.Module, hidden: Tensor, mask: Tensor) -> Tensor:
    """Run the positional convolution(s) over (batch, frames, dim) with zeros behind each clip before each of them."""
    valid = mask[:, None]
    hidden = hidden.transpose(1, 2)
    if hasattr(embedding, "layers"):  # data2vec stacks them
        for layer in embedding.layers:
            hidden = layer(torch.where(valid, hidden, 0.0))
        return hidden.transpose(1, 2)
    if getattr(embedding, "batch_norm", None) is not None:
        hidden = embedding.batch_norm(hidden)
    hidden = embedding.conv(torch.where(valid, hidden, 0.0))
    return embedding.activation(embedding.padding(hidden)).transpose(1, 2)
