"""Build the bundled models from the corpora and the Whisper encoders: one command, nothing by hand.

    python bundle/build.py --data DATA --weights WEIGHTS --work runs/bundle [--size base]

DATA holds ravdess/, emodb/ and nemo/, WEIGHTS the two encoder files. Features are kept in the work folder, so a second
build takes minutes. The same machine builds the same bytes. The finished files replace src/genser/models/*.onnx.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from card import card, page
from corpora import CORPORA, read_corpora
from measure import measure

from genser.audio import probe_audio
from genser.data.labels import find_label_map, for_task
from genser.data.splits import folds
from genser.encoders import EncoderConfig, encode, load_encoder
from genser.evaluation.calibration import ReliabilityBin
from genser.evaluation.confusion import confusion_matrix, unweighted_accuracy
from genser.evaluation.plots import reliability
from genser.model.folder import save_model
from genser.nonspeech import FAMILIES, made_sound
from genser.runtime.export import export_onnx
from genser.taxonomy import probabilities
from genser.training.calibration import fit_power
from genser.training.config import TrainConfig, load_recipe
from genser.training.dataset import Dataset, build_dataset
from genser.training.gate import fit_gate
from genser.training.run import fresh_head
from genser.training.train import train

ENCODERS = {"base": "whisper-base-encoder.fp16.safetensors", "tiny": "whisper-tiny.en-encoder.fp16.safetensors"}
SOUNDS_EACH = 30
"""Made sounds of each family that the speech gate learns from."""

FOLDS = 8
"""Heads that calibration is fitted on, each of 7 in 8 speakers: with 4 they heard so much less than the final head that
its scores came out too low."""

LICENSE = (
    "CC BY-NC-SA 4.0 (trained on RAVDESS and nEMO). Contains the encoder of OpenAI's Whisper, MIT licence, "
    "(c) 2022 OpenAI; see the notice beside the model."
)


def recipe_for(size: str, weights: Path) -> TrainConfig:
    """The bundled recipe with an encoder of this machine."""
    config = load_recipe("bundled")
    return replace(config, encoder=replace(config.encoder, source=str(weights / ENCODERS[size])))


def gather(config: TrainConfig, data: Path, work: Path) -> tuple[Dataset, Any]:
    """Features of all three corpora and of their altered copies."""
    encoder = load_encoder(config.encoder)
    utterances = read_corpora(data)
    options = {"labels": config.labels, "views": config.views, "augmentation": config.augmentation}
    return build_dataset(utterances, encoder, str(work / "features"), **options), encoder


def trained_head(dataset: Dataset, places: np.ndarray, config: TrainConfig) -> Any:
    """A head trained on the given rows."""
    head = fresh_head(config, dataset.classes, dataset.features.shape[1:])
    train(head, dataset.training_rows(places, config), config)
    return head.eval()


def out_of_fold(dataset: Dataset, places: np.ndarray, config: TrainConfig) -> np.ndarray:
    """Coordinates of every training row from a head that never heard its speaker."""
    utterances = [dataset.utterances[place] for place in places]
    coordinates = np.zeros((len(places), len(dataset.classes)), np.float32)
    for fold in folds(utterances, "kfold-speaker", k=FOLDS):
        head = trained_head(dataset, places[fold.train], config)
        with torch.inference_mode():
            rows = torch.from_numpy(dataset.features[places[fold.test]])
            coordinates[fold.test] = head.coordinates(rows).numpy()
    return coordinates


def speech_gate(dataset: Dataset, places: np.ndarray, encoder: Any) -> Any:
    """A gate between the training clips, clean and altered, and made sounds of all families."""
    sounds = [made_sound(family, number) for family in FAMILIES for number in range(SOUNDS_EACH)]
    other = torch.from_numpy(encode(encoder, sounds))
    copies = dataset.views[places].reshape(-1, *dataset.features.shape[1:])
    speech = torch.from_numpy(np.concatenate([dataset.features[places], copies[:: dataset.views.shape[1]]]))
    return fit_gate(speech, other, states=(dataset.features.shape[1] - 1,))


def build(size: str, data: Path, weights: Path, work: Path) -> Path:
    """Train, calibrate and write a model folder that contains its encoder."""
    config = recipe_for(size, weights)
    dataset, encoder = gather(config, data, work)
    places = np.array([i for i, item in enumerate(dataset.utterances) if item.split == "train"])
    coordinates = out_of_fold(dataset, places, config)
    power = fit_power(coordinates, dataset.labels[places])
    decisions = probabilities(coordinates, power).argmax(1)
    confusion = confusion_matrix(dataset.labels[places], decisions, len(dataset.classes))
    head = trained_head(dataset, places, config)
    head.config = replace(head.config, power=power)
    info = {
        "name": size,
        "recipe": "bundled",
        "language": ["English", "German", "Polish"],
        "corpora": ["ravdess", "emodb", "nemo"],
        "labels": find_label_map(config.labels).about,
        "training_utterances": len(places),
        "out_of_fold_ua": float(unweighted_accuracy(confusion)),
    }
    folder = work / size
    gate = speech_gate(dataset, places, encoder)
    source = EncoderConfig("whisper", str(weights / ENCODERS[size]), pooling=config.encoder.pooling)
    save_model(folder, head, source, encoder.fingerprint, info, license=LICENSE, gate=gate, embed=encoder)
    print(json.dumps({"size": size, "power": power, **info}, indent=1))
    return folder


def finish(size: str, folder: Path, data: Path, work: Path) -> Path:
    """Export, measure the exported file, and export it once more with its card."""
    target = work / f"{size}.onnx"
    export_onnx(folder, target)
    found = measure(str(target), data)
    (work / f"{size}.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    bins = found["held_out"]["all"]["reliability"]
    picture = reliability({size: [ReliabilityBin(**one) for one in bins]})
    picture.savefig(work / f"{size}-calibration.png", dpi=110)
    return publish(size, folder, data, work)


def publish(size: str, folder: Path, data: Path, work: Path) -> Path:
    """Export with the card that follows from what was measured."""
    found = json.loads((work / f"{size}.json").read_text("utf-8"))
    text = card(size, {"base": "base", "tiny": "tiny.en"}[size], counted(data), found)
    (work / f"{size}.md").write_text(page(size, text), encoding="utf-8")
    scores = {f"held-out {name} UA": found["held_out"][name]["ua"] for name in (*CORPORA, "all")}
    return export_onnx(folder, work / f"{size}.onnx", card=text, info={"scores": scores}).path


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
    given = parser.parse_args()
    for size in ENCODERS if given.size == "all" else (given.size,):
        folder = build(size, given.data, given.weights, given.work)
        print(finish(size, folder, given.data, given.work))


if __name__ == "__main__":
    main()
