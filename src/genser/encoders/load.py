"""Loads the encoder that an EncoderConfig describes."""

from importlib import import_module

import torch

from genser.encoders.base import SpeechEncoder
from genser.encoders.config import KINDS, EncoderConfig
from genser.encoders.pooling import PooledEncoder
from genser.errors import ConfigError


def check_device(device: str | torch.device) -> None:
    """Check that torch can compute on a device.

    Raises:
        ConfigError: There is no such device here.
    """
    try:
        torch.zeros(1, device=device).item()
    except Exception as error:  # torch raises many kinds of errors for it
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ConfigError(
            f"The device {str(device)!r} cannot be used: {reason}. Use 'cpu', or 'cuda' where torch has CUDA and a GPU."
        ) from error


def best_device() -> str:
    """The GPU if torch sees one, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def load_encoder(config: EncoderConfig, device: str | torch.device = "cpu") -> SpeechEncoder:
    """Load a frozen encoder in evaluation mode and float32.

    Args:
        config: Kind, source and pooling.
        device: Device of its weights.

    Raises:
        ConfigError: The device, or the module of another package, cannot be used, the encoder has no such states, or it
            cannot be pooled in this way.
        ModelError: The source is missing, damaged, a pickle, or another kind of model.
    """
    check_device(device)
    module = KINDS[config.kind].module
    try:
        encoder = import_module(module).load(config.source, config.revision)
    except ImportError as error:
        raise ConfigError(f"The encoder {config.kind!r} needs {module}, which cannot be imported: {error}.") from error
    if not config.pooling.plain:
        encoder = PooledEncoder(encoder, config.pooling)
    return encoder.to(device).eval().requires_grad_(False)
