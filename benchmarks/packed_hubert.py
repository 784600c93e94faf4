"""Encodes clips with HuBERT on a GPU without padding; measured by encode_gpu.py, not part of the package.

The features equal those of :class:`genser.encoders.hubert.HubertEncoder`. The differences in the computation are:

- Clips are packed end to end into one row of samples, so no frame is computed for padding, and attention is flash
  attention over segments, which needs no mask. Convolutions without padding commute with shifts by whole strides: a
  clip that begins at a multiple of the encoder's hop gets the same frames as alone. Frames whose receptive field spans
  two clips are discarded.
- A convolution of stride s is one or two matrix products over views of its input, channels last. Its bias, layer norm
  and GELU are one pass if they are compiled.
- Queries, keys and values come from one product.
- Each state is averaged as soon as it is computed, by a product with a matrix of zeros and ones.

This works for HuBERT and wav2vec 2.0 with layer norms after the convolutions (the large models). A group norm would
need each clip separately.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from genser.encoders.hubert import HubertEncoder

ALIGNED = 16  # inputs of a matrix product are a multiple, so that it runs on tensor cores
ROUND = 4096  # frames; the row of the positional convolution is a multiple, so that few shapes occur
OPEN_ROWS = 8  # rows to which clips can still be added


@dataclass(frozen=True)
class Grid:
    """How an encoder's convolutions cut samples into frames.

    Attributes:
        hop: Samples from one frame to the next.
        field: Samples that a frame sees.
    """

    hop: int
    field: int

    @classmethod
    def of(cls, kernels: Sequence[int], strides: Sequence[int]) -> "Grid":
        """The grid of unpadded convolutions, first to last."""
        hops = list(accumulate(strides, lambda a, b: a * b, initial=1))
        return cls(hops[-1], 1 + sum((kernel - 1) * hop for kernel, hop in zip(kernels, hops, strict=False)))

    def room(self, samples: int) -> int:
        """Frames that a clip takes in a row: its own, and those that would see what comes behind it."""
        return max(-(-samples // self.hop), self.frames(samples) + -(-self.field // self.hop) - 1)

    def frames(self, samples: int) -> int:
        """Frames that lie within so many samples."""
        return (samples - self.field) // self.hop + 1

    def samples(self, frames: int) -> int:
        """Samples that so many frames see."""
        return frames * self.hop + self.field - self.hop


@dataclass(frozen=True)
class Pack:
    """A row of frames with clips in it.

    Attributes:
        clips: Positions of the clips in the list they came from.
        starts: First frame of each.
        counts: Frames of each.
        lengths: Samples of each.
        total: Frames of the row, gaps and unused ones too.
    """

    clips: tuple[int, ...]
    starts: np.ndarray
    counts: np.ndarray
    lengths: np.ndarray
    total: int

    def fill(self, row: np.ndarray, waveforms: Sequence[np.ndarray], hop: int) -> None:
        """Write the clips' samples into a row of zeros."""
        for start, clip in zip(self.starts.tolist(), self.clips, strict=True):
            row[start * hop : start * hop + len(waveforms[clip])] = waveforms[clip]

    def segments(self, longest: int) -> np.ndarray:
        """Ends of stretches that attend to themselves alone: every clip, and what lies between and behind them.

        Args:
            longest: Longest stretch behind the last clip.

        Returns:
            Cumulative frames, int32, from 0 to the total; some stretches may be empty.
        """
        ends = np.stack([self.starts, self.starts + self.counts], axis=1).reshape(-1)
        tail = np.arange(ends[-1], self.total, longest)
        return np.concatenate([[0], ends, tail[1:], [self.total]]).astype(np.int32)


def pack_clips(lengths: Sequence[int], grid: Grid, total: int) -> Iterable[Pack]:
    """Distribute clips over rows, longest first, each where it is the first to fit.

    Args:
        lengths: Samples of each clip, at least the grid's field.
        grid: The encoder's.
        total: Frames of a row; a longer clip gets a row of its own length.

    Yields:
        Packs, which together hold every clip once.
    """
    rows: list[tuple[list[int], int]] = []  # clips and frames used; those last added to behind
    for clip in sorted(range(len(lengths)), key=lambda clip: -lengths[clip]):
        room = grid.room(lengths[clip])
        index = next((index for index, (_, used) in enumerate(rows) if used + room <= total), None)
        clips, used = ([], 0) if index is None else rows.pop(index)
        rows.append(([*clips, clip], used + room))
        if len(rows) > OPEN_ROWS:
            yield _pack(*rows.pop(0), lengths, grid, total)
    for clips, used in rows:
        yield _pack(clips, used, lengths, grid, total)


def _pack(clips: list[int], used: int, lengths: Sequence[int], grid: Grid, total: int) -> Pack:
    held = np.array([lengths[clip] for clip in clips])
    counts = (held - grid.field) // grid.hop + 1
    starts = np.cumsum([0, *(grid.room(length) for length in held[:-1].tolist())])
    return Pack(tuple(clips), starts, counts, held, max(total, used))


class Convolution(NamedTuple):
    """An unpadded convolution as matrix products: the weights of every `stride` taps, (taps · in, out)."""

    stride: int
    taps: int
    parts: tuple[Tensor, ...]
    bias: Tensor
    norm: tuple[Tensor, Tensor]


class Layer(NamedTuple):
    """Weights of a transformer layer; norms in float32."""

    inward: tuple[Tensor, Tensor]
    outward: tuple[Tensor, Tensor]
    first: tuple[Tensor, Tensor]
    second: tuple[Tensor, Tensor]
    up: tuple[Tensor, Tensor]
    down: tuple[Tensor, Tensor]


class PackedHubert:
    """A HuBERT or wav2vec 2.0 with layer norms in the front end, its weights laid out for packs.

    Args:
        encoder: Where the weights come from; they are copied.
        dtype: Arithmetic of products and of the states between them; norms and means are float32.
        compiled: Whether what lies between the products is fused by torch.compile.
    """

    def __init__(self, encoder: HubertEncoder, dtype: torch.dtype, compiled: bool = False) -> None:
        model, config = encoder.model, encoder.model.config
        self.dtype, self.normalize = dtype, encoder.normalize
        self.device = next(encoder.parameters()).device
        self.grid = Grid.of(config.conv_kernel, config.conv_stride)
        self.heads, self.eps, self.norm_last = (
            config.num_attention_heads,
            config.layer_norm_eps,
            config.do_stable_layer_norm,
        )
        self.activation = model.encoder.layers[0].feed_forward.intermediate_act_fn
        self.convolutions = [self._convolution(layer) for layer in model.feature_extractor.conv_layers]
        self.projection = self._projection(model.feature_projection)
        self.positions = model.encoder.pos_conv_embed
        self.position_weights = self._linear(self.positions.conv)
        self.norm = _norm(model.encoder.layer_norm)
        self.layers = [self._layer(layer) for layer in model.encoder.layers]
        fused: Callable[[Any], Any] = torch.compile if compiled else (lambda work: work)
        self.activate, self.before, self.after = fused(_activated), fused(self._before), fused(self._after)

    @torch.inference_mode()
    def __call__(self, pack: Pack, waveforms: Sequence[np.ndarray]) -> Tensor:
        """Means of every state of a pack's clips, float32 of shape (clips, states, dim), not waited for."""
        row = torch.zeros(self.grid.samples(pack.total), pin_memory=self.device.type == "cuda")
        pack.fill(row.numpy(), waveforms, self.grid.hop)
        member = self._members(pack)
        counts = self._sent(pack.counts)[:, None]
        hidden = self._embedded(self._normalized(row.to(self.device, non_blocking=True), pack), pack)
        means = [_sums(member, state) / counts for state in self._states(hidden, pack)]
        return torch.stack(means, dim=1)

    def _sent(self, numbers: np.ndarray) -> Tensor:
        """Numbers on the device, without waiting for what it is still computing."""
        tensor = torch.from_numpy(numbers)
        return (tensor.pin_memory() if self.device.type == "cuda" else tensor).to(self.device, non_blocking=True)

    def _states(self, hidden: Tensor, pack: Pack) -> Iterator[Tensor]:
        hidden = hidden if self.norm_last else self._normed(hidden, self.norm)
        yield hidden
        ends = pack.segments(int(pack.counts.max()))
        cumulative = self._sent(ends)
        longest = int(np.diff(ends).max())
        for number, layer in enumerate(self.layers, start=1):
            mixed = attend(*self.before(hidden, layer), cumulative, longest)
            hidden = self.after(hidden, mixed, layer)
            last = self.norm_last and number == len(self.layers)
            yield self._normed(hidden, self.norm) if last else hidden

    def _before(self, hidden: Tensor, layer: Layer) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (frames, heads, width)."""
        source = self._normed(hidden, layer.first) if self.norm_last else hidden
        return functional.linear(source, *layer.inward).unflatten(-1, (3, self.heads, -1)).unbind(1)

    def _after(self, hidden: Tensor, mixed: Tensor, layer: Layer) -> Tensor:
        """Output projection and feed-forward with their residuals, normed before (stable) or behind."""
        hidden = hidden + functional.linear(mixed.flatten(1), *layer.outward)
        hidden = hidden if self.norm_last else self._normed(hidden, layer.first)
        source = self._normed(hidden, layer.second) if self.norm_last else hidden
        inner = self.activation(functional.linear(source, *layer.up))
        hidden = hidden + functional.linear(inner, *layer.down)
        return hidden if self.norm_last else self._normed(hidden, layer.second)

    def _normed(self, hidden: Tensor, norm: tuple[Tensor, Tensor]) -> Tensor:
        return functional.layer_norm(hidden.float(), hidden.shape[-1:], *norm, self.eps).to(self.dtype)

    def _normalized(self, row: Tensor, pack: Pack) -> Tensor:
        """Zero mean and unit variance over the samples of each clip, from sums over hops in float64."""
        if not self.normalize:
            return row.to(self.dtype)
        hop, clips = self.grid.hop, len(pack.clips)
        whole = row[: pack.total * hop].view(-1, hop)
        owner = self._sent(np.repeat(np.arange(clips), np.diff([*pack.starts, pack.total])))
        parts = torch.stack([whole.sum(1), whole.square().sum(1)], dim=1).double()
        lengths = self._sent(pack.lengths)[:, None]
        moments = torch.zeros(clips, 2, dtype=torch.float64, device=self.device).index_add_(0, owner, parts) / lengths
        scale = (moments[:, 1] - moments[:, 0].square() + 1e-7).rsqrt().float()
        mean = moments[:, 0].float()
        scaled = (whole - mean[owner, None]) * scale[owner, None]
        return functional.pad(scaled.flatten(), (0, len(row) - scaled.numel())).to(self.dtype)

    def _embedded(self, samples: Tensor, pack: Pack) -> Tensor:
        """Front end, projection and positions of a row of samples, (frames, dim)."""
        hidden = samples[:, None]
        for convolution in self.convolutions:
            hidden = self.activate(_convolved(hidden, convolution), convolution.bias, convolution.norm)
        norm, weights = self.projection
        hidden = self._normed(hidden, norm) if norm else hidden
        hidden = functional.linear(hidden, *weights)
        return hidden + self._positions(hidden, pack)

    def _positions(self, hidden: Tensor, pack: Pack) -> Tensor:
        """Positional convolution with zeros between the clips; zero outside of them."""
        weight, bias = self.position_weights
        margin = weight.shape[2] // 2
        length = pack.total + margin * (len(pack.clips) + 1)
        length = math.ceil(length / ROUND) * ROUND
        spread, packed = self._places(pack, margin)
        row = hidden.new_zeros(length, hidden.shape[1])
        row[spread] = hidden[packed]
        mixed = functional.conv1d(row.T[None], weight, bias, padding=margin, groups=self.positions.conv.groups)
        mixed = self.positions.activation(mixed[0].T[spread])
        return torch.zeros_like(hidden).index_copy_(0, packed, mixed)

    def _places(self, pack: Pack, margin: int) -> tuple[Tensor, Tensor]:
        """Where every frame of a clip lies in the row with margins, and where in the pack."""
        packed = np.concatenate([np.arange(s, s + n) for s, n in zip(pack.starts, pack.counts, strict=True)])
        shift = margin * np.repeat(np.arange(1, len(pack.clips) + 1), pack.counts)
        return self._sent(packed + shift), self._sent(packed)

    def _members(self, pack: Pack) -> Tensor:
        """One where a frame belongs to a clip, else zero; shape (clips, frames)."""
        starts, counts = (self._sent(part)[:, None] for part in (pack.starts, pack.counts))
        frames = torch.arange(pack.total, device=self.device)
        return ((frames >= starts) & (frames < starts + counts)).to(self.dtype)

    def _convolution(self, layer: nn.Module) -> Convolution:
        convolution = layer.conv
        (stride,), (taps,) = convolution.stride, convolution.kernel_size
        weight = convolution.weight.detach().permute(2, 1, 0).to(self.dtype)
        if convolution.in_channels == 1:
            parts = (functional.pad(weight[:, 0], (0, 0, 0, -taps % ALIGNED)),)
        else:
            parts = tuple(part.flatten(0, 1).contiguous() for part in weight.split(stride))
        bias = weight.new_zeros(weight.shape[2]) if convolution.bias is None else convolution.bias.detach()
        return Convolution(stride, taps, parts, bias.to(self.dtype), _norm(layer.layer_norm))

    def _projection(self, projection: nn.Module) -> tuple[tuple[Tensor, Tensor] | None, tuple[Tensor, Tensor]]:
        norm = getattr(projection, "layer_norm", None)
        return (None if norm is None else _norm(norm)), self._linear(projection.projection)

    def _linear(self, *modules: nn.Module) -> tuple[Tensor, Tensor]:
        """Weight and bias of one or several linear layers side by side."""
        weights, biases = ([getattr(module, name).detach() for module in modules] for name in ("weight", "bias"))
        return torch.cat(weights).to(self.dtype), torch.cat(biases).to(self.dtype)

    def _layer(self, layer: nn.Module) -> Layer:
        attention, dense = layer.attention, layer.feed_forward
        return Layer(
            self._linear(attention.q_proj, attention.k_proj, attention.v_proj),
            self._linear(attention.out_proj),
            _norm(layer.layer_norm),
            _norm(layer.final_layer_norm),
            self._linear(dense.intermediate_dense),
            self._linear(dense.output_dense),
        )


def attend(query: Tensor, key: Tensor, value: Tensor, cumulative: Tensor, longest: int) -> Tensor:
    """Attention within segments of packed frames, each argument and the result (frames, heads, width)."""
    if query.device.type == "cuda":
        from torch.nn.attention.varlen import varlen_attn

        return varlen_attn(query, key, value, cumulative, cumulative, longest, longest)
    counts = cumulative.diff().tolist()
    segments = zip(*(part.transpose(0, 1).split(counts, dim=1) for part in (query, key, value)), strict=True)
    mixed = [functional.scaled_dot_product_attention(*segment) for segment in segments]
    return torch.cat(mixed, dim=1).transpose(0, 1)


def _convolved(hidden: Tensor, convolution: Convolution) -> Tensor:
    """Convolution of (samples, channels) without its bias."""
    stride, channels = convolution.stride, hidden.shape[1]
    frames = (len(hidden) - convolution.taps) // stride + 1
    if channels == 1:  # ten taps would be no aligned matrix
        view = hidden[:, 0].unfold(0, convolution.taps, stride)
        return functional.pad(view, (0, -convolution.taps % ALIGNED)) @ convolution.parts[0]
    total = hidden.new_zeros(())
    for number, part in enumerate(convolution.parts):
        begin = hidden.storage_offset() + number * stride * channels
        view = hidden.as_strided((frames, len(part)), (stride * channels, 1), begin)
        total = torch.addmm(total, view, part) if number else view @ part
    return total


def _activated(hidden: Tensor, bias: Tensor, norm: tuple[Tensor, Tensor]) -> Tensor:
    """Bias, layer norm and GELU behind a convolution."""
    return functional.gelu(functional.layer_norm((hidden + bias).float(), hidden.shape[-1:], *norm)).to(hidden.dtype)


def _sums(member: Tensor, state: Tensor) -> Tensor:
    """Sum of the frames of each clip, (clips, dim), added up in float32."""
    if state.dtype == torch.float32:
        return member @ state
    if state.device.type == "cuda":
        return torch.mm(member, state, out_dtype=torch.float32)
    return member.float() @ state.float()


def _norm(norm: nn.Module) -> tuple[Tensor, Tensor]:
    return norm.weight.detach().float(), norm.bias.detach().float()


def encode_packed(encoder: HubertEncoder, waveforms: Sequence[np.ndarray], batch_seconds: float) -> np.ndarray:
    """Features of clips of at most 30 s, computed in bfloat16, float32 of shape (clips, states, dim)."""
    packed = PackedHubert(encoder, torch.bfloat16, compiled=find_spec("triton") is not None)
    total = int(batch_seconds * 16_000 // packed.grid.hop)
    packs = pack_clips([len(waveform) for waveform in waveforms], packed.grid, total)
    features = np.zeros((len(waveforms), encoder.states, encoder.dim), np.float32)
    for pack, means in [(pack, packed(pack, waveforms)) for pack in packs]:
        features[list(pack.clips)] = means.float().cpu().numpy()
    return features
