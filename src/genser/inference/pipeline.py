"""A recogniser as a callable with the inputs and results of transformers' pipeline for audio classification."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from genser.audio import SAMPLE_RATE, AudioSource
from genser.errors import AudioError, ConfigError
from genser.inference.prediction import Prediction

if TYPE_CHECKING:
    from genser.inference.recognizer import Recognizer

Ranking = list[dict[str, Any]]
"""``{"score": …, "label": …}`` of each class, the highest score first."""


class AudioClassification:
    """Classifies clips as ``transformers.pipeline("audio-classification")`` does.

    Args:
        recognizer: The model.
        top_k: Classes in a result; None means all.
    """

    def __init__(self, recognizer: "Recognizer", top_k: int | None = None) -> None:
        self._recognizer, self._top_k = recognizer, top_k

    def __call__(self, inputs: Any, *, top_k: int | None = None) -> Any:
        """Classify one clip or several.

        Args:
            inputs: A clip: anything that :meth:`genser.Recognizer.predict` takes, an array of samples at 16 kHz, or
                ``{"array": samples, "sampling_rate": Hz}``, also with "raw" for "array". Or a list of clips, or any
                other iterable of them, which is read as needed.
            top_k: Classes in a result; None means those of the pipeline.

        Returns:
            Of a clip a list of ``{"score": float, "label": str}``, the highest score first. A clip without speech has
            one entry, "no speech". Of a list of clips a list of such lists, of another iterable an iterator.

        Raises:
            AudioError: A clip cannot be read.
            ConfigError: A dictionary lacks the samples or their rate, or `top_k` is not 1 or more.
        """
        top_k = self._top_k if top_k is None else top_k
        if top_k is not None and top_k < 1:
            raise ConfigError(f"top_k must be 1 or more, got {top_k}.")
        is_single = isinstance(inputs, str | bytes | bytearray | os.PathLike | tuple | Mapping)
        if is_single or hasattr(inputs, "shape") or hasattr(inputs, "read"):
            return _ranking(self._recognizer.predict(_source(inputs)), top_k)
        rankings = (_ranking(one, top_k) for one in self._recognizer.predict_many(map(_source, inputs)))
        return list(rankings) if isinstance(inputs, list) else rankings


def _source(clip: Any) -> AudioSource:
    if isinstance(clip, Mapping):
        samples = clip["raw"] if "raw" in clip else clip.get("array")
        if samples is None or "sampling_rate" not in clip:
            raise ConfigError(f'A clip is {{"array": samples, "sampling_rate": Hz}}; got the keys {sorted(clip)}.')
        return samples, clip["sampling_rate"]
    return (clip, SAMPLE_RATE) if hasattr(clip, "shape") else clip


def _ranking(prediction: Prediction, top_k: int | None) -> Ranking:
    if prediction.error:
        raise AudioError(prediction.error)
    if prediction.label not in prediction.scores:
        return [{"score": prediction.score, "label": prediction.label}]
    ranked = sorted(prediction.scores.items(), key=lambda item: -item[1])
    return [{"score": score, "label": label} for label, score in ranked[:top_k]]
