"""Recipes: all settings of a training run, read from YAML and overridden key by key."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import reduce
from operator import getitem
from typing import Any

from genser.audio.augment import Augmentation
from genser.config import build, check_choice, check_ranges, load_yaml, override, packaged, to_mapping
from genser.data.labels import TASKS
from genser.encoders import KINDS, EncoderConfig
from genser.errors import ConfigError
from genser.model.estimator import EstimatorConfig, NetworkConfig
from genser.model.features import FeatureTransformConfig, TransformConfig
from genser.model.head import HeadConfig, check_penalty
from genser.model.heads import HEADS
from genser.transport import BridgePath, Objective, Sampler

RECIPES = "training/recipes"
"""Folder of the packaged recipes inside the package."""

BALANCES = ("none", "class", "corpus", "corpus-class", "class-corpus")
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with linear warm-up and cosine decay.

    Attributes:
        lr: Peak learning rate; the paper's is 5e-4.
        weight_decay: Decoupled decay of matrices; vectors and biases have none.
        warmup: Share of all steps over which the rate rises from 0.
        final: Share of the peak at which the cosine ends.
        clip: Largest norm of the gradient; 0 turns clipping off.
        ema: Decay of the exponential moving average of the weights that becomes the model; 0 takes the weights.
    """

    lr: float = 5e-4
    weight_decay: float = 0.0
    warmup: float = 0.05
    final: float = 0.0
    clip: float = 1.0
    ema: float = 0.999

    def __post_init__(self) -> None:
        check_ranges(self, lr="(0, inf)", weight_decay="[0, inf)", clip="[0, inf)")
        check_ranges(self, warmup="[0, 1)", ema="[0, 1)", final="[0, 1]")


@dataclass(frozen=True)
class AdaptationConfig:
    """Low-rank adaptation of the encoder before features are computed, see :mod:`genser.training.lora`.

    Attributes:
        rank: Rank of the term that is added to each matrix of the encoder's layers; 0 turns adaptation off.
        steps: Optimiser steps.
        lr: Peak learning rate.
        fidelity: Weight of the mean square distance, in standard deviations, from the frozen encoder's features of the
            clean clips.
        penalty: Penalty of the ridge regression of an episode, per row.
        strength: Share of the trained terms that is merged into the weights. Half of them keeps most of the gain on the
            training corpora and loses nothing on others (weights between two models: Wortsman et al., 2022, WiSE-FT).
        batch: Rows of an episode.
        batch_seconds: Seconds of audio that are encoded at once; a batch is divided into such parts.
    """

    rank: int = 0
    steps: int = 300
    lr: float = 5e-4
    fidelity: float = 0.2
    penalty: float = 16.0
    strength: float = 0.5
    batch: int = 256
    batch_seconds: float = 120.0

    def __post_init__(self) -> None:
        check_ranges(self, rank="[0, inf)", steps="[1, inf)", fidelity="[0, inf)", batch="[2, inf)")
        check_ranges(self, lr="(0, inf)", penalty="(0, inf)", batch_seconds="(0, inf)", strength="(0, 1]")


@dataclass(frozen=True)
class CalibrationConfig:
    """Which held-out predictions calibrate the scores, see :mod:`genser.training.calibration`.

    Attributes:
        folds: Speaker folds of the training side. The recipe is trained once for each, and predicts the speakers that
            it was not trained on. 0 takes the validation side instead, which needs no further training.
        across_corpora: Whether the recipe is also trained without each corpus in turn. The model then gets a second
            exponent for out-of-domain clips, and the in-domain score. It needs two corpora or more.
    """

    folds: int = 0
    across_corpora: bool = False

    def __post_init__(self) -> None:
        if self.folds < 0 or self.folds == 1:
            raise ConfigError(f"calibration.folds must be 0, or 2 and more, got {self.folds}.")


@dataclass(frozen=True)
class TrainConfig:
    """A recipe.

    Attributes:
        encoder: Computes the features.
        adaptation: Whether and how the encoder is adapted to the training side first.
        feature_transform: Whether features are reduced to principal components.
        head: Kind of head: ``"transport"`` or one of the baselines, such as ``"mlp"``.
        network: Size and form of the head's network.
        path: Probability path.
        objective: How training examples are drawn.
        sampler: Steps and read-out of the finished model.
        optimizer: Optimiser and schedule.
        ridge_prior: Penalty of the ridge regression that the estimator starts from; 0 has none. The head ``ridge`` is
            this regression alone.
        state: How the state x_t enters the estimate, see :class:`genser.model.HeadConfig`.
        task: Column of the manifest that is learned: ``"emotion"`` or ``"gender"``.
        gender: Whether the model also learns the gender of the voice, the column ``gender``, as a second answer, see
            :mod:`genser.training.gender`.
        labels: Name of a label map, or a path to one; None keeps the manifest's labels.
        batch_size: Rows per step, over all processes.
        steps: Optimiser steps.
        balance: What is drawn equally often: ``"none"``, classes, corpora, ``"corpus-class"`` (classes within corpora)
            or ``"class-corpus"`` (corpora within classes).
        centre: Whether each training row occurs a second time, shifted so that all speakers have one mean, the classes
            of each counting alike; where a speaker is unknown, the corpus takes its place.
        augmented_copies: Augmented copies of every training clip; validation and test clips have none.
        augmented_share: How often a drawn training row is one of its augmented copies.
        augmentation: How these copies are augmented.
        calibration: Which held-out predictions calibrate the scores.
        speech_gate: Whether the model gets a speech gate, trained on the training clips against synthetic noise and
            recordings with the label "no speech".
        validation: Share of the speakers held out if the manifest has no validation split; 0 trains on all.
        evaluate_every: Steps between two evaluations on the validation side.
        checkpoint_every: Steps between two checkpoints.
        keep: Which weights become the model: ``"best"`` by validation UA, or ``"last"``.
        precision: Arithmetic of the network; features and optimiser stay in float32.
        unmeasured_cuda_graph: Whether the step is recorded once on a GPU and then replayed, so that its many small
            kernels do not wait for their launches. Unmeasured: it has run on an H200, but its gain is unknown.
        license: Licence of the trained weights, written into the model and its card; empty means unknown.
        seed: Seed of everything random.
    """

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    adaptation: AdaptationConfig = field(default_factory=AdaptationConfig)
    feature_transform: TransformConfig = field(default_factory=TransformConfig)
    head: str = "transport"
    network: NetworkConfig = field(default_factory=NetworkConfig)
    path: BridgePath = field(default_factory=BridgePath)
    objective: Objective = field(default_factory=Objective)
    sampler: Sampler = field(default_factory=Sampler)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    ridge_prior: float = 0.0
    state: str = "network"
    task: str = "emotion"
    gender: bool = False
    labels: str | None = None
    batch_size: int = 128
    steps: int = 1000
    balance: str = "none"
    centre: bool = False
    augmented_copies: int = 0
    augmented_share: float = 0.5
    augmentation: Augmentation = field(default_factory=Augmentation)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    speech_gate: bool = False
    validation: float = 0.15
    evaluate_every: int = 100
    checkpoint_every: int = 500
    keep: str = "best"
    precision: str = "float32"
    unmeasured_cuda_graph: bool = False
    license: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        at_least_one = dict.fromkeys(("batch_size", "steps", "evaluate_every", "checkpoint_every"), "[1, inf)")
        check_ranges(self, **at_least_one, validation="[0, 1)", augmented_copies="[0, inf)", augmented_share="[0, 1]")
        check_ranges(self, ridge_prior="[0, inf)", seed="[0, 2147483648)")
        check_choice("balance", self.balance, BALANCES)
        check_choice("keep", self.keep, ("best", "last"))
        check_choice("precision", self.precision, PRECISIONS)
        check_choice("task", self.task, TASKS)
        check_choice("head", self.head, HEADS)
        if self.gender and self.task == "gender":
            raise ConfigError("The task is the gender already, so it cannot be the second answer. Use gender: false.")
        check_penalty(self.head, self.ridge_prior)
        if self.adaptation.rank and not KINDS[self.encoder.kind].embeds:
            raise ConfigError(
                f"adaptation.rank is {self.adaptation.rank}, but a model folder cannot contain an adapted encoder of "
                f"kind {self.encoder.kind!r}. Use adaptation.rank 0."
            )

    def head_config(self, labels: tuple[str, ...], states: int, dim: int) -> HeadConfig:
        """The head that this recipe makes of features of shape (rows, states, dim)."""
        transform = FeatureTransformConfig(states, dim, **to_mapping(self.feature_transform))
        conditions, width = transform.shape
        estimator = EstimatorConfig(width, conditions, **to_mapping(self.network))
        own = {"kind": self.head, "state": self.state, "ridge_prior": self.ridge_prior}
        return HeadConfig(labels, estimator, self.path, self.sampler, feature_transform=transform, **own)


KEYS = tuple(one.name for one in fields(TrainConfig))
"""Keys of a recipe, each with a value or a table of settings."""


def load_recipe(
    source: str,
    overrides: Mapping[str, Any] | None = None,
    encoder: EncoderConfig | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> TrainConfig:
    """Read a recipe and apply overrides.

    Args:
        source: Name of a packaged recipe, see :func:`recipes`, or path to a YAML file.
        overrides: Values by dotted key, such as ``{"optimizer.lr": "1e-4"}``.
        encoder: Encoder in place of the recipe's. One of the recipe's kind keeps its pooling. For one of another kind,
            settings that it cannot have are reset, before the overrides are applied.
        report: Called with a message about settings that were reset.

    Raises:
        ConfigError: The recipe does not exist, is not a table, or has an unknown key or a value of the wrong type.
    """
    where = f"Recipe {source!r}"
    mapping = load_yaml(source, RECIPES, "recipe")
    if encoder is not None:
        mapping = _with_encoder(mapping, encoder, where, report, overrides or {})
    for key, value in (overrides or {}).items():
        mapping = override(mapping, key, value)
    return build(TrainConfig, mapping, where)


def recipes() -> list[str]:
    """Names of the packaged recipes."""
    return packaged(RECIPES)


def _with_encoder(
    mapping: Mapping[str, Any],
    encoder: EncoderConfig,
    where: str,
    report: Callable[[str], None],
    overrides: Mapping[str, Any],
) -> dict[str, Any]:
    """Settings of a recipe with another encoder, and without what that encoder cannot have."""
    old = build(TrainConfig, mapping, where)
    if encoder.kind == old.encoder.kind:
        pooling = {"pooling": to_mapping(old.encoder.pooling)} if encoder.pooling.plain else {}
        return {**mapping, "encoder": to_mapping(encoder) | pooling}
    changes: dict[str, Any] = {"encoder.pooling": to_mapping(encoder.pooling)}
    if not KINDS[encoder.kind].embeds:
        changes["adaptation.rank"] = 0
    if not KINDS[encoder.kind].layers and old.feature_transform.components:
        changes |= {"feature_transform.components": 0, "feature_transform.repeat": True}
    before, after = to_mapping(old), {**mapping, "encoder": to_mapping(encoder)}
    reset = []
    for key, value in changes.items():
        after = override(after, key, value)
        if key not in overrides and reduce(getitem, key.split("."), before) != value:
            reset.append(key)
    if reset:
        verb = "is" if len(reset) == 1 else "are"
        report(f"The encoder {encoder.kind} replaces {old.encoder.kind}; {', '.join(reset)} {verb} reset to fit it.")
    return after
