"""Write the model card of a training run: data, licence, scores, use and limits, in Markdown."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from genser.metrics.few import FEW_CLIPS, FEW_CLIPS_OF_A_CLASS
from genser.training.data import Dataset
from genser.training.recipe import TrainConfig

LIMITS = """Scores describe how an utterance sounds, not what a person feels. Expect far more errors on other speakers,
languages, rooms and microphones than those of the training data. Do not use the model for decisions about people;
emotion recognition in workplaces and schools is forbidden in the European Union (AI Act, Article 5)."""


def model_card(
    name: str,
    config: TrainConfig,
    dataset: Dataset,
    training: np.ndarray,
    info: Mapping[str, Any],
    has_gate: bool,
    has_in_domain_score: bool,
) -> str:
    """Make the card in Markdown; it has no date, so that the same run writes the same card.

    Args:
        name: Name of the model.
        config: Recipe.
        dataset: All utterances of the run.
        training: Indices of the training side.
        info: Facts of the run, as the model folder keeps them.
        has_gate: Whether the model has a speech gate.
        has_in_domain_score: Whether it has an in-domain score.
    """
    encoder = ":".join(filter(None, (config.encoder.kind, config.encoder.source)))
    adapted = ", adapted to the training side" if config.adaptation.rank else ""
    parts = [
        f"# {name}",
        f"Speech emotion recognition with genser {info['genser']}: {len(dataset.classes)} classes "
        f"({', '.join(dataset.classes)}), the head {config.head} on the encoder {encoder}{adapted}.",
        f"**Licence of the weights**: {config.license or 'unknown'}. Check the terms of the training data.",
        f"## Training data\n\n{_data_table(dataset, training)}",
        f"## Scores\n\n{_scores(info)}",
        f"## Use\n\n```\ngenser predict speech.wav --model {name}\ngenser export {name} -o {name}.onnx\n```",
        f"## Limits\n\n{LIMITS}",
        _outputs(has_gate, has_in_domain_score),
    ]
    return "\n\n".join(parts) + "\n"


def _data_table(dataset: Dataset, training: np.ndarray) -> str:
    """Clips, speakers and classes of each corpus on the training side."""
    lines = ["| corpus | clips | speakers | clips of each class |", "| --- | --- | --- | --- |"]
    for corpus in sorted(set(dataset.corpora[training])):
        items = [dataset.utterances[index] for index in training[dataset.corpora[training] == corpus]]
        speakers = len({item.speaker for item in items if item.speaker}) or "unknown"
        counts = Counter(item.label for item in items)
        classes = ", ".join(f"{label} {counts[label]}" for label in dataset.classes if counts[label])
        lines.append(f"| {corpus or 'unnamed'} | {len(items)} | {speakers} | {classes} |")
    return "\n".join(lines)


def _scores(info: Mapping[str, Any]) -> str:
    """Unweighted accuracy on whatever was held out; marked where that is few clips."""
    lines, few = [], set(info.get("few_clips", ()))
    if info.get("validation_ua") is not None:
        whose = ", random recordings" if info.get("validation_split") == "recordings" else ""
        chose = ", which also chose the weights" if info.get("recipe", {}).get("keep") == "best" else ""
        note = f"{whose}{chose}: optimistic" if whose or chose else ""
        lines.append((f"validation side{note}", info["validation_ua"], "validation" in few))
    if "out_of_fold_ua" in info:
        what = "speakers of the training side, each predicted without its fold"
        lines.append((what, info["out_of_fold_ua"], "out of fold" in few))
    for corpus, ua in info.get("across_corpora_ua", {}).items():
        lines.append((f"{corpus}, trained without it", ua, corpus in few))
    for name, ua in info.get("gender_ua", {}).items():
        lines.append((f"gender: {name}, trained without", ua, f"gender: {name}" in few))
    if not lines:
        return "Nothing was held out, so no score is known."
    rows = [f"| {what}{' (few clips)' if is_few else ''} | {100 * ua:.1f} |" for what, ua, is_few in lines]
    note = (
        f"\n\nFew clips: fewer than {FEW_CLIPS}, or fewer than {FEW_CLIPS_OF_A_CLASS} of a class. Such a score may be "
        "far from that on more clips."
    )
    return "\n".join(["| held out | UA % |", "| --- | --- |", *rows]) + (note if few else "")


def _outputs(has_gate: bool, has_in_domain_score: bool) -> str:
    """Outputs of the model other than the scores."""
    gate = "It has a speech gate: clips without speech get the label `no speech`." if has_gate else ""
    domain = "It reports how much a clip resembles the training corpora." if has_in_domain_score else ""
    plain = "" if gate or domain else "It gives a score for every class and nothing else."
    return f"## Outputs\n\n{' '.join(filter(None, (gate, domain, plain)))}"
