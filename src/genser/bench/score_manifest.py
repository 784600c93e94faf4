"""Class probabilities of a model for the utterances of a manifest."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genser.audio import SAMPLE_RATE, load_audio, probe_audio, stream_audio
from genser.data.labels import NO_SPEECH, LabelMap, classes_of, for_task
from genser.data.utterance import Utterance
from genser.errors import GenserError, ManifestError, counted
from genser.inference.class_prior import ClassPrior
from genser.inference.windows import WINDOW, cut, window_weights
from genser.metrics.evaluate import Predictions
from genser.peers.catalog import PeerChoice
from genser.peers.scoring import PeerScores, score_peer

if TYPE_CHECKING:
    from genser.model.speech_model import SpeechModel
    from genser.transport import Sampler

GATED = 4096  # clips that the speech gate gets at once
LOST = 0.1  # s that a clip may end behind the end of its file without a remark

Progress = Callable[[int, int], None]
Choose = Callable[[Sequence[str], Mapping[str, Any]], list[Utterance]]
"""Returns the utterances to score, for the classes of the model and for how it was made, as it records."""


@dataclass(frozen=True)
class Scored:
    """Probabilities of a model.

    Attributes:
        predictions: At the model's own number of steps.
        steps: N → probabilities with N transport steps; empty if the number of steps is fixed.
        utterances: The scored utterances.
        info: How the model was made, as recorded in its file.
        problems: One sentence for each utterance without an answer, whose row is NaN.
        refused: Number of utterances in which the speech gate finds no speech; they are scored like all others.
    """

    predictions: Predictions
    steps: dict[int, np.ndarray]
    utterances: tuple[Utterance, ...]
    info: dict[str, Any]
    problems: tuple[str, ...]
    refused: int = 0


def labelled(
    utterances: Sequence[Utterance],
    classes: Sequence[str],
    task: str,
    chosen: LabelMap | None,
    split: str | None,
    occurring: Sequence[str] | None = None,
) -> tuple[list[Utterance], Counter[str], int]:
    """The utterances of a split that have a class of the model; capitals make no difference.

    Args:
        utterances: All utterances of the manifest.
        classes: Classes of the model.
        task: Task, see :func:`genser.data.labels.for_task`.
        chosen: Label map for the labels of the manifest.
        split: Only the utterances of this split; None means all.
        occurring: Classes that can occur; utterances of other classes are omitted. None means all of the model.

    Returns:
        The utterances, how many were omitted of each class that cannot occur, and how many that have no class, see
        :func:`genser.data.labels.for_task`.

    Raises:
        ManifestError: A label is not a class of the model, or no utterance is left.
    """
    inside = [item for item in utterances if split is None or item.split == split]
    kept, unlabelled = for_task(inside, task, chosen)
    spelled = {name.casefold(): name for name in classes}
    kept = [replace(item, label=spelled.get((item.label or "").casefold(), item.label)) for item in kept]
    other: Counter[str] = Counter()
    if occurring is not None:
        other.update(item.label or "" for item in kept if item.label not in occurring)
        kept = [item for item in kept if item.label in occurring]
    unknown = sorted({item.label for item in kept if item.label is not None} - set(classes))
    if unknown:
        raise ManifestError(
            f"The model has no class {', '.join(map(repr, unknown))}; its classes are {', '.join(classes)}. "
            "Map the labels with --labels."
        )
    if not kept:
        where = f" in the split {split!r}" if split else ""
        what = f"one of the classes {', '.join(occurring)}" if other and occurring else f"a label of the task {task!r}"
        raise ManifestError(f"No utterance of the manifest has {what}{where}. Check its column, --labels and --split.")
    return kept, other, len(unlabelled)


def under(scored: Scored, prior: ClassPrior) -> Scored:
    """Probabilities of a model under a class prior; every utterance must have a class that can occur."""
    labels = [item.label or "" for item in scored.utterances]
    before = scored.predictions
    predictions = Predictions.named(prior.posterior(before.probabilities), labels, prior.labels)
    predictions = replace(predictions, speakers=before.speakers)
    return replace(scored, predictions=predictions, steps={n: prior.posterior(p) for n, p in scored.steps.items()})


def unseen(utterances: Sequence[Utterance], info: Mapping[str, Any]) -> list[Utterance]:
    """The utterances of speakers whom the model does not record as training speakers; unknown speakers stay.

    Raises:
        ManifestError: No utterance is left.
    """
    trained = set(info.get("training_speakers") or ())
    kept = [item for item in utterances if item.speaker_digest not in trained]
    if not kept:
        raise ManifestError(
            "The model was trained on all these speakers. Give a manifest with other speakers, or score them with "
            "--speakers all; the scores then say little about unseen speakers."
        )
    return kept


def score_folder(
    folder: Path,
    choose: Choose,
    store: Path,
    *,
    encoder: str | None = None,
    steps: Sequence[int] = (),
    device: str = "cpu",
    progress: Progress = lambda *_: None,
) -> Scored:
    """Score with a model folder.

    Clips of up to 10 s are scored from stored features; longer ones are cut into windows as in ``genser predict``.

    Args:
        folder: Model folder.
        choose: See :data:`Choose`.
        store: Folder of the feature store.
        encoder: Present source of the encoder, if it was moved, see :func:`genser.encoders.named_encoder`.
        steps: Further numbers N of transport steps; used only if the head has steps.
        device: Device of the computation.
        progress: Called with the number of finished rows and the number of rows.

    Raises:
        ModelError: The encoder cannot be loaded, or is not the one that the model was trained with.
    """
    import torch

    from genser.data.features import extract_features, open_store
    from genser.model.folder import load_model, load_speech_model
    from genser.training.train import predict

    stored = load_model(folder)
    utterances = choose(stored.head.config.labels, stored.info)
    model = load_speech_model(stored, encoder, device)
    head = model.head
    sampler = head.config.sampler
    counts = list(steps) if hasattr(head, "estimate") else []
    samplers = [sampler, *(replace(sampler, steps=count) for count in counts)]
    is_long = np.array([_may_be_long(item) for item in utterances])
    short = [item for item, long in zip(utterances, is_long, strict=True) if not long]
    features, found = extract_features(short, model.encoder, open_store(store, model.encoder), progress=progress)
    rows = np.full((len(samplers), len(utterances), len(head.config.labels)), np.nan, np.float32)
    refused = 0
    if short:
        tensor = torch.from_numpy(features)
        if model.gate is not None:
            with torch.inference_mode():
                speech = [model.gate(part.float().to(device)).cpu() for part in tensor.split(GATED)]
            refused = int((torch.cat(speech) < model.gate.threshold).sum())
        rows[:, ~is_long] = np.stack([predict(head, tensor, sampler=one) for one in samplers])
    problems = [str(problem) for problem in found]
    for index in np.flatnonzero(is_long):
        item = utterances[index]
        try:
            rows[:, index], is_refused = _score_windows(model, item, samplers, device)
            refused += is_refused
        except (GenserError, OSError) as error:
            problems.append(_problem(item, str(error)))
    by_steps = dict(zip(counts, rows[1:], strict=True))
    scored = _scored(rows[0], utterances, head.config.labels, stored.info, problems, by_steps)
    return replace(scored, refused=refused)


def _problem(item: Utterance, error: str) -> str:
    """A sentence on a clip that names it once."""
    return f"{item.key}{error.removeprefix(item.path)}" if error.startswith(item.path) else f"{item.key}: {error}"


def _may_be_long(item: Utterance) -> bool:
    """Whether the header allows more than one window; if the file cannot be read, extraction reports the problem."""
    try:
        duration = probe_audio(item.path).duration
    except (GenserError, OSError):
        return False
    return (duration if item.end is None else min(item.end, duration)) - (item.start or 0.0) > WINDOW / SAMPLE_RATE


def _score_windows(
    model: "SpeechModel", item: Utterance, samplers: Sequence["Sampler"], device: str
) -> tuple[np.ndarray, bool]:
    """Probabilities of a long clip with each sampler, (samplers, classes), and whether the gate finds no speech.

    The probabilities are averages over its windows.
    """
    import torch

    from genser.encoders import encode
    from genser.training.train import predict

    windows = cut(load_audio(item.path, start=item.start, end=item.end))
    features = torch.from_numpy(encode(model.encoder, windows)).float()
    speech, threshold = None, None
    if model.gate is not None:
        with torch.inference_mode():
            speech = model.gate(features.to(device)).cpu().numpy()
        threshold = model.gate.threshold
    weights = window_weights([len(window) for window in windows], speech, threshold)
    rows = np.stack([weights @ predict(model.head, features, sampler=sampler) for sampler in samplers])
    return rows, speech is not None and threshold is not None and max(speech) < threshold


def score_recognizer(recognizer: Any, choose: Choose, *, progress: Progress = lambda *_: None) -> Scored:
    """Score with a recogniser, from audio; the number of transport steps is the one of its graph.

    Args:
        recognizer: A :class:`genser.Recognizer`.
        choose: See :data:`Choose`.
        progress: Called with the number of finished rows and the number of rows.
    """
    info = recognizer.metadata.get("info") or {}
    utterances = choose(recognizer.labels, info)
    sources = (
        item.path
        if item.start is None and item.end is None
        else stream_audio(item.path, start=item.start, end=item.end)
        for item in utterances
    )
    rows, problems, refused = [], [], 0
    for done, (item, answer) in enumerate(zip(utterances, recognizer.predict_many(sources), strict=True), 1):
        rows.append([answer.scores.get(name, np.nan) for name in recognizer.labels])
        if answer.error:
            problems.append(_problem(item, answer.error))
        refused += answer.label == NO_SPEECH
        progress(done, len(utterances))
    scored = _scored(np.array(rows), utterances, recognizer.labels, info, problems, {})
    return replace(scored, refused=refused)


def score_manifest_peer(
    choice: PeerChoice,
    choose: Choose,
    utterances: Sequence[Utterance],
    task: str,
    label_map: LabelMap | None,
    occurring: Callable[[], Sequence[str]],
    *,
    device: str = "cpu",
    folder: Path | None = None,
    progress: Progress = lambda *_: None,
) -> tuple[Scored, PeerScores]:
    """Score with a finished classifier of another package.

    Args:
        choice: The peer.
        choose: See :data:`Choose`; it gets the classes of the manifest.
        utterances: All utterances of the manifest.
        task: Task.
        label_map: Label map for the labels of the manifest.
        occurring: Returns the classes that can occur, once ``choose`` was called; a prompt lists these.
        device: Device of the computation.
        folder: Folder that keeps the answers; None keeps none.
        progress: Called with the number of finished rows and the number of rows.

    Returns:
        The scores, and how the classes of the peer were mapped.
    """
    kept, _ = for_task(utterances, task, label_map)
    known = classes_of(kept, label_map)
    chosen = choose(known, {})
    asked = list(occurring())
    peer = choice.load(task, asked, device)
    scores = score_peer(peer, chosen, asked, label_map, folder=folder, progress=progress)
    rows = np.zeros((len(chosen), len(known)))
    rows[:, [known.index(name) for name in asked]] = scores.probabilities
    rows[np.isnan(rows).any(axis=1)] = np.nan
    return _scored(rows, chosen, known, {}, scores.problems, {}), scores


def _scored(
    probabilities: np.ndarray,
    utterances: Sequence[Utterance],
    classes: Sequence[str],
    info: Any,
    problems: Sequence[str],
    steps: dict[int, np.ndarray],
) -> Scored:
    keys = [item.speaker_key for item in utterances]
    names = ["/".join(key) for key in keys if key is not None]
    speakers = names if len(names) == len(keys) else None
    predictions = Predictions.named(probabilities, [item.label or "" for item in utterances], classes, speakers)
    return Scored(predictions, steps, tuple(utterances), dict(info), tuple(problems))


def late_ends(utterances: Sequence[Utterance]) -> str | None:
    """A sentence on ends behind the end of their file, such as milliseconds that are read as seconds, or None."""
    lengths: dict[str, float] = {}
    excess = []
    for item in utterances:
        if item.end is None:
            continue
        if item.path not in lengths:
            try:
                lengths[item.path] = probe_audio(item.path).duration
            except (GenserError, OSError):
                lengths[item.path] = np.inf  # a problem of its row
        excess.append(item.end - lengths[item.path])
    late = [one for one in excess if one > LOST]
    if not late:
        return None
    clips = counted(len(late), "clip ends", "clips end")
    return f"{clips} behind the end of the file, by up to {max(late):.2f} s. Check the times and their unit."


def _namesakes(utterances: Sequence[Utterance], info: Mapping[str, Any]) -> list[str]:
    """A sentence on speakers of other or unnamed corpora that have the names of training speakers."""
    trained, corpora = set(info["training_speakers"]), info.get("corpora", ())
    others = [item for item in utterances if item.speaker and item.corpus not in corpora]
    found = {
        item.speaker: corpus
        for item in others
        for corpus in corpora
        if replace(item, corpus=corpus).speaker_digest in trained
    }
    if not found:
        return []
    speakers, named = {item.speaker for item in others}, ", ".join(sorted(set(found.values())))
    return [
        f"{len(found)} of {counted(len(speakers), 'speaker')} have the name of a training speaker of {named}. If they "
        "are the same people, these scores say little about unseen speakers: name the corpus in the column 'corpus'."
    ]


def speaker_warnings(utterances: Sequence[Utterance], info: Mapping[str, Any]) -> list[str]:
    """Sentences on speakers that are evaluated and were also trained on, as far as the model and the manifest show.

    A model records its training corpora and, as ``training_speakers``, the digests of its training and validation
    speakers. Models of earlier versions lack the speakers.
    """
    warnings = []
    trained = sum(item.split in ("train", "validation") for item in utterances)
    if trained:
        warnings.append(
            f"{trained} of {len(utterances)} clips are of the splits train and validation. If the model was "
            "trained on this manifest, these scores say little about unseen speakers. Use --split test."
        )
    corpora = sorted({item.corpus for item in utterances if item.corpus} & set(info.get("corpora", ())))
    if info.get("training_speakers") is not None:
        known = {item.speaker_digest: "/".join(item.speaker_key) for item in utterances if item.speaker_key}
        shared = sorted(known[digest] for digest in set(known) & set(info["training_speakers"]))
        if shared:
            warnings.append(
                f"{len(shared)} of {len(known)} evaluated speakers are training speakers of the model, such as "
                f"{shared[0]}. These scores say little about unseen speakers."
            )
        warnings += _namesakes(utterances, info)
        unnamed = sum(item.speaker is None for item in utterances)
        if unnamed:
            warnings.append(
                f"{unnamed} of {len(utterances)} clips name no speaker, so they may be of training speakers of "
                "the model. Fill the column 'speaker'."
            )
    elif corpora:
        warnings.append(
            f"The model was trained on the corpora {', '.join(corpora)}, but does not record its training speakers. If "
            "evaluated speakers are among them, these scores say little about unseen speakers."
        )
    return warnings
