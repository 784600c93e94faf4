"""What a bulk run computes, and with what."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from genser._version import __version__
from genser.audio import Channel
from genser.config import to_mapping
from genser.encoders.config import EncoderConfig
from genser.errors import ConfigError, ModelError, cause
from genser.files import file_hash
from genser.inference.load import find_model, model_hash
from genser.inference.profile import Profile
from genser.scale.child import Limits
from genser.segments.options import DEFAULTS, SegmentOptions

Kind = Literal["predict", "segments", "features"]
SHARD_ROWS = {"predict": 512, "segments": 32, "features": 512}
"""Rows of the input in a shard unless another number is given: a few minutes of work on a core."""
_RECOGNISED = ("task", "classes", "prior", "channel")
DECIDING = {"predict": _RECOGNISED, "segments": (*_RECOGNISED, "segments"), "features": ("encoder", "bf16")}
"""Fields of a job that decide its results. The model counts by its content, not by its name."""


@dataclass(frozen=True, eq=False)
class Job:
    """Everything that decides the results.

    Attributes:
        kind: ``"predict"`` for a row per clip, ``"segments"`` for a row per segment, ``"features"`` for the features of
            each clip.
        model: Name or path of a model; None means ``"base"``. Every machine must have the same one.
        task: As for :func:`genser.load`.
        classes: As for :func:`genser.load`, as text.
        prior: As for :func:`genser.load`, as text.
        profile: Adapts the model.
        channel: As for :meth:`genser.Recognizer.predict_many`.
        segments: How recordings are cut, for segments.
        source: Present source of the encoder of a model folder, as the `encoder` of :func:`genser.load`.
        encoder: The encoder, for features.
        bf16: Whether features are computed in bfloat16.
        shard_rows: Rows of the input in a shard; None means 512, for segments 32.

    Raises:
        ConfigError: The number of rows is not above 0.
    """

    kind: Kind = "predict"
    model: str | None = None
    task: str | None = None
    classes: str | None = None
    prior: str | None = None
    profile: Profile | None = None
    channel: Channel = "mix"
    segments: SegmentOptions = DEFAULTS
    source: str | None = None
    encoder: EncoderConfig | None = None
    bf16: bool = False
    shard_rows: int | None = None

    def __post_init__(self) -> None:
        if self.shard_rows is not None and self.shard_rows < 1:
            raise ConfigError(f"A shard needs at least 1 row, got {self.shard_rows}. Choose more.")

    @property
    def block_rows(self) -> int:
        """Rows of the input in a shard."""
        return self.shard_rows or SHARD_ROWS[self.kind]

    def about(self) -> dict[str, Any]:
        """What decides the results as values for JSON, with digests of files."""
        values = to_mapping(self)
        about = {"genser": __version__, "kind": self.kind, "shard_rows": self.block_rows}
        about |= {name: values[name] for name in DECIDING[self.kind]}
        if self.kind == "features":
            return about | {"digest": _file_digest(self.encoder.source if self.encoder else None)}
        return about | {"profile": self.profile and self.profile.digest, "digest": model_digest(self.model)}


def digest_of(about: dict[str, Any]) -> str:
    """SHA-256 of what :meth:`Job.about` returned."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def model_digest(model: str | None) -> str:
    """Start of the SHA-256 of a model.

    Raises:
        ModelError: The model does not exist or cannot be read.
    """
    path = find_model(model)
    try:
        return model_hash(path)[:16]
    except OSError as error:
        raise ModelError(f"The model {path} cannot be read: {cause(error)}. Check the path.") from error


def _file_digest(source: str | None) -> str | None:
    """Start of the SHA-256 of the weights if they are one file; a folder or a hub id counts by its name."""
    try:
        return file_hash(source)[:16] if source else None
    except OSError:
        return None


@dataclass(frozen=True)
class Setup:
    """How a worker computes: what changes the time, and not the results.

    Attributes:
        device: ``"cpu"``, ``"cuda"`` or ``"auto"``.
        threads: CPU cores of a worker; None means all.
        batch_seconds: Audio in a batch in seconds; None means 60, on a GPU 600.
        decoding: What decoding one file may take: seconds for each 10 s of audio, and memory.
    """

    device: str = "cpu"
    threads: int | None = None
    batch_seconds: float | None = None
    decoding: Limits = field(default_factory=lambda: Limits(seconds=60.0, memory=2 << 30))


DEFAULT_SETUP = Setup()
