"""Measures what a profile learned from few recordings gains on a corpus that was not trained on.

    python benchmarks/adaptation.py MANIFEST --store FEATURES --encoder whisper:FILE [--draws 5] [--json FILE]

Each corpus of the manifest is held out in turn, and the recipe bundled is trained on the others. A profile is then
learned from 3, 10, 30 and 100 random clips of a speaker or of the whole corpus, of all emotions or of one only, and the
other clips are recognised with it. UA in %, averaged over the draws and then over the corpora, for shifts that are
shrunk by n / (n + s) with s = 0, 5 (as shipped) and 15. The clips of the profile are not scored.
"""

import argparse
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from _common import Claim, parser

from genser.data.manifest import read_manifest
from genser.encoders import load_encoder, named_encoder
from genser.metrics.classification import confusion_matrix, unweighted_accuracy
from genser.model.heads import make_head
from genser.training.data import Dataset, build_dataset
from genser.training.recipe import TrainConfig, load_recipe
from genser.training.train import train

COUNTS = (3, 10, 30, 100)
SHRINKAGES = (0.0, 5.0, 15.0)
FEWEST = 10  # clips that must be left to score


def measure(claim: Claim, dataset: Dataset, config: TrainConfig, draws: int) -> None:
    """Fill the table."""
    labels, corpora = dataset.labels, dataset.corpora
    speakers = np.array(["/".join(item.speaker_key or ("",)) for item in dataset.utterances])
    found: dict[str, dict[str, list[float]]] = {}
    for name in sorted(set(corpora)):
        head = make_head(config.head_config(dataset.classes, *dataset.features.shape[1:]))
        train(head, dataset.training_rows(np.flatnonzero(corpora != name), config), config)
        tested = _Corpus(head.eval(), *(values[corpora == name] for values in (dataset.features, labels, speakers)))
        found.setdefault("no profile", {}).setdefault("s = 0", []).append(tested.ua(np.zeros(1), np.arange(0)))
        for kind in ("corpus", "speaker"):
            for count in COUNTS:
                for mix in ("all emotions", "one emotion"):
                    for shrinkage in SHRINKAGES:
                        value = tested.gain(kind, count, mix == "one emotion", shrinkage, draws)
                        row = found.setdefault(f"{count} clips of a {kind}, {mix}", {})
                        row.setdefault(f"s = {shrinkage:g}", []).append(value)
    plain = found.pop("no profile")["s = 0"]
    claim.add("no profile", **{f"s = {s:g}": float(np.mean(plain)) for s in SHRINKAGES}, corpora=len(plain))
    for what, columns in found.items():
        kept = [index for index, value in enumerate(next(iter(columns.values()))) if np.isfinite(value)]
        if kept:
            base = np.mean([plain[index] for index in kept])
            gains = {key: float(np.mean([values[index] for index in kept]) - base) for key, values in columns.items()}
            claim.add(what, **{key: f"{gain:+.1f}" for key, gain in gains.items()}, corpora=len(kept))


class _Corpus(SimpleNamespace):
    """A corpus that was held out, with a head that was trained on the others."""

    def __init__(self, head: torch.nn.Module, features: np.ndarray, labels: np.ndarray, speakers: np.ndarray) -> None:
        super().__init__(head=head, features=features, labels=labels, speakers=speakers)
        self.mean = head.feature_transform.mean.numpy()

    @torch.inference_mode()
    def ua(self, shift: np.ndarray, omitted: np.ndarray, inside: np.ndarray | None = None) -> float:
        """UA in % of the clips that are not omitted; only of some, if a mask is given."""
        scored = np.ones(len(self.labels), bool) if inside is None else inside.copy()
        scored[omitted] = False
        features = torch.from_numpy((self.features[scored] + shift).astype(np.float32))
        decided = self.head.coordinates(features).argmax(1).numpy()
        confusion = confusion_matrix(self.labels[scored], decided, len(self.head.config.labels))
        return 100 * float(unweighted_accuracy(confusion))

    def gain(self, kind: str, count: int, one_emotion: bool, shrinkage: float, draws: int) -> float:
        """Mean UA with profiles of so many clips, plus the UA without where a group is scored alone; NaN without any.

        For speakers, the difference to no profile on the same clips is added to the UA of the whole corpus, since a
        speaker alone has too few clips for a UA of its own.
        """
        generator, differences = np.random.default_rng(0), []
        names = sorted(set(self.speakers)) if kind == "speaker" else [""]
        for draw in range(draws):
            name = names[int(generator.integers(len(names)))]
            inside = np.ones(len(self.labels), bool) if kind == "corpus" else self.speakers == name
            pool = np.flatnonzero(inside)
            if one_emotion:
                present = sorted(set(self.labels[pool]))
                pool = pool[self.labels[pool] == present[draw % len(present)]]
            if len(pool) < count or inside.sum() - count < FEWEST:
                continue
            chosen = generator.choice(pool, count, replace=False)
            away = self.mean - self.features[chosen].astype(np.float64).mean(0)
            shift = count / (count + shrinkage) * away
            differences.append(self.ua(shift, chosen, inside) - self.ua(np.zeros(1), chosen, inside))
        return self.ua(np.zeros(1), np.arange(0)) + float(np.mean(differences)) if differences else float("nan")


def main() -> None:
    """Run it from the command line."""
    options = parser(__doc__ or "")
    options.add_argument("manifest", type=Path, help="table of several corpora")
    options.add_argument("--store", type=Path, required=True, help="folder of the features")
    options.add_argument("--encoder", default="whisper:openai/whisper-base")
    options.add_argument("--draws", type=int, default=20, help="profiles of each kind and corpus")
    arguments: argparse.Namespace = options.parse_args()
    recipe = load_recipe("bundled")
    config = load_recipe("bundled", {}, named_encoder(arguments.encoder, recipe.encoder))
    dataset = build_dataset(
        read_manifest(arguments.manifest),
        load_encoder(config.encoder),
        str(arguments.store),
        labels=config.labels,
        augmented_copies=config.augmented_copies,
        augmentation=config.augmentation,
    )
    settings = {name: str(value) for name, value in vars(arguments).items() if name != "json"}
    claim = Claim(
        "adaptation", "a profile of ten clips of all emotions has most of the gain of a hundred", settings=settings
    )
    measure(claim, dataset, config, arguments.draws)
    claim.report(arguments.json)


if __name__ == "__main__":
    main()
