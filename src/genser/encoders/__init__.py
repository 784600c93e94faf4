"""Speech to hidden states: HuBERT and its family, the encoder of Whisper, filter banks; Eq. (1) of the paper.

Importing this package loads neither torch nor transformers; using its encoders does.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from genser.encoders.batches import split_windows
from genser.encoders.config import DEFAULT_HUBERT, KINDS, EncoderConfig, EncoderKind, Pooling, named_encoder
from genser.errors import MissingExtraError

if TYPE_CHECKING:
    from genser.encoders.base import SpeechEncoder
    from genser.encoders.checkpoint import convert_checkpoint
    from genser.encoders.encode_clips import encode
    from genser.encoders.load import load_encoder

__all__ = [
    "DEFAULT_HUBERT",
    "KINDS",
    "EncoderConfig",
    "EncoderKind",
    "Pooling",
    "SpeechEncoder",
    "convert_checkpoint",
    "encode",
    "load_encoder",
    "named_encoder",
    "split_windows",
]

_HOMES = {
    "SpeechEncoder": "base",
    "encode": "encode_clips",
    "convert_checkpoint": "checkpoint",
    "load_encoder": "load",
}


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{_HOMES[name]}")
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("genser"):
            raise
        raise MissingExtraError("train", "Computing speech features with torch") from error
    return getattr(module, name)
