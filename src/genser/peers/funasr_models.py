"""emotion2vec, emotion2vec+ and SenseVoice, run by FunASR."""

import re
import sys
from contextlib import redirect_stdout
from importlib import import_module
from typing import Any

import numpy as np

from genser.audio import SAMPLE_RATE
from genser.errors import GenserError, ModelError
from genser.peers.peer import Answer, PeerInfo, PeerRequest

TAGS = ("HAPPY", "SAD", "ANGRY", "NEUTRAL", "FEARFUL", "DISGUSTED", "SURPRISED", "EMO_UNKNOWN")
"""Emotion tags of SenseVoice, as ``<|HAPPY|>`` at the start of its transcript."""


class FunasrModel:
    """A model of ``funasr.AutoModel``: emotion2vec gives scores, SenseVoice a tag in its transcript.

    Args:
        model: The model.
        info: Where it comes from.
        gives_scores: Whether it is an emotion2vec.
        classes: Its own classes.
    """

    def __init__(self, model: Any, info: PeerInfo, gives_scores: bool, classes: tuple[str, ...]) -> None:
        self.model, self.info, self.gives_scores, self.classes = model, info, gives_scores, classes

    def __call__(self, waveform: np.ndarray) -> Answer:
        """Softmax scores of emotion2vec, or the tag of SenseVoice."""
        options: dict[str, Any] = {"fs": SAMPLE_RATE, "disable_pbar": True}
        if self.gives_scores:
            options |= {"granularity": "utterance", "extract_embedding": False}
        else:
            options |= {"language": "auto", "use_itn": False}
        (result,) = self.model.generate(input=[np.ascontiguousarray(waveform, np.float32)], **options)
        if not self.gives_scores:
            return read_tags(result["text"])
        return Answer(dict(zip(result["labels"], map(float, result["scores"]), strict=True)))


def read_tags(text: str) -> Answer:
    """Read the emotion tag of a transcript of SenseVoice; none or several different ones give no class."""
    found = {tag for tag in re.findall(r"<\|([A-Z_]+)\|>", text.upper()) if tag in TAGS}
    return Answer({found.pop(): 1.0}, text) if len(found) == 1 else Answer(text=text)


def load_emotion2vec(request: PeerRequest) -> FunasrModel:
    """Load an emotion2vec with a classifier.

    Raises:
        ModelError: It cannot be loaded, or has no classifier.
    """
    model, library = _auto_model(request)
    tokenizer = model.kwargs.get("tokenizer")
    tokens = tuple(getattr(tokenizer, "token_list", ()) or ())
    if not tokens or getattr(model.model, "proj", None) is None:
        raise ModelError(
            f"{request.weights} has no classes: emotion2vec_base only gives features. Name an emotion2vec_plus model "
            "or emotion2vec_base_finetuned."
        )
    classes = tuple(name for name in tokens if not name.startswith("unuse"))
    return FunasrModel(model, request.info(library), True, classes)


def load_sensevoice(request: PeerRequest) -> FunasrModel:
    """Load a SenseVoice.

    Raises:
        ModelError: It cannot be loaded.
    """
    model, library = _auto_model(request)
    return FunasrModel(model, request.info(library), False, TAGS)


def _auto_model(request: PeerRequest) -> tuple[Any, str]:
    """The model, without update checks and without code from its folder, and the library.

    torch reads its ``model.pt`` with ``weights_only=True``, its default since torch 2.6, which runs no code.
    """
    try:
        with redirect_stdout(sys.stderr):  # the standard output belongs to the report
            funasr = import_module("funasr")
    except ImportError as error:
        raise GenserError(f"{request.name} needs the package funasr. Install it with: pip install funasr") from error
    options = {"hub": "hf", "disable_update": True, "disable_pbar": True, "trust_remote_code": False}
    try:
        with redirect_stdout(sys.stderr):
            model = funasr.AutoModel(model=request.weights, device=request.device, log_level="ERROR", **options)
    except Exception as error:  # FunASR raises many kinds of errors, among them AssertionError
        raise ModelError(f"{request.weights} cannot be loaded by FunASR: {error!r}. Check its folder or id.") from error
    return model, f"funasr {funasr.__version__}"
