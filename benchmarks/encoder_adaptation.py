"""Measures what the low-rank adaptation of the encoder gains on corpora that it was not trained on, and at home.

    python benchmarks/encoder_adaptation.py MANIFEST --encoder whisper:FILE [--variant NAME=KEY:VALUE,…] [--json FILE]

Each corpus of the manifest is held out in turn, and the encoder is adapted to the others (all their rows) with the
settings of each variant. Then a ridge regression (penalty 16, rows as they are and centred by speaker, as in the
recipe bundled) is fitted to the features of the same rows. For the figures at home, the encoder is adapted to the
training side of all corpora, and the other speakers are recognised. The low-rank terms are also tried at half of their
strength; a strength of 0 is the frozen encoder. UA in %: as it is, shifted by a profile of the corpus, by a profile of
each speaker, and the same with the classes of the corpus alone. All waveforms stay in memory: 115 MB an hour.
"""

import argparse
import json
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from _common import Claim, parser

from genser.bench.runs import ADAPTATIONS
from genser.bench.task import adapted_features
from genser.data.labels import find_label_map, for_task
from genser.data.manifest import read_manifest
from genser.data.utterance import Utterance
from genser.encoders import EncoderConfig, SpeechEncoder, load_encoder, named_encoder
from genser.encoders.batches import batches_of, padded
from genser.metrics.classification import confusion_matrix, unweighted_accuracy
from genser.model.heads import make_head
from genser.training.clips import FULL_SCALE, Clips
from genser.training.data import Dataset
from genser.training.lora import adapted_encoder
from genser.training.recipe import TrainConfig, load_recipe
from genser.training.train import predict

PENALTY = 16.0
STRENGTHS = (0.5, 1.0)
HOME = "home"


class Sounds:
    """Waveforms of all utterances, in batches on a device."""

    def __init__(self, utterances: list[Utterance], clips: Clips, device: torch.device) -> None:
        waveforms = next(clips.batches([[(item, None) for item in utterances]]))
        self.batches = []
        for part in batches_of([len(one) for one in waveforms], 16_000 * (400 if device.type == "cuda" else 100)):
            batch, lengths = padded([waveforms[index] for index in part], np.int16)
            on_device = torch.from_numpy(batch).to(device), torch.from_numpy(lengths).to(device)
            self.batches.append((part, *on_device))
        self.count = len(waveforms)

    @torch.inference_mode()
    def features(self, encoder: SpeechEncoder) -> np.ndarray:
        """Pooled states, float32 of shape (utterances, states, dim)."""
        found = np.empty((self.count, encoder.states, encoder.dim), np.float32)
        for part, batch, lengths in self.batches:
            with torch.autocast(batch.device.type, torch.bfloat16, enabled=batch.device.type == "cuda"):
                found[part] = encoder(batch.float() / FULL_SCALE, lengths).float().cpu().numpy()
        return found


def scores(dataset: Dataset, training: np.ndarray, tested: np.ndarray, config: TrainConfig, device: str) -> dict:
    """UA in % of a ridge regression on some rows, for all conditions."""
    ridge = replace(config, head="ridge", ridge_prior=PENALTY, augmented_copies=0)
    rows = dataset.training_rows(training, ridge)
    head = make_head(ridge.head_config(dataset.classes, *dataset.features.shape[1:])).to(device)
    weights = None if rows.weights is None else rows.weights.to(device)
    head.fit(rows.features.to(device), rows.labels.to(device), weights)
    mean = head.feature_transform.mean.cpu().numpy()
    speakers = [dataset.utterances[row].speaker_key for row in tested]
    labels, given = dataset.labels[tested], dataset.features[tested]
    shifted = {"none": given, **adapted_features(given, speakers, mean)}
    own, found = np.isin(np.arange(len(dataset.classes)), labels), {}
    for name in ("none", *ADAPTATIONS):
        estimates = predict(head.eval(), torch.from_numpy(shifted[name]))
        for suffix, kept in (("", estimates), (" own", np.where(own, estimates, -1.0))):
            confusion = confusion_matrix(labels, kept.argmax(1), len(dataset.classes))
            found[name + suffix] = 100 * float(unweighted_accuracy(confusion))
    return found


def few_of_each(utterances: list[Utterance], count: int) -> np.ndarray:
    """A mask of so many random utterances of each class and corpus at most."""
    order, kept, taken = (
        np.random.default_rng(0).permutation(len(utterances)),
        np.zeros(len(utterances), bool),
        Counter(),
    )
    for row in order:
        key = utterances[row].corpus, utterances[row].label
        kept[row] = taken[key] < count
        taken[key] += 1
    return kept


def blended(frozen: SpeechEncoder, adapted: SpeechEncoder, strength: float) -> SpeechEncoder:
    """The adapted encoder, with weights between those of both."""
    before = frozen.state_dict()
    after = {name: before[name].lerp(value, strength) for name, value in adapted.state_dict().items()}
    adapted.load_state_dict(after)
    return adapted


def variants_of(texts: list[str], encoder: EncoderConfig) -> dict[str, TrainConfig]:
    """Recipes by name."""
    found = {}
    for text in texts:
        name, _, settings = text.partition("=")
        overrides = dict(setting.split(":") for setting in settings.split(",") if setting)
        all_terms = {"adaptation.rank": "16", "adaptation.strength": "1"}
        found[name] = load_recipe("bundled", all_terms | overrides, encoder)
    return found


def main() -> None:
    """Run it from the command line."""
    options = parser(__doc__ or "")
    options.add_argument("manifest", type=Path, help="table of several corpora")
    options.add_argument("--encoder", default="whisper:openai/whisper-base")
    options.add_argument("--variant", action="append", default=[], help="name=adaptation.key:value,…")
    options.add_argument("--corpora", nargs="*", help="corpora to leave out; all of them without this")
    options.add_argument("--clips", type=int, default=10**9, help="score so many of each class and corpus at most")
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument("--work", type=Path, default=Path("runs/adaptation"), help="folder of adapted weights")
    options.add_argument("--minutes", type=float, default=1e9, help="begin nothing new after so many minutes")
    arguments: argparse.Namespace = options.parse_args()
    begun = time.monotonic()
    named = named_encoder(arguments.encoder, load_recipe("bundled").encoder)
    config = load_recipe("bundled", {}, named)
    encoder = load_encoder(config.encoder, arguments.device)
    label_map = find_label_map(config.labels or "seven")
    kept, _ = for_task(read_manifest(arguments.manifest), "emotion", label_map)
    utterances = [item for item in kept if item.label in label_map.classes]
    clips = Clips()
    sounds = Sounds(utterances, clips, torch.device(arguments.device))
    frozen = Dataset(tuple(utterances), sounds.features(encoder), tuple(label_map.classes), (), 0)
    print(f"{len(utterances)} clips are decoded and encoded: {time.monotonic() - begun:.0f} s", flush=True)

    splits = np.array([item.split or "train" for item in utterances])
    folds = {name: (frozen.corpora != name, frozen.corpora == name) for name in sorted(set(frozen.corpora.tolist()))}
    folds = {name: fold for name, fold in folds.items() if not arguments.corpora or name in arguments.corpora}
    scored = few_of_each(utterances, arguments.clips)
    homes = {f"{HOME} {name}": (splits == "train", (splits == "test") & (frozen.corpora == name)) for name in folds}
    claim = Claim(
        "encoder_adaptation",
        "more on held-out corpora than the frozen encoder has",
        settings={"variants": arguments.variant, "encoder": arguments.encoder},
    )
    found: dict[str, dict[str, dict]] = {}

    def measure(system: str, dataset: Dataset, chosen: dict) -> None:
        for name, (training, tested) in chosen.items():
            rows = np.flatnonzero(training & scored), np.flatnonzero(tested & scored)
            one = scores(dataset, *rows, config, arguments.device)
            found.setdefault(system, {})[name] = one
            print(
                json.dumps({"system": system, "corpus": name, **{k: round(v, 1) for k, v in one.items()}}), flush=True
            )

    measure("frozen", frozen, folds | homes)
    for label, variant in variants_of(arguments.variant, named).items():
        for name in (HOME, *folds):
            if time.monotonic() - begun > 60 * arguments.minutes:
                print(f"No time is left for {label}, {name}.", flush=True)
                continue
            start = time.monotonic()
            training = np.flatnonzero(splits == "train" if name == HOME else folds[name][0])
            adapted = adapted_encoder(encoder, frozen, training, variant, arguments.work, clips=clips)
            print(f"{label}, {name}: adapted in {time.monotonic() - start:.0f} s", flush=True)
            states = adapted.state_dict()
            states = {key: value.clone() for key, value in states.items()}
            for strength in STRENGTHS:
                adapted.load_state_dict(states)
                one = sounds.features(blended(encoder, adapted, strength))
                chosen = homes if name == HOME else {name: folds[name]}
                measure(f"{label} x {strength:g}", replace(frozen, features=one), chosen)
            print(f"{label}, {name}: {time.monotonic() - start:.0f} s in all", flush=True)
    for system, by_corpus in found.items():
        for kind in ("abroad", "home"):
            rows = [one for name, one in by_corpus.items() if name.startswith(HOME) == (kind == "home")]
            if rows:
                means = {key: float(np.mean([one[key] for one in rows])) for key in rows[0]}
                claim.add(f"{system}, {kind}", **means, corpora=len(rows))
    claim.settings["corpora"] = found
    claim.report(arguments.json)


if __name__ == "__main__":
    main()
