"""Build the bundled models from the corpora and the Whisper encoders: one command, nothing by hand.

    python bundle/build.py --data DATA --weights WEIGHTS --work runs/bundle [--size base]

DATA holds ravdess/, emodb/ and nemo/, WEIGHTS the two encoder files. Features, adapted encoders and 1.2 GB of decoded
sound are kept in the work folder, so a second build takes minutes. The same machine builds the same bytes. The finished
files replace src/genser/models/*.onnx; they compute in eight bits where that costs at most half a point of UA.
"""

import argparse
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from card import card, page
from corpora import CORPORA, decoded, read_corpora
from measure import measure, summary_of

from genser.audio import probe_audio
from genser.audio.synthetic_noise import FAMILIES, synthetic_noise
from genser.data.labels import find_label_map, for_task
from genser.data.splits import folds
from genser.encoders import EncoderConfig, SpeechEncoder, encode, load_encoder
from genser.errors import ModelError
from genser.export.onnx import export_onnx
from genser.metrics.classification import confusion_matrix, unweighted_accuracy
from genser.metrics.reliability import ReliabilityBin, calibrate
from genser.model.folder import save_model
from genser.model.transport_head import TransportHead
from genser.report.plots import reliability
from genser.training.calibration import Calibration, HeldOutPredictions, fit_in_domain_score
from genser.training.data import Dataset, build_dataset
from genser.training.lora import adapted_encoder
from genser.training.recipe import TrainConfig, load_recipe
from genser.training.run import fresh_head
from genser.training.speech_gate import fit_gate
from genser.training.train import train

ENCODERS = {"base": "whisper-base-encoder.fp16.safetensors", "tiny": "whisper-tiny.en-encoder.fp16.safetensors"}
STATES = {"base": (3, 4), "tiny": (2, 3)}
"""Hidden states that tell emotions best, about two thirds of the way up each encoder; the layers above stay out."""

SOUNDS_EACH = 30
"""Made sounds of each family that the speech gate learns from."""

FOLDS = 4
"""For calibration every training clip is heard twice by models, encoder and head, that do not know its speaker: by one
that learned from three quarters of the training speakers, and by one that learned from the other two corpora."""

LARGEST_LOSS = 0.005
"""UA on held-out speakers that eight bits may cost."""

LICENSE = (
    "CC BY-NC-SA 4.0 (trained on RAVDESS and nEMO). Contains the encoder of OpenAI's Whisper, MIT licence, "
    "(c) 2022 OpenAI; see the notice beside the model."
)


def recipe_for(size: str, weights: Path) -> TrainConfig:
    """The bundled recipe with an encoder of this machine."""
    config = load_recipe("bundled")
    pooling = replace(config.encoder.pooling, states=STATES[size])
    return replace(config, encoder=replace(config.encoder, source=str(weights / ENCODERS[size]), pooling=pooling))


@dataclass(frozen=True)
class Workshop:
    """What every model of a size is made from.

    Attributes:
        config: Recipe.
        encoder: As it was published.
        frozen: Its features of every clip with a class, without altered copies.
        work: Folder of features and adapted encoders.
    """

    config: TrainConfig
    encoder: SpeechEncoder
    frozen: Dataset
    work: Path

    @classmethod
    def of(cls, config: TrainConfig, data: Path, work: Path) -> "Workshop":
        """Read the corpora and encode them."""
        encoder = load_encoder(config.encoder)
        utterances = decoded(read_corpora(data), work / "sound")
        frozen = build_dataset(utterances, encoder, str(work / "features"), labels=config.labels)
        return cls(config, encoder, frozen, work)

    def adapted(self, places: np.ndarray) -> SpeechEncoder:
        """The encoder, adapted to the given rows where the recipe says so."""
        if not self.config.adaptation.rank:
            return self.encoder
        return adapted_encoder(self.encoder, self.frozen, places, self.config, self.work / "encoders")

    def features(self, encoder: SpeechEncoder, places: np.ndarray, views: int) -> Dataset:
        """Features of the given rows and of so many altered copies of each."""
        utterances = [self.frozen.utterances[place] for place in places]
        options = {
            "labels": self.config.labels,
            "augmented_copies": views,
            "augmentation": self.config.augmentation,
            "bf16": True,
        }
        return build_dataset(utterances, encoder, str(self.work / "features"), **options)

    def trained(self, encoder: SpeechEncoder, places: np.ndarray) -> tuple[TransportHead, Dataset]:
        """A head trained on the given rows, and their features."""
        dataset = self.features(encoder, places, self.config.augmented_copies)
        head = fresh_head(self.config, self.frozen.classes, dataset.features.shape[1:])
        assert dataset.classes == self.frozen.classes, "a class is missing where a corpus is left out"
        train(head, dataset.training_rows(np.arange(len(places)), self.config), self.config)
        fit_in_domain_score(head, torch.from_numpy(dataset.features), self.corpora[places])
        return head.eval(), dataset

    @property
    def corpora(self) -> np.ndarray:
        """Name of the corpus of every row."""
        return np.array([item.corpus for item in self.frozen.utterances])

    def heard(self, train: np.ndarray, test: np.ndarray) -> HeldOutPredictions:
        """Some rows as a model hears them that learned from others alone."""
        encoder = self.adapted(train)
        head, _ = self.trained(encoder, train)
        with torch.inference_mode():
            features = torch.from_numpy(self.features(encoder, test, 0).features)
            coordinates, distances = head.coordinates(features), head.in_domain.distance(features)
        return HeldOutPredictions(
            test, coordinates.numpy(), distances.numpy(), self.frozen.labels[test], self.corpora[test]
        )


def out_of_fold(workshop: Workshop, places: np.ndarray) -> HeldOutPredictions:
    """All training rows, a quarter of the speakers at a time, from models that learned from the other three."""
    utterances = [workshop.frozen.utterances[place] for place in places]
    chosen = folds(utterances, "kfold-speaker", k=FOLDS)
    return HeldOutPredictions.joined(workshop.heard(places[fold.train], places[fold.test]) for fold in chosen)


def across_corpora(workshop: Workshop) -> HeldOutPredictions:
    """All clips of each corpus from a model that learned from the other two alone."""
    sides = [workshop.corpora == name for name in CORPORA]
    return HeldOutPredictions.joined(workshop.heard(np.flatnonzero(~side), np.flatnonzero(side)) for side in sides)


def among(heard: HeldOutPredictions, places: np.ndarray) -> HeldOutPredictions:
    """Those of the given rows: nothing that held-out speakers say moves the calibration."""
    return heard.where(np.isin(heard.rows, places))


def summaries(
    workshop: Workshop,
    final: Calibration,
    inside: HeldOutPredictions,
    foreign: HeldOutPredictions,
    across: HeldOutPredictions,
) -> dict[str, Any]:
    """What the recipe reaches on each corpus that was left out, and its calibration error with it left out there too.

    Args:
        workshop: What it was made from.
        final: Calibration that ships, fitted to both kinds of training rows.
        inside: Training rows out of fold.
        foreign: Training rows as foreign ones.
        across: All rows as foreign ones.
    """
    found = {}
    for name in CORPORA:
        blind = Calibration.fitted(*(heard.where(heard.corpora != name) for heard in (inside, foreign)))
        heard = across.where(across.corpora == name)
        utterances = [workshop.frozen.utterances[row] for row in heard.rows]
        found[name] = summary_of(final.scores(heard), utterances, workshop.frozen.classes)
        again = calibrate(blind.scores(heard), heard.labels).ece_mass
        familiar = float(np.mean(blind.in_domain(heard.distances) >= 0.5))
        found[name] |= {"ece_blind": again, "familiar": familiar}
    return found


def speech_gate(dataset: Dataset, encoder: SpeechEncoder) -> Any:
    """A gate between the training clips, clean and altered, and made sounds of all families."""
    sounds = [synthetic_noise(family, number) for family in FAMILIES for number in range(SOUNDS_EACH)]
    other = torch.from_numpy(encode(encoder, sounds))
    copies = dataset.augmented.reshape(-1, *dataset.features.shape[1:])
    speech = torch.from_numpy(np.concatenate([dataset.features, copies[:: dataset.augmented.shape[1]]]))
    return fit_gate(speech, other, states=(dataset.features.shape[1] - 1,))


def build(size: str, data: Path, weights: Path, work: Path) -> Path:
    """Train, calibrate and write a model folder that contains its encoder."""
    config = recipe_for(size, weights)
    workshop = Workshop.of(config, data, work)
    places = np.array([i for i, item in enumerate(workshop.frozen.utterances) if item.split == "train"])
    encoder = workshop.adapted(places)
    head, dataset = workshop.trained(encoder, places)
    inside, across = out_of_fold(workshop, places), across_corpora(workshop)
    foreign = among(across, places)
    calibration = Calibration.fitted(inside, foreign)
    found = summaries(workshop, calibration, inside, foreign, across)
    (work / f"{size}-across.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    calibration.give_to(head)
    confusion = confusion_matrix(inside.labels, inside.coordinates.argmax(1), len(dataset.classes))
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
    gate = speech_gate(dataset, encoder)
    source = EncoderConfig("whisper", str(weights / ENCODERS[size]), pooling=config.encoder.pooling)
    save_model(folder, head, source, encoder.fingerprint, info, license=LICENSE, gate=gate, embed=encoder)
    print(json.dumps({"size": size, "calibration": asdict(calibration), **info}, indent=1))
    return folder


def finish(size: str, folder: Path, data: Path, work: Path) -> Path:
    """Export, measure the exported file, and export it once more with its card."""
    exact, target = work / f"{size}-float32.onnx", work / f"{size}.onnx"
    export_onnx(folder, exact)
    try:
        export_onnx(folder, target, "int8")
    except ModelError:  # labels or scores of made-up voices moved too far
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
    """Export with the card that follows from what was measured."""
    found = json.loads((work / f"{size}.json").read_text("utf-8"))
    found["across"] = json.loads((work / f"{size}-across.json").read_text("utf-8"))
    text = card(size, {"base": "base", "tiny": "tiny.en"}[size], counted(data), found)
    (work / f"{size}.md").write_text(page(size, text), encoding="utf-8")
    scores = {f"held-out {name} UA": found["held_out"][name]["ua"] for name in (*CORPORA, "all")}
    scores |= {f"{name} UA, learned from the others": found["across"][name]["ua"] for name in CORPORA}
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
    given = parser.parse_args()
    for size in ENCODERS if given.size == "all" else (given.size,):
        folder = build(size, given.data, given.weights, given.work)
        print(finish(size, folder, given.data, given.work))


if __name__ == "__main__":
    main()
