"""Hidden states of the encoder for other programs: pooled over a clip as the head receives them, or by frame."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from genser.audio import SAMPLE_RATE, AudioSource, AudioStream
from genser.errors import AudioError, ConfigError
from genser.inference.backend import ModelOutput
from genser.inference.profile import training_mean
from genser.inference.windows import STEP

if TYPE_CHECKING:
    from genser.inference.recognizer import Recognizer


@dataclass(frozen=True)
class FrameEmbedding:
    """Hidden states of one clip by frame.

    Attributes:
        times: Start of each frame in seconds, shape (frames,).
        states: float32 of shape (frames, states, dim).
    """

    times: np.ndarray
    states: np.ndarray


class Embeddings:
    """What a recogniser gives before its head."""

    _by_frame: Any = None
    """What runs the encoder by frame, once it was needed."""

    def embed(
        self, sources: Iterable[AudioSource | AudioStream], *, channel: int | Literal["mix"] = "mix"
    ) -> np.ndarray:
        """Features of clips: what the head of the model receives, before the shift of a profile.

        Args:
            sources: As for :meth:`Recognizer.predict_many`.
            channel: Number of the channel, from 1; or "mix".

        Returns:
            float32 of shape (clips, states, dim): for each statistic of the model's pooling and each chosen hidden
            state of the encoder one vector. A long clip has the mean of its windows; a source that cannot be read has
            NaN.

        Raises:
            ConfigError: The model does not return its features.
        """
        recognizer = cast("Recognizer", self)
        rows, shape = [], training_mean(recognizer.metadata).shape
        for clip, outputs in recognizer._runner.run(recognizer._decoded(sources, channel), features_of):
            rows.append(np.full(shape, np.nan) if clip.error else recognizer._runner.combined(outputs)[0])
        return np.array(rows, np.float32).reshape(len(rows), *shape)

    def embed_frames(
        self, source: AudioSource | AudioStream, *, channel: int | Literal["mix"] = "mix"
    ) -> FrameEmbedding:
        """Hidden states of the encoder by frame, before they are pooled over the clip.

        The states are those that the model's pooling chooses, in its order. Whisper and HuBERT's family have 50 frames
        per second, filter banks 100. With the pooling ``mean`` the mean over the frames of a clip of up to 10 s is what
        :meth:`embed` returns; other statistics weight the frames. A longer clip is encoded in its windows of 10 s. An
        hour of a model with 2 states of 512 numbers takes 740 MB.

        An ONNX file is run by torch for this, with the weights of the file.

        Args:
            source: As for :meth:`Recognizer.predict`.
            channel: Number of the channel, from 1; or "mix".

        Raises:
            AudioError: The clip cannot be read, or has no such channel.
            ConfigError: The encoder has no frames, or the channel is "each".
            ModelError: The hidden states cannot be found in the ONNX file.
            MissingExtraError: torch is not installed.
        """
        if channel == "each":
            raise ConfigError("embed_frames takes one channel. Call it with each number of a channel.")
        recognizer = cast("Recognizer", self)
        (clip,) = chain.from_iterable(recognizer._decoded([source], channel, workers=1))
        if clip.error is not None:
            raise AudioError(clip.error)
        self._by_frame = self._by_frame or _runs_by_frame(recognizer)
        times, states, samples = [], [], 0
        for window in chain(clip.windows, clip.rest):
            found = self._by_frame.frame_states(window)
            times.append((samples + _frame_length(len(found), len(window)) * np.arange(len(found))) / SAMPLE_RATE)
            states.append(found)
            samples += len(window)
        return FrameEmbedding(np.concatenate(times), np.concatenate(states))


def features_of(output: ModelOutput) -> np.ndarray:
    """Features of shape (batch, states, dim)."""
    if output.features is None:
        raise ConfigError("This model does not support profiles. Train and export it with this version.")
    return output.features


def _frame_length(frames: int, samples: int) -> int:
    """Samples from one frame to the next: 20 ms or a part of it. The last frame may be missing, as in HuBERT."""
    if frames < samples // STEP - 1:
        raise ConfigError("The encoder of this model has no frames of a fixed length. Use embed.")
    return STEP // max(round(frames * STEP / samples), 1)


def _runs_by_frame(recognizer: "Recognizer") -> Any:
    """The backend if it runs with torch, else its file run by torch."""
    from genser.inference.load import torch_backend

    backend = recognizer._backend
    if hasattr(backend, "frame_states"):
        return backend
    if backend.path is None:
        raise ConfigError("This model is not from a file or folder. Save it, and use genser.load.")
    return torch_backend(backend.path, None, "cpu", None, purpose="Embedding by frame")
