"""Which encoder to load; free of torch, so that a recipe or a runtime can be read without it."""

from dataclasses import dataclass

from genser.errors import ConfigError

KINDS = ("hubert", "whisper", "fbank")
DEFAULT_HUBERT = "TencentGameMate/chinese-hubert-large"  # the paper's encoder, section 3.1


@dataclass(frozen=True)
class EncoderConfig:
    """An encoder and where its weights lie.

    Attributes:
        kind: ``"hubert"`` is HuBERT and its family (WavLM, wav2vec 2.0, data2vec-audio), ``"whisper"`` the encoder of
            Whisper, ``"fbank"`` log-mel filter banks, which need no source.
        source: Local folder, local safetensors file (Whisper) or hub id. None means the paper's encoder for HuBERT.
        revision: Branch, tag or commit of a hub id; a commit pins the weights.
    """

    kind: str = "hubert"
    source: str | None = None
    revision: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"Unknown kind of encoder {self.kind!r}. Choose one of {', '.join(KINDS)}.")
        if self.kind == "hubert" and self.source is None:
            object.__setattr__(self, "source", DEFAULT_HUBERT)
        if self.kind == "whisper" and not self.source:
            raise ConfigError("The encoder 'whisper' needs a source: a safetensors file, a folder or a hub id.")
        if self.kind == "fbank" and (self.source or self.revision):
            raise ConfigError("The encoder 'fbank' has no weights. Leave out its source and revision.")
