"""The encoder of Whisper (Radford et al., 2022), from waveform to hidden states, without padding to 30 s.

OpenAI pads every clip to 30 s. Here a clip has only its own frames, which saves time. Positions count from the start of
the clip. The parameter names are those of WhisperEncoder in transformers, so that its weights can be loaded.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from genser.audio import SAMPLE_RATE
from genser.encoders.base import SpeechEncoder
from genser.encoders.checkpoint import find_folder, read_settings, read_weights
from genser.encoders.mel import FRAME, MelSpectrum
from genser.errors import ConfigError, ModelError
from genser.files import expanded, is_file

HEAD_WIDTH = 64  # in every Whisper model that OpenAI published
DYNAMIC_RANGE = 8.0  # decades of power below the loudest band of the clip; lower values are raised to this floor
PREFIXES = ("model.encoder.", "encoder.", "")  # of tensor names: in a full model, a bare model, an encoder alone


@dataclass(frozen=True)
class WhisperConfig:
    """Size of a Whisper encoder; the defaults are Whisper base.

    Attributes:
        dim: Width of a hidden state.
        layers: Number of transformer layers; the encoder has one more state.
        heads: Attention heads.
        inner: Width of the feed-forward layers.
        mels: Mel bands.
        positions: Number of position embeddings, one per frame of 20 ms.
    """

    dim: int = 512
    layers: int = 6
    heads: int = 8
    inner: int = 2048
    mels: int = 80
    positions: int = 1500

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 1:
                raise ConfigError(f"{name} of a Whisper encoder must be at least 1, got {value}.")
        if self.dim % self.heads:
            raise ConfigError(f"The width {self.dim} is not a multiple of the {self.heads} heads.")


class WhisperEncoder(SpeechEncoder):
    """Whisper's encoder with its log-mel front end.

    States: the embedding with its positions, then the output of each layer, the last one after the final norm. There
    are 50 frames per second. Only whole frames count, so the last ``length % 320`` samples are ignored. A clip is at
    most 30 s long (1,500 positions); `encode` cuts longer ones.

    Args:
        config: Size of the network.
        name: Name to display.
    """

    def __init__(self, config: WhisperConfig, name: str = "whisper") -> None:
        super().__init__()
        self.config, self.name = config, name
        self.dim, self.states = config.dim, config.layers + 1
        self.max_samples, self.hop = config.positions * FRAME, FRAME
        self.spectrum = MelSpectrum(config.mels)
        self.conv1 = nn.Conv1d(config.mels, config.dim, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(config.dim, config.dim, kernel_size=3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(config.positions, config.dim)
        self.layers = nn.ModuleList(WhisperLayer(config) for _ in range(config.layers))
        self.layer_norm = nn.LayerNorm(config.dim)

    @property
    def settings(self) -> dict:
        """Size and front end, for the fingerprint."""
        return {"kind": "whisper", "frame": FRAME, "range": DYNAMIC_RANGE, **asdict(self.config)}

    def frame_states(self, waveforms: Tensor, lengths: Tensor) -> tuple[Iterator[Tensor], Tensor]:
        """Return the states, each (batch, frames, dim), and the valid frames, (batch, frames)."""
        if not torch.compiler.is_compiling() and waveforms.shape[1] // FRAME > self.config.positions:
            raise ModelError(
                f"{self.name} takes at most {self.config.positions * FRAME / SAMPLE_RATE:g} s, got "
                f"{waveforms.shape[1] / SAMPLE_RATE:.1f} s. "
                "Use genser.encoders.encode, which cuts longer clips."
            )
        features, frames = self.log_mel(waveforms, lengths)
        mask = torch.arange(features.shape[2] // 2, device=frames.device) < frames[:, None]
        return self._states(features, mask), mask

    def log_mel(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log-mel features, (batch, mels, 2 frames), zero behind each clip, and its number of frames."""
        power, frames = self.spectrum(waveforms, lengths)
        valid = torch.arange(power.shape[2], device=frames.device) < 2 * frames[:, None]
        logarithm = power.clamp(min=1e-10).log10()
        loudest = torch.where(valid[:, None], logarithm, -10.0).amax(dim=(1, 2), keepdim=True)
        scaled = (torch.maximum(logarithm, loudest - DYNAMIC_RANGE) + 4.0) / 4.0
        return torch.where(valid[:, None], scaled, 0.0), frames

    def _states(self, features: Tensor, mask: Tensor) -> Iterator[Tensor]:
        # stride 2, even count: the second convolution ends at the last frame of each clip, so it reaches no padding
        hidden = nn.functional.gelu(self.conv1(features))
        hidden = nn.functional.gelu(self.conv2(hidden)).transpose(1, 2)
        hidden = hidden + self.embed_positions.weight[: hidden.shape[1]]
        bias = torch.where(mask, 0.0, torch.finfo(hidden.dtype).min).to(hidden.dtype)[:, None, None]
        yield hidden
        for layer in self.layers[:-1]:
            hidden = layer(hidden, bias)
            yield hidden
        yield self.layer_norm(self.layers[-1](hidden, bias))


class WhisperLayer(nn.Module):
    """One transformer layer: attention and feed-forward, each after its norm."""

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.self_attn = WhisperAttention(config.dim, config.heads)
        self.self_attn_layer_norm = nn.LayerNorm(config.dim)
        self.fc1 = nn.Linear(config.dim, config.inner)
        self.fc2 = nn.Linear(config.inner, config.dim)
        self.final_layer_norm = nn.LayerNorm(config.dim)

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        """Return the next state, (batch, frames, dim); the bias (batch, 1, 1, frames) masks the padding."""
        hidden = hidden + self.self_attn(self.self_attn_layer_norm(hidden), bias)
        return hidden + self.fc2(nn.functional.gelu(self.fc1(self.final_layer_norm(hidden))))


class WhisperAttention(nn.Module):
    """Multi-head self-attention; its keys have no bias, as in the published models."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim, bias=False)
        self.v_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        """Return the attention output, (batch, frames, dim)."""
        query, key, value = (
            projection(hidden).unflatten(-1, (self.heads, -1)) for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        if torch.onnx.is_in_onnx_export():
            return self.out_proj(_fused_attention(query, key, value, bias))
        query, key, value = (part.transpose(1, 2) for part in (query, key, value))
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


def _fused_attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Attention as one operator of ONNX Runtime, from (batch, frames, heads, width) to (batch, frames, dim).

    Without a mask, it never holds a matrix of frames by frames. So the bias, 0 or lower than any product, becomes one
    more number of each key, and the query multiplies it by 1.
    """
    scale = query.shape[-1] ** -0.5
    query = torch.cat([query, torch.ones_like(query[..., :1])], dim=-1)
    key = torch.cat([key, bias.permute(0, 3, 1, 2).expand_as(key[..., :1])], dim=-1)
    return torch.onnx.ops.symbolic(
        "com.microsoft::MultiHeadAttention",
        (query.flatten(2), key.flatten(2), value.flatten(2)),
        {"num_heads": value.shape[2], "scale": scale},
        dtype=value.dtype,
        shape=value.flatten(2).shape,
        version=1,
    )


def load(source: str, revision: str | None = None) -> WhisperEncoder:
    """Load the encoder of a Whisper model.

    A bare file has no settings. Its sizes follow from the tensors, and its heads are 64 wide.

    Args:
        source: Safetensors file, folder in the format of transformers, or hub id.
        revision: Branch, tag or commit of a hub id.

    Raises:
        ModelError: It is missing, damaged, a pickle, or not a Whisper encoder.
    """
    path = expanded(source)
    path = path if is_file(path) else find_folder(source, revision)
    heads = None if path.is_file() else read_settings(path).get("encoder_attention_heads")
    if heads is not None and type(heads) is not int:
        raise ModelError(f"{source} has {heads!r} attention heads by its config.json. Copy the whole model folder.")
    tensors = _encoder_tensors(read_weights(path), source)
    name = path.name if path.is_dir() else path.name.split(".")[0]
    try:
        encoder = WhisperEncoder(_whisper_config(tensors, heads), name=name)
        encoder.load_state_dict({key: tensor.float() for key, tensor in tensors.items()})
    except (LookupError, RuntimeError, TypeError, ValueError, ArithmeticError) as error:
        raise ModelError(
            f"{source} is not a Whisper encoder: {error}. Name a Whisper model in the format of transformers."
        ) from error
    return encoder


def _encoder_tensors(tensors: dict[str, torch.Tensor], source: str) -> dict[str, torch.Tensor]:
    for prefix in PREFIXES:
        if f"{prefix}conv1.weight" in tensors:
            return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    raise ModelError(f"{source} has no tensor conv1.weight, so it is not a Whisper encoder. Name a Whisper model.")


def _whisper_config(tensors: dict[str, torch.Tensor], heads: int | None) -> WhisperConfig:
    dim, mels, _ = tensors["conv1.weight"].shape
    layers = {key.split(".")[1] for key in tensors if key.startswith("layers.")}
    return WhisperConfig(
        dim=dim,
        layers=len(layers),
        heads=heads or dim // HEAD_WIDTH,
        inner=tensors["layers.0.fc1.weight"].shape[0],
        mels=mels,
        positions=tensors["embed_positions.weight"].shape[0],
    )
