"""HuBERT (Hsu et al., 2021) and its family: WavLM, wav2vec 2.0 and data2vec-audio, from checkpoints of transformers.

We use the modules and weights of transformers, but our own forward pass: that of transformers leaks the padding of a
batch into short clips, and returns all hidden states at once.
"""

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from genser.caches import import_torch_compiler
from genser.encoders.base import SpeechEncoder
from genser.encoders.checkpoint import find_folder, read_settings, read_weights, weight_files
from genser.encoders.config import KINDS
from genser.errors import MissingExtraError, ModelError
from genser.files import expanded, is_file


def valid_mask(lengths: Tensor, total: Any) -> Tensor:  # an int, in an export torch's symbol of one
    """Return which of `total` positions lie within each length, (batch, total)."""
    return torch.arange(total, device=lengths.device) < lengths[:, None]


def normalized(waveforms: Tensor, mask: Tensor) -> Tensor:
    """Scale each waveform to zero mean and unit variance over its valid samples; the padding becomes zero."""
    waveforms = torch.where(mask, waveforms, 0.0)
    count = mask.sum(dim=1, keepdim=True)
    centred = torch.where(mask, waveforms - waveforms.sum(dim=1, keepdim=True) / count, 0.0)
    variance = centred.square().sum(dim=1, keepdim=True) / count
    return centred / (variance + 1e-7).sqrt()  # the constant of Wav2Vec2FeatureExtractor


def convolved(layers: Iterable[Any], waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Run the convolutional feature extractor; return (batch, channels, frames) and the valid frames of each clip.

    The convolutions are unpadded, and a frame is valid if its whole receptive field is. So they leak no padding.
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
    """Apply a group norm with one channel per group, with statistics over the valid frames of each clip."""
    mask = valid_mask(lengths, hidden.shape[2])[:, None]
    count = lengths[:, None, None]
    values = hidden.float()
    centred = values - torch.where(mask, values, 0.0).sum(dim=2, keepdim=True) / count
    variance = torch.where(mask, centred, 0.0).square().sum(dim=2, keepdim=True) / count
    scaled = centred * (variance + norm.eps).rsqrt()
    return (scaled * norm.weight[:, None] + norm.bias[:, None]).to(hidden.dtype)


def positions(embedding: Any, hidden: Tensor, mask: Tensor) -> Tensor:
    """Run the positional convolutions over (batch, frames, dim); the padding is set to zero before each of them."""
    valid = mask[:, None]
    hidden = hidden.transpose(1, 2)
    if hasattr(embedding, "layers"):  # data2vec has several
        for layer in embedding.layers:
            hidden = layer(torch.where(valid, hidden, 0.0))
        return hidden.transpose(1, 2)
    if getattr(embedding, "batch_norm", None) is not None:
        hidden = embedding.batch_norm(hidden)
    hidden = embedding.conv(torch.where(valid, hidden, 0.0))
    return embedding.activation(embedding.padding(hidden)).transpose(1, 2)


UNUSED = "masked_spec_embed"  # used in pre-training only; some checkpoints lack it
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


CONFIG, NORMALIZE = "transformers_config", "normalize"
"""Metadata of a file with weights: the configuration of the model, and whether it wants scaled waveforms, as JSON."""


class HubertEncoder(SpeechEncoder):
    """A model of the HuBERT family as an encoder.

    States: the input of the first layer, and the output of each layer, the last one after the final norm if the model
    has one. There are 50 frames per second: those whose 25 ms lie within the clip.

    Args:
        model: HubertModel, WavLMModel, Wav2Vec2Model or Data2VecAudioModel of transformers.
        normalize: Whether the model expects waveforms of zero mean and unit variance.
        name: Name to display.
    """

    model: Any  # the modules of a model differ by its family

    def __init__(self, model: Any, normalize: bool, name: str = "hubert") -> None:
        super().__init__()
        self.model, self.normalize, self.name = model, normalize, name
        self.dim = model.config.hidden_size
        self.states = model.config.num_hidden_layers + 1
        self.hop = math.prod(model.config.conv_stride)

    @property
    def settings(self) -> dict:
        """Structure of the network and scaling of its input, for the fingerprint."""
        settings = {key: getattr(self.model.config, key, None) for key in SETTINGS}
        return {"kind": "hubert", "normalize": self.normalize, **settings}

    @property
    def file_metadata(self) -> dict[str, str]:
        """Configuration of transformers and scaling of the input."""
        config = {key: value for key, value in self.model.config.to_dict().items() if not key.startswith("_name")}
        return {CONFIG: json.dumps(config), NORMALIZE: json.dumps(self.normalize)}

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
        is_wavlm = self.model.config.model_type == "wavlm"
        layers = self._wavlm_layers(hidden, mask) if is_wavlm else self._layers(hidden, mask)
        for number, state in enumerate(layers, start=1):
            yield encoder.layer_norm(state) if norm_last and number == len(encoder.layers) else state

    def _layers(self, hidden: Tensor, mask: Tensor) -> Iterator[Tensor]:
        bias = torch.where(mask, 0.0, torch.finfo(hidden.dtype).min).to(hidden.dtype)
        bias = bias[:, None, None].expand(-1, 1, mask.shape[1], -1)
        for layer in self.model.encoder.layers:
            output = layer(hidden, attention_mask=bias)
            hidden = output[0] if isinstance(output, tuple) else output  # transformers 4 gives a tuple
            yield hidden

    def _wavlm_layers(self, hidden: Tensor, mask: Tensor) -> Iterator[Tensor]:
        # the first layer computes the relative position bias for all layers
        bias = None
        for layer in self.model.encoder.layers:
            hidden, bias, *_ = layer(hidden, attention_mask=mask, position_bias=bias)
            yield hidden


def load(source: str, revision: str | None = None) -> HubertEncoder:
    """Load a model of the HuBERT family with its own scaling of the input, in float32.

    Args:
        source: Folder in the format of transformers, hub id, or the file with an encoder in a model folder.
        revision: Branch, tag or commit of a hub id.

    Raises:
        ModelError: It is missing, damaged, incomplete, a pickle, of another family or for another sample rate.
    """
    if is_file(path := expanded(source)):
        return _from_file(path)
    folder = find_folder(source, revision)
    model_type = read_settings(folder).get("model_type")
    family = KINDS["hubert"].model_types
    if model_type not in family:
        raise ModelError(f"{source} is a {model_type!r} model. Name a model of one of the types {', '.join(family)}.")
    weight_files(folder)
    return HubertEncoder(_load_model(folder, source), _wants_normalization(folder, source), name=Path(source).name)


def _from_file(path: Path) -> HubertEncoder:
    """Load an encoder that a model folder contains; nothing else is read, and no code from the file is run."""
    tensors = read_weights(path)
    import_torch_compiler()
    from transformers import AutoConfig, AutoModel

    try:
        with safe_open(path, "pt") as file:
            given = file.metadata() or {}
        settings = json.loads(given[CONFIG])
        if settings.pop("model_type") not in KINDS["hubert"].model_types or "auto_map" in settings:
            raise ValueError("it is of another family")
        config = AutoConfig.for_model(json.loads(given[CONFIG])["model_type"], **settings)
        encoder = HubertEncoder(AutoModel.from_config(config), json.loads(given[NORMALIZE]) is True, path.stem)
        encoder.load_state_dict({key: tensor.float() for key, tensor in tensors.items()})
    except Exception as error:  # wrong settings make transformers raise many kinds of errors
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise ModelError(
            f"{path} is not the encoder of a model folder: {reason}. Name the folder in the format of transformers."
        ) from error
    return encoder


def _load_model(folder: Path, source: str) -> Any:
    import_torch_compiler()
    try:
        from transformers import AutoModel
    except ImportError as error:
        raise MissingExtraError("train", f"Loading {source}") from error
    try:
        model, report = AutoModel.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, output_loading_info=True, trust_remote_code=False
        )
    except Exception as error:  # a bad folder makes transformers raise many kinds of errors
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
        found = read_settings(folder, "processor_config.json").get("feature_extractor")
        settings = found if isinstance(found, dict) else {}
    rate = settings.get("sampling_rate", 16_000)
    if rate != 16_000:
        raise ModelError(f"{source} needs audio at {rate} Hz, but genser works at 16000 Hz. Name another model.")
    return settings.get("do_normalize", True)  # the default of Wav2Vec2FeatureExtractor
