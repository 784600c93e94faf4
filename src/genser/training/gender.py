"""The second answer of a model: the gender of the voice as the corpora label it, by a linear head on the features.

The features are not shifted for it, neither in training nor by a profile, since the mean of a speaker contains the
gender: with each corpus held out in turn, a profile of one gender for all its clips lowered UA from 96 to 54 %.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from genser.model.head import Head
from genser.training.calibration import EXPONENTS, FEWEST, HeldOutPredictions, overconfidence
from genser.training.data import Dataset
from genser.training.recipe import AdaptationConfig, CalibrationConfig, TrainConfig


@dataclass(frozen=True)
class GenderHead:
    """A calibrated head for the gender, and how well it does.

    Attributes:
        head: Its classes are the genders that the training rows have.
        inside: Predictions of speakers that the head of a fold was not trained on; None without folds.
        outside: Predictions of corpora that a head was not trained on; None unless the recipe asks for them.
    """

    head: Head
    inside: HeldOutPredictions | None
    outside: HeldOutPredictions | None

    @property
    def held_out(self) -> dict[str, HeldOutPredictions]:
        """Predictions of speakers, and of each corpus, that the head was not trained on."""
        found = {} if self.inside is None else {"speakers held out": self.inside}
        return found | ({} if self.outside is None else self.outside.by_corpus)


def gender_config(config: TrainConfig) -> TrainConfig:
    """The recipe of the head: softmax regression with the same rows, copies, noise and steps, and without centring."""
    own = {"task": "gender", "gender": False, "labels": None, "head": "flat", "state": "network", "ridge_prior": 0.0}
    fixed = {"centre": False, "keep": "last", "adaptation": AdaptationConfig(), "calibration": CalibrationConfig()}
    return replace(config, **own, **fixed)


def gender_rows(dataset: Dataset, training: np.ndarray) -> tuple[Dataset, np.ndarray]:
    """The utterances with a gender that training rows have, labelled by it, and the training rows among them."""
    genders = [item.gender for item in dataset.utterances]
    classes = sorted({gender for index in training if (gender := genders[index]) is not None})
    chosen = [index for index, gender in enumerate(genders) if gender in classes]
    utterances = tuple(replace(dataset.utterances[index], label=genders[index]) for index in chosen)
    augmented = None if dataset.augmented is None else dataset.augmented[chosen]
    found = replace(dataset, utterances=utterances, features=dataset.features[chosen], classes=tuple(classes))
    return replace(found, augmented=augmented), np.flatnonzero(np.isin(chosen, training))


def calibrate_gender(head: Head, held_out: Sequence[HeldOutPredictions]) -> None:
    """Fit one exponent to predictions of speakers and of corpora that the head was not trained on.

    It minimises the difference between confidence and accuracy in the mean over the corpora of each kind. So one corpus
    that is much harder than the others does not lower the confidence on all of them.
    """
    parts = [kind.where(kind.corpora == name) for kind in held_out for name in np.unique(kind.corpora)]
    if sum(len(part.rows) for part in parts) < FEWEST:
        return
    differences = np.mean([np.abs(overconfidence(part.coordinates, part.labels)) for part in parts], axis=0)
    head.config = replace(head.config, exponent=float(EXPONENTS[differences.argmin()]))
