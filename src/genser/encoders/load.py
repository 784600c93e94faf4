"""From an EncoderConfig to an encoder with its weights."""

from pathlib import Path

import torch

from genser.encoders.base import SpeechEncoder
from genser.encoders.checkpoint import find_folder, read_settings, read_weights
from genser.encoders.config import EncoderConfig
from genser.encoders.fbank import FbankEncoder
from genser.encoders.hubert import load_hubert
from genser.encoders.pooling import PooledEncoder
from genser.encoders.whisper import HEAD_WIDTH, WhisperConfig, WhisperEncoder
from genser.errors import ModelError

PREFIXES = ("model.encoder.", "encoder.", "")  # of Whisper's encoder inside a whole model, a bare one, alone


def load_encoder(config: EncoderConfig, device: str | torch.device = "cpu") -> SpeechEncoder:
    """Load a frozen encoder in evaluation mode and float32.

    Args:
        config: Its kind and source.
        device: Where to put it.

    Raises:
        ModelError: The source is missing, damaged, a pickle, or another kind of model.
    """
    if config.kind == "whisper":
        encoder = load_whisper(config.source, config.revision)
    elif config.kind == "fbank":
        encoder = FbankEncoder()
    else:
        encoder = load_hubert(config.source, config.revision)
    if not config.pooling.plain:
        encoder = PooledEncoder(encoder, config.pooling)
    return encoder.to(device).eval().requires_grad_(False)


def load_whisper(source: str, revision: str | None = None) -> WhisperEncoder:
    """Load Whisper's encoder from a safetensors file, a folder of transformers' format or a hub id.

    A bare file has no settings: all but the heads follows from the tensors, and a head is 64 wide.

    Raises:
        ModelError: It is no Whisper encoder.
    """
    path = Path(source).expanduser()
    path = path if path.is_file() else find_folder(source, revision)
    heads = None if path.is_file() else read_settings(path).get("encoder_attention_heads")
    tensors = _encoder_tensors(read_weights(path), source)
    try:
        encoder = WhisperEncoder(_whisper_config(tensors, heads), name=path.name.split(".")[0])
        encoder.load_state_dict({key: tensor.float() for key, tensor in tensors.items()})
    except (KeyError, IndexError, RuntimeError) as error:
        raise ModelError(f"{source} is no Whisper encoder: {error}. Name a Whisper model of transformers.") from error
    return encoder


def _encoder_tensors(tensors: dict[str, torch.Tensor], source: str) -> dict[str, torch.Tensor]:
    for prefix in PREFIXES:
        if f"{prefix}conv1.weight" in tensors:
            return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    raise ModelError(f"{source} holds no tensor conv1.weight, so it is no Whisper encoder. Name one.")


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
