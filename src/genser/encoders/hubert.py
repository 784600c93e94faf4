"""HuBERT (Hsu et al., 2021) and its family, WavLM, wav2vec 2.0 and data2vec-audio, from transformers' checkpoints.

The modules and weights are transformers'; the way through them is here, because transformers' own lets the padding
of a batch reach the clips (`genser.encoders.hubert`), and because it hands out the states one by one.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from genser.encoders.base import SpeechEncoder
from genser.encoders.checkpoint import find_folder, read_settings, weight_files
from genser.errors import MissingExtraError, ModelError


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


FAMILY = ("hubert", "wavlm", "wav2vec2", "data2vec-audio")
UNUSED = "masked_spec_embed"  # only pre-training reads it, and some checkpoints lack it
SETTINGS = (
    "model_type",
    "conv_kernel",
    "conv_stride",
    "feat_extract_norm",
    "feat_extract_activation",
    "feat_proj_layer_norm",
    "num_conv_pos_embeddings",
    "num_conv_pos_embedding_groups",
    "conv_pos_kernel_size",
    "num_attention_heads",
    "num_buckets",
    "max_bucket_distance",
    "do_stable_layer_norm",
    "layer_norm_eps",
    "hidden_act",
)


class HubertEncoder(SpeechEncoder):
    """A model of the HuBERT family as an encoder.

    States: the embedding, as the first layer gets it, and each layer's output, the last behind the final norm where
    the model has one. 50 frames a second; a clip of n samples has the frames whose 25 ms lie within it.

    Args:
        model: transformers' HubertModel, WavLMModel, Wav2Vec2Model or Data2VecAudioModel.
        normalize: Whether it wants waveforms of zero mean and unit variance.
        name: For people.
    """

    def __init__(self, model: nn.Module, normalize: bool, name: str = "hubert") -> None:
        super().__init__()
        self.model, self.normalize, self.name = model, normalize, name
        self.dim = model.config.hidden_size
        self.states = model.config.num_hidden_layers + 1
        self.hop = math.prod(model.config.conv_stride)

    @property
    def settings(self) -> dict:
        """Form of the network and of its input."""
        settings = {key: getattr(self.model.config, key, None) for key in SETTINGS}
        return {"kind": "hubert", "normalize": self.normalize, **settings}

    def frame_states(self, waveforms: Tensor, lengths: Tensor) -> tuple[Iterator[Tensor], Tensor]:
        """Return the states, each (batch, frames, dim), and the valid frames, (batch, frames)."""
        valid = valid_mask(lengths, waveforms.shape[1])
        waveforms = normalized(waveforms, valid) if self.normalize else torch.where(valid, waveforms, 0.0)
        features, frames = convolved(self.model.feature_extractor.conv_layers, waveforms, lengths)
        hidden = self.model.feature_projection(features.transpose(1, 2))
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        mask = valid_mask(frames, hidden.shape[1])
        return self._states(torch.where(mask[:, :, None], hidden, 0.0), mask), mask

    def _states(self, hidden: Tensor, mask: Tensor) -> Iterator[Tensor]:
        encoder = self.model.encoder
        norm_last = getattr(self.model.config, "do_stable_layer_norm", False)
        hidden = hidden + positions(encoder.pos_conv_embed, hidden, mask)
        hidden = hidden if norm_last else encoder.layer_norm(hidden)
        yield hidden
        layers = self._wavlm_layers(hidden, mask) if self._is_wavlm else self._layers(hidden, mask)
        for number, state in enumerate(layers, start=1):
            yield encoder.layer_norm(state) if norm_last and number == len(encoder.layers) else state

    @property
    def _is_wavlm(self) -> bool:
        return self.model.config.model_type == "wavlm"

    def _layers(self, hidden: Tensor, mask: Tensor) -> Iterator[Tensor]:
        bias = torch.where(mask, 0.0, torch.finfo(hidden.dtype).min).to(hidden.dtype)
        bias = bias[:, None, None].expand(-1, 1, mask.shape[1], -1)
        for layer in self.model.encoder.layers:
            hidden = _first(layer(hidden, attention_mask=bias))
            yield hidden

    def _wavlm_layers(self, hidden: Tensor, mask: Tensor) -> Iterator[Tensor]:
        # The first layer makes the relative position bias for all.
        bias = None
        for layer in self.model.encoder.layers:
            hidden, bias, *_ = layer(hidden, attention_mask=mask, position_bias=bias)
            yield hidden


def _first(output: Tensor | tuple) -> Tensor:
    """Return the hidden state of a layer: transformers 4 wraps it in a tuple."""
    return output[0] if isinstance(output, tuple) else output


def load_hubert(source: str, revision: str | None = None) -> HubertEncoder:
    """Load a model of the HuBERT family with its own input normalisation, in float32.

    Args:
        source: Folder of transformers' format or hub id.
        revision: Branch, tag or commit of a hub id.

    Raises:
        ModelError: Missing, damaged, without safetensors, incomplete, of another family or another sample rate.
    """
    folder = find_folder(source, revision)
    model_type = read_settings(folder).get("model_type")
    if model_type not in FAMILY:
        raise ModelError(f"{source} is a {model_type!r} model. Name one of {', '.join(FAMILY)}.")
    weight_files(folder)
    return HubertEncoder(_load_model(folder, source), _wants_normalization(folder, source), name=Path(source).name)


def _load_model(folder: Path, source: str) -> nn.Module:
    try:
        from transformers import AutoModel
    except ImportError as error:
        raise MissingExtraError("train", f"Loading {source}") from error
    try:
        model, report = AutoModel.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    except Exception as error:  # transformers raises what a foreign folder provokes
        raise ModelError(f"{source} cannot be loaded by transformers: {error}. Copy the whole model folder.") from error
    missing = sorted(key for key in report["missing_keys"] if key != UNUSED)
    if missing:
        raise ModelError(
            f"{source} lacks {len(missing)} tensors of a {model.config.model_type} model, such as {missing[0]}. "
            "Copy the whole model, or name another."
        )
    return model.float()


def _wants_normalization(folder: Path, source: str) -> bool:
    settings: dict = {}
    if (folder / "preprocessor_config.json").is_file():
        settings = read_settings(folder, "preprocessor_config.json")
    elif (folder / "processor_config.json").is_file():
        settings = read_settings(folder, "processor_config.json").get("feature_extractor", {})
    rate = settings.get("sampling_rate", 16_000)
    if rate != 16_000:
        raise ModelError(f"{source} wants sound at {rate} Hz; genser's is at 16000 Hz. Name another model.")
    return settings.get("do_normalize", True)  # Wav2Vec2FeatureExtractor's default
