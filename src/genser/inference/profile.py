"""Profiles: what a microphone, a room, a language or a speaker does to the features, learned without labels.

Recordings from elsewhere differ from the training recordings first of all in the mean of their features. A profile is
the shift that moves this mean to that of the training recordings, which between Gaussians of equal covariance is the
optimal transport. Every clip is still recognised by itself.

From few clips the mean also contains their emotions and their chance. So the shift is shrunk by n / (n + 5) for n
clips. benchmarks/adaptation.py compares this with no shrinkage and with other estimates.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genser.config import array_of, is_number, plain_array
from genser.errors import ConfigError, NothingToLearnError, cause, counted
from genser.files import atomic_write

FORMAT = 1
SHRINKAGE = 5.0  # clips at which half of the difference is believed
FEW = 10  # clips; a profile of fewer has a remark
MOST_BYTES = 1 << 24  # of a profile file


@dataclass(frozen=True)
class Profile:
    """The shift of a collection of recordings.

    Attributes:
        model: Identifies the features of the model, see :func:`features_id`.
        shift: Added to the features of every clip, float32 of shape (states, dim).
        clips: Clips with speech that it was learned from; of a long recording, its windows.
        duration: Their length in seconds.
    """

    model: str
    shift: np.ndarray
    clips: int
    duration: float

    @classmethod
    def learned(
        cls, metadata: Mapping[str, Any], features: np.ndarray, duration: float, base: np.ndarray | None = None
    ) -> "Profile":
        """Learn the shift from the features of some clips; their order does not matter.

        Args:
            metadata: Of the model.
            features: Shape (clips, states, dim), of clips with speech.
            duration: Their length in seconds.
            base: Shift of a larger collection that the clips belong to, see :func:`shrunk_shift`.

        Raises:
            ConfigError: There is no clip, or the model is too old.
        """
        mean = training_mean(metadata)
        if not len(features):
            raise NothingToLearnError(
                "There is no clip with speech to learn a profile from. Name recordings of speech."
            )
        return cls(features_id(metadata), shrunk_shift(features, mean, base), len(features), duration)

    @property
    def remark(self) -> str | None:
        """A sentence if it was learned from few clips."""
        if self.clips >= FEW:
            return None
        share = 100 * self.clips / (self.clips + SHRINKAGE)
        clips = counted(self.clips, "clip")
        return f"The profile was learned from {clips}, so only {share:.0f} % of the difference is used. Add recordings."

    def check(self, metadata: Mapping[str, Any]) -> None:
        """Refuse a model that the profile was not learned with.

        Raises:
            ConfigError: It is another model.
        """
        if self.model != features_id(metadata) or self.shift.shape != training_mean(metadata).shape:
            raise ConfigError(
                "The profile was learned with another model. Learn it again with this one: genser adapt RECORDINGS."
            )

    @property
    def digest(self) -> str:
        """Start of the SHA-256 of the shift."""
        return hashlib.sha256(self.shift.astype("<f4").tobytes()).hexdigest()[:12]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a JSON file; the shift is base64 of little-endian float32."""
        atomic_write(Path(path), (json.dumps(self.to_dict(), indent=1) + "\n").encode())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "genser profile": FORMAT,
            "model": self.model,
            "clips": self.clips,
            "duration": round(self.duration, 2),
            "size": round(float(np.sqrt(np.mean(np.square(self.shift)))), 4),
            "shift": plain_array(self.shift),
        }

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Profile":
        """Read a file that :meth:`save` wrote.

        Raises:
            ConfigError: It cannot be read, or is not a profile.
        """
        try:
            with Path(path).open("rb") as file:
                content = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise ConfigError(f"The profile {path} cannot be read: {cause(error)}. Check the path.") from error
        return cls.parsed(content, os.fspath(path))

    @classmethod
    def parsed(cls, content: bytes, name: str) -> "Profile":
        """Read the content of a file that :meth:`save` wrote; the name is for the error message.

        Raises:
            ConfigError: It is not a profile.
        """
        try:
            if len(content) > MOST_BYTES:
                raise ValueError(f"it has more than {MOST_BYTES} bytes")
            values = json.loads(content)
            if values["genser profile"] != FORMAT:
                raise ValueError(f"its format is {values['genser profile']!r}, not {FORMAT}")
            shift = array_of(values["shift"])
            if shift.ndim != 2 or not np.isfinite(shift).all():
                raise ValueError("its shift is not a finite array (states, dim)")
            clips, duration = values["clips"], values["duration"]
            if not (is_number(clips) and is_number(duration)):
                raise ValueError(f"its clips {clips!r} and its duration {duration!r} are not both numbers")
            return cls(str(values["model"]), shift, int(clips), float(duration))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise ConfigError(
                f"{name} is not a profile: {error}. Make one with genser adapt RECORDINGS -o PROFILE."
            ) from error


def shrunk_shift(features: np.ndarray, mean: np.ndarray, base: np.ndarray | None = None) -> np.ndarray:
    """The shift that moves the mean of some clips to that of the training clips, shrunk by n / (n + 5) for n clips.

    Args:
        features: Shape (clips, states, dim), one clip or more; their order does not matter.
        mean: Mean of the training clips, float64 of shape (states, dim).
        base: Shift of a larger collection that they belong to, towards which theirs is shrunk; None is 0.

    Returns:
        float32 of shape (states, dim).
    """
    start = np.zeros_like(mean) if base is None else base.astype(np.float64)
    away = mean - start - np.sort(features.astype(np.float64), axis=0).mean(axis=0)
    return (start + len(features) / (len(features) + SHRINKAGE) * away).astype(np.float32)


def training_mean(metadata: Mapping[str, Any]) -> np.ndarray:
    """Mean of the features of the training clips, float64 of shape (states, dim).

    Raises:
        ConfigError: The model was exported by an earlier version and does not state it, or the task is the gender.
    """
    if metadata.get("task") == "gender":
        raise ConfigError(
            "A profile has no effect on the gender, since it would remove part of it. Omit the profile, or the task."
        )
    try:
        return array_of(metadata["mean"]).astype(np.float64)
    except (TypeError, KeyError, ValueError) as error:
        raise ConfigError("This model does not support profiles. Train and export it with this version.") from error


def features_id(metadata: Mapping[str, Any]) -> str:
    """Identifies the features of a model: a digest of its encoder's weights and settings, and of the training mean.

    Files of one model in different precisions have the same.
    """
    known = json.dumps([metadata.get("fingerprint"), metadata.get("mean")])
    return hashlib.sha256(known.encode()).hexdigest()[:16]
