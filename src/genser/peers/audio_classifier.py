"""Audio classifiers of transformers: HuBERT, WavLM, wav2vec 2.0, data2vec-audio, Whisper and others with a head."""

from pathlib import Path
from typing import Any

import numpy as np

from genser.audio import SAMPLE_RATE
from genser.caches import import_torch_compiler
from genser.encoders.checkpoint import find_folder, weight_files
from genser.errors import MissingExtraError, ModelError
from genser.peers.peer import Answer, PeerInfo, PeerRequest


class AudioClassifier:
    """A model of ``AutoModelForAudioClassification``.

    Clips are scored one by one, because most of these models let the padding of a batch change the scores.

    Args:
        model: The model, in evaluation mode.
        extractor: Its feature extractor.
        info: Where it comes from.
    """

    gives_scores = True

    def __init__(self, model: Any, extractor: Any, info: PeerInfo) -> None:
        self.model, self.extractor, self.info = model, extractor, info
        self.classes = tuple(model.config.id2label[index] for index in range(model.config.num_labels))

    def __call__(self, waveform: np.ndarray) -> Answer:
        """Softmax probabilities."""
        import torch

        whole = {"padding": "max_length"} if self.model.config.model_type == "whisper" else {}
        inputs = self.extractor(waveform, sampling_rate=SAMPLE_RATE, return_tensors="pt", **whole)
        inputs = {name: value.to(self.model.device) for name, value in inputs.items()}
        with torch.inference_mode():
            scores = self.model(**inputs).logits[0].float().softmax(-1).tolist()
        return Answer(dict(zip(self.classes, scores, strict=True)))


def load(request: PeerRequest) -> AudioClassifier:
    """Load a classifier with its feature extractor, in float32.

    Raises:
        ModelError: It is missing, damaged, incomplete or a pickle, or has no emotion head.
    """
    folder = find_folder(request.weights)
    weight_files(folder)
    model, library = from_pretrained("AutoModelForAudioClassification", folder)
    names = model.config.id2label
    if sorted(names) != list(range(len(names))) or not all(isinstance(name, str) for name in names.values()):
        raise ModelError(f"{folder} does not name every class: {names}. Name another model.")
    extractor = part_of("AutoFeatureExtractor", folder)
    return AudioClassifier(model.float().to(request.device), extractor, request.info(library))


def from_pretrained(model_class: str, folder: Path, **options: Any) -> tuple[Any, str]:
    """A whole model of transformers from a folder, in evaluation mode, and the name and version of the library.

    Raises:
        ModelError: transformers cannot load it, or tensors are missing.
    """
    import_torch_compiler()
    model, report = part_of(model_class, folder, use_safetensors=True, output_loading_info=True, **options)
    import transformers

    missing = sorted(key for key in report["missing_keys"] if "masked_spec_embed" not in key)
    if missing:
        raise ModelError(
            f"{folder} lacks {len(missing)} tensors of {type(model).__name__}, such as {missing[0]}. Without them it "
            "would guess. Copy the whole model, or name another."
        )
    return model.eval(), f"transformers {transformers.__version__}"


def part_of(name: str, folder: Path, **options: Any) -> Any:
    """What a class of transformers loads from a folder; code from the folder is never run.

    Raises:
        ModelError: transformers cannot load it.
        MissingExtraError: transformers is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError("train", f"Loading {folder}") from error
    try:
        return getattr(transformers, name).from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, **options
        )
    except Exception as error:  # a bad folder makes transformers raise many kinds of errors
        raise ModelError(f"{folder} cannot be loaded by transformers: {error}. Copy the whole model folder.") from error
