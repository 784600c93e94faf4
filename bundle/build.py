"""Builds the bundled models: trains the recipe ``bundled`` on seven corpora, exports, measures, and writes the card.

    python bundle/build.py --data DATA --weights WEIGHTS --work runs/bundle [--size base] [--device cuda]

DATA holds a folder for each corpus, WEIGHTS the two encoder files. Training is ``genser train --recipe bundled`` on a
manifest that this script writes. Features are kept in the work folder, so a second build takes minutes. The same
machine builds the same bytes. The finished files replace those in
src/genser/models; they compute in eight bits if that costs at most half a point of UA.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from card import card, page
from corpora import CORPORA, LANGUAGES, read_corpora
from measure import measure, summary_of

from genser.audio import probe_audio
from genser.data.labels import find_label_map, for_task
from genser.data.manifest import write_manifest
from genser.encoders import EncoderConfig
from genser.errors import ModelError
from genser.export.onnx import export_onnx
from genser.metrics.classification import confusion_matrix, unweighted_accuracy
from genser.metrics.reliability import ReliabilityBin, calibrate
from genser.report.plots import reliability
from genser.training.calibration import Calibration
from genser.training.gender import gender_rows
from genser.training.recipe import TrainConfig, load_recipe
from genser.training.run import TrainedModel, run_training
from genser.transport.codes import probabilities

ENCODERS = {"base": "whisper-base-encoder.fp16.safetensors", "tiny": "whisper-tiny.en-encoder.fp16.safetensors"}
SETTINGS: dict[str, dict[str, Any]] = {
    "base": {"adaptation.rank": 16, "calibration.folds": 2},
    "tiny": {},
}
"""What differs from the recipe: base adapts its encoder, for which two folds have to do, since each takes a minute on a
GPU. Low-rank terms for tiny were not measured."""

LARGEST_LOSS = 0.005
"""UA on held-out speakers that eight bits may cost."""

LICENSE = (
    "CC BY-NC-SA 4.0 (trained on RAVDESS, nEMO, emotiontts_open_db and Indian EmoSpeech, among others). "
    "Contains the encoder of OpenAI's Whisper, MIT licence, "
    "(c) 2022 OpenAI; see the notice beside the model."
)


def recipe_for(size: str, weights: Path) -> TrainConfig:
    """The bundled recipe with an encoder file."""
    encoder = EncoderConfig("whisper", str(weights / ENCODERS[size]))
    return load_recipe("bundled", {"license": LICENSE, **SETTINGS[size]}, encoder)


def build(size: str, data: Path, weights: Path, work: Path, device: str = "cpu") -> Path:
    """Train, calibrate and write a model folder that contains its encoder."""
    work.mkdir(parents=True, exist_ok=True)
    write_manifest(read_corpora(data), work / "manifest.csv")
    config = recipe_for(size, weights)
    info = {
        "name": size,
        "recipe": "bundled",
        "language": list(LANGUAGES.values()),
        "corpora": list(CORPORA),
        "labels": find_label_map(config.labels).about,
    }
    trained = run_training(
        work / "manifest.csv", config, work / size, work / "features", device, report=print, info=info
    )
    for name, found in (("across", summaries(trained)), ("gender", gender_summaries(trained))):
        (work / f"{size}-{name}.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    return trained.folder


def summaries(trained: TrainedModel) -> dict[str, Any]:
    """Scores on each corpus of models trained without it, and its calibration error with and without it.

    The calibration of the model is fitted to training rows of all corpora, the blind one of a corpus to those of the
    others.
    """
    utterances = trained.dataset.utterances
    training = np.flatnonzero([item.split == "train" for item in utterances])
    outside = trained.outside.where(np.isin(trained.outside.rows, training))
    found = {}
    for name in CORPORA:
        blind = Calibration.fitted(*(kind.where(kind.corpora != name) for kind in (trained.inside, outside)))
        predictions = trained.outside.where(trained.outside.corpora == name)
        items = [utterances[row] for row in predictions.rows]
        scores = trained.calibration.scores(predictions)
        found[name] = summary_of(scores, items, trained.dataset.classes)
        own = np.where(np.isin(np.arange(scores.shape[1]), predictions.labels), scores, 0.0)
        confusion = confusion_matrix(predictions.labels, own.argmax(1), scores.shape[1])
        found[name]["ua_own"] = float(unweighted_accuracy(confusion))
        found[name]["top"] = float(np.bincount(scores.argmax(1)).max() / len(scores))
        found[name] |= {
            "ece_blind": calibrate(blind.scores(predictions), predictions.labels).ece_mass,
            "familiar": float(np.mean(blind.in_domain(predictions.distances) >= 0.5)),
        }
    return found


def gender_summaries(trained: TrainedModel) -> dict[str, Any]:
    """Scores of the gender on each corpus of heads trained without it, calibrated as in the model."""
    config, outside, found = trained.gender.head.config, trained.gender.outside, {}
    utterances, _ = gender_rows(trained.dataset, np.arange(len(trained.dataset.utterances)))
    for name in CORPORA:
        predictions = outside.where(outside.corpora == name)
        if len(predictions.rows):
            items = [utterances.utterances[row] for row in predictions.rows]
            found[name] = summary_of(probabilities(predictions.coordinates, config.exponent), items, config.labels)
    return found


def finish(size: str, folder: Path, data: Path, work: Path) -> Path:
    """Export, measure the exported file, and export it again with its card."""
    exact, target = work / f"{size}-float32.onnx", work / f"{size}.onnx"
    export_onnx(folder, exact)
    try:
        export_onnx(folder, target, "int8")
    except ModelError:  # scores or labels of the synthetic voices differ too much
        found = {"eight_bits": None}
    else:
        found = measure(str(target), data, exact=str(exact))
    if found["eight_bits"] is None or found["eight_bits"]["estimate"] < -LARGEST_LOSS:
        found = {**measure(str(exact), data), "eight_bits": found["eight_bits"], "precision": "float32"}
    (work / f"{size}.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    bins = found["held_out"]["all"]["reliability"]
    picture = reliability({size: [ReliabilityBin(**one) for one in bins]})
    picture.savefig(work / f"{size}-calibration.png", dpi=110)
    return publish(size, folder, data, work)


def publish(size: str, folder: Path, data: Path, work: Path) -> Path:
    """Export with the card made from the measurements."""
    found = json.loads((work / f"{size}.json").read_text("utf-8"))
    found["across"] = json.loads((work / f"{size}-across.json").read_text("utf-8"))
    found["gender_across"] = json.loads((work / f"{size}-gender.json").read_text("utf-8"))
    text = card(size, {"base": "base", "tiny": "tiny.en"}[size], counted(data), found, recipe_for(size, Path()))
    (work / f"{size}.md").write_text(page(size, text), encoding="utf-8")
    scores = {f"held-out {name} UA": found["held_out"][name]["ua"] for name in (*CORPORA, "all")}
    scores |= {f"{name} UA, trained on the others": found["across"][name]["ua"] for name in CORPORA}
    return export_onnx(folder, work / f"{size}.onnx", found["precision"], card=text, info={"scores": scores}).path


def counted(data: Path) -> dict[str, Any]:
    """Clips, speakers and hours of every corpus on the training side."""
    counts = {}
    for name in CORPORA:
        inside = [item for item in read_corpora(data) if item.corpus == name and item.split == "train"]
        kept, _ = for_task(inside, "emotion", find_label_map("seven"))
        hours = sum(probe_audio(item.path).duration for item in kept) / 3600
        counts[name] = {"clips": len(kept), "speakers": len({item.speaker for item in kept}), "hours": f"{hours:.2f}"}
    return counts


def main() -> None:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/bundle"))
    parser.add_argument("--size", choices=(*ENCODERS, "all"), default="all")
    parser.add_argument("--device", default="cpu", help="where to train, such as cuda")
    given = parser.parse_args()
    for size in ENCODERS if given.size == "all" else (given.size,):
        folder = build(size, given.data, given.weights, given.work, given.device)
        print(finish(size, folder, given.data, given.work))


if __name__ == "__main__":
    main()
