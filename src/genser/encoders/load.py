"""Loads the encoder that an EncoderConfig describes."""

from importlib import import_module

import torch

from genser.encoders.base import SpeechEncoder
from genser.encoders.config import KINDS, EncoderConfig
from genser.encoders.pooling import PooledEncoder


def load_encoder(config: EncoderConfig, device: str | torch.device = "cpu") -> SpeechEncoder:
    """Load a frozen encoder in evaluation mode and float32.

    Args:
        config: Kind, source and pooling.
        device: Device of its weights.

    Raises:
        ConfigError: The encoder has no such states, or cannot be pooled in this way.
        ModelError: The source is missing, damaged, a pickle, or another kind of model.
    """
    encoder = import_module(KINDS[config.kind].module).load(config.source, config.revision)
    if not config.pooling.plain:
        encoder = PooledEncoder(encoder, config.pooling)
    return encoder.to(device).eval().requires_grad_(False)
