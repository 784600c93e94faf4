"""Class probabilities of a model for the utterances of a manifest."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from genser.audio import SAMPLE_RATE, load_audio
from genser.data.labels import LabelMap, for_task
from genser.data.utterance import Utterance
from genser.errors import ManifestError
from genser.metrics.evaluate import Predictions

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Scored:
    """What a model said.

    Attributes:
        predictions: At the model's own number of steps.
        steps: N → probabilities with N transport steps; empty where the steps are built in.
        problems: One sentence for each utterance without an answer, which has a row of NaN.
    """

    predictions: Predictions
    steps: dict[int, np.ndarray]
    problems: tuple[str, ...]


def labelled(
    utterances: Sequence[Utterance], classes: Sequence[str], task: str, chosen: LabelMap | None, split: str | None
) -> list[Utterance]:
    """The utterances of a split that carry a class of the model.

    Raises:
        ManifestError: If a label is none of the model's classes, or nothing is left.
    """
    inside = [item for item in utterances if split is None or item.split == split]
    kept, _ = for_task(inside, task, chosen)
    unknown = sorted({item.label for item in kept} - set(classes))
    if unknown:
        raise ManifestError(
            f"The model has no class {', '.join(map(repr, unknown))}; its classes are {', '.join(classes)}. "
            "Say with --labels what becomes of them."
        )
    if not kept:
        raise ManifestError(
            f"No utterance of the manifest has a {task} label" + (f" in the split {split!r}." * bool(split))
        )
    return kept


def predictions_of(probabilities: np.ndarray, utterances: Sequence[Utterance], classes: Sequence[str]) -> Predictions:
    """Put probabilities beside the truth."""
    speakers = [item.speaker_key for item in utterances]
    known = None if None in speakers else ["/".join(speaker) for speaker in speakers]
    return Predictions.named(probabilities, [item.label for item in utterances], classes, known)


def score_folder(
    folder: Path,
    choose: Callable[..., list[Utterance]],
    store: Path,
    *,
    steps: Sequence[int] = (),
    device: str = "cpu",
    progress: Progress | None = None,
) -> Scored:
    """Score with a model folder from stored features, at several numbers of steps.

    Args:
        folder: Model folder.
        choose: Gives the utterances for the model's classes.
        store: Folder of the feature store.
        steps: Numbers N to try besides the model's own.
        device: Where to compute.
        progress: Called with the rows done and the rows to do.
    """
    import torch

    from genser.data.features import extract_features, open_store
    from genser.encoders import load_encoder
    from genser.model.folder import load_model
    from genser.training.train import predict

    model = load_model(folder)
    head, sampler = model.head.to(device), model.head.config.sampler
    utterances = choose(head.config.labels)
    encoder = load_encoder(model.encoder, device)
    features, problems = extract_features(utterances, encoder, open_store(store, encoder), progress=progress)
    rows = torch.from_numpy(features)
    by_steps = {count: predict(head, rows, sampler=replace(sampler, steps=count)) for count in steps}
    predictions = predictions_of(predict(head, rows), utterances, head.config.labels)
    return Scored(predictions, by_steps, tuple(str(problem) for problem in problems))


def score_recognizer(
    recognizer: Any, choose: Callable[..., list[Utterance]], *, progress: Progress | None = None
) -> Scored:
    """Score with a recogniser, from sound; the number of steps is the one built into its graph.

    Args:
        recognizer: A :class:`genser.Recognizer`.
        choose: Gives the utterances for the model's classes.
        progress: Called with the rows done and the rows to do.
    """
    utterances = choose(recognizer.labels)
    rows, problems = [], []
    for done, (item, answer) in enumerate(zip(utterances, _answers(recognizer, utterances), strict=True), 1):
        rows.append([answer.scores.get(name, np.nan) for name in recognizer.labels])
        if answer.error:
            problems.append(f"{item.key}: {answer.error}")
        if progress:
            progress(done, len(utterances))
    return Scored(predictions_of(np.array(rows), utterances, recognizer.labels), {}, tuple(problems))


def _answers(recognizer: Any, utterances: Sequence[Utterance]) -> Iterator[Any]:
    """Predictions in order; parts of a file are cut out on the way."""
    return recognizer.predict_many(
        item.path
        if item.start is None and item.end is None
        else (load_audio(item.path, start=item.start, end=item.end), SAMPLE_RATE)
        for item in utterances
    )
