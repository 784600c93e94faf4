"""How an encoder is named on the command line: ``kind:source``, or a path or hub id alone."""

from genser.encoders import EncoderConfig


def encoder_named(name: str, revision: str | None = None) -> EncoderConfig:
    """``whisper:weights.safetensors``, ``hubert:folder-or-hub-id``, ``hubert`` (the paper's) or ``fbank``."""
    kind, _, source = name.partition(":")
    return EncoderConfig(kind, source or None, revision)  # type: ignore[arg-type]
