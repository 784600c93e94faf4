"""What a training run is made of: recipes in YAML, overridden key by key."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from genser.audio.augment import Augmentation
from genser.config import build, override
from genser.encoders import KINDS, EncoderConfig
from genser.errors import ConfigError, MissingExtraError
from genser.model.estimator import EstimatorConfig
from genser.model.features import FeatureTransformConfig
from genser.model.transport_head import HeadConfig
from genser.transport import BridgePath, Objective, Sampler

BALANCES = ("none", "class", "corpus", "corpus-class", "class-corpus")
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with linear warm-up and cosine decay.

    Attributes:
        lr: Peak learning rate; the paper's is 5e-4.
        weight_decay: Decoupled decay of matrices; vectors and biases are left alone.
        warmup: Share of all steps over which the rate rises from 0.
        final: Share of the peak that the cosine ends at.
        clip: Largest norm of the gradient; 0 turns clipping off.
        ema: Decay of the exponential moving average of the weights that is kept as the model; 0 keeps the weights.
    """

    lr: float = 5e-4
    weight_decay: float = 0.0
    warmup: float = 0.05
    final: float = 0.0
    clip: float = 1.0
    ema: float = 0.999

    def __post_init__(self) -> None:
        if self.lr <= 0 or self.weight_decay < 0 or self.clip < 0:
            raise ConfigError("The learning rate must be positive, weight decay and clip not negative.")
        if not (0 <= self.warmup < 1 and 0 <= self.final <= 1 and 0 <= self.ema < 1):
            raise ConfigError("warmup and ema must lie in [0, 1), final in [0, 1].")


@dataclass(frozen=True)
class NetworkConfig:
    """The free part of :class:`genser.model.EstimatorConfig`; the encoder decides the rest."""

    width: int | None = None
    depth: int = 4
    heads: int = 16
    dropout: float = 0.0
    tokens: str = "fused"
    ensemble: int = 1


@dataclass(frozen=True)
class ComponentsConfig:
    """The free part of :class:`genser.model.FeatureTransformConfig`; the encoder decides the rest."""

    components: int = 0
    flattening: float = 0.0
    repeat: bool = False


@dataclass(frozen=True)
class AdaptationConfig:
    """Low-rank adaptation of the encoder before features are taken, see :mod:`genser.training.lora`.

    Attributes:
        rank: Of what is added to every matrix of the encoder's layers; 0 leaves the encoder as it is.
        steps: Optimiser steps.
        lr: Peak learning rate.
        fidelity: Weight of the mean square distance, in deviations, from the frozen encoder's features of clean clips.
        noise: Deviation of the noise on standardised features before the linear head that is learned beside.
        batch_seconds: Sound in a batch.
    """

    rank: int = 0
    steps: int = 500
    lr: float = 5e-4
    fidelity: float = 1.0
    noise: float = 2.0
    batch_seconds: float = 48.0

    def __post_init__(self) -> None:
        if self.rank < 0 or self.steps < 1 or min(self.fidelity, self.noise) < 0:
            raise ConfigError("adaptation: rank, fidelity and noise must not be negative, and steps at least 1.")
        if min(self.lr, self.batch_seconds) <= 0:
            raise ConfigError("adaptation: lr and batch_seconds must be above 0.")


@dataclass(frozen=True)
class TrainConfig:
    """A recipe.

    Attributes:
        encoder: Where features come from.
        adaptation: Whether and how it is adapted to the training speakers first.
        feature_transform: Whether features are reduced to principal components first.
        network: Size and form of the estimator.
        path: Probability path.
        objective: How training examples are drawn.
        sampler: Steps and read-out of the finished model.
        optimizer: Optimiser and schedule.
        ridge_prior: Penalty of the ridge regression that the estimator starts from; 0 has none.
        state: How the state x_t enters the estimate, see :class:`genser.model.HeadConfig`.
        task: Which column of the manifest is learned: ``"emotion"`` or ``"gender"``.
        labels: Name of a label map, or a path to one; None keeps the manifest's labels.
        batch_size: Items a step, over all processes.
        steps: Optimiser steps.
        balance: What is drawn equally often: nothing, classes, corpora, classes within corpora, or corpora within
            classes.
        centre: Whether training rows are moved so that all corpora have one mean, classes counting alike.
        augmented_copies: Augmented copies of every training clip; validation and test clips are never altered.
        augmented_share: How often a drawn training row is one of its altered copies.
        augmentation: How strongly these copies are altered.
        validation: Share of the speakers held out where the manifest has no validation split; 0 trains on all.
        evaluate_every: Steps between two looks at the validation speakers.
        checkpoint_every: Steps between two checkpoints.
        keep: Which weights become the model: ``"best"`` by validation UA, or ``"last"``.
        precision: Arithmetic of the network; features and optimiser stay float32.
        seed: Everything random follows from it.
    """

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    adaptation: AdaptationConfig = field(default_factory=AdaptationConfig)
    feature_transform: ComponentsConfig = field(default_factory=ComponentsConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    path: BridgePath = field(default_factory=BridgePath)
    objective: Objective = field(default_factory=Objective)
    sampler: Sampler = field(default_factory=Sampler)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    ridge_prior: float = 0.0
    state: str = "network"
    task: str = "emotion"
    labels: str | None = None
    batch_size: int = 128
    steps: int = 1000
    balance: str = "none"
    centre: bool = False
    augmented_copies: int = 0
    augmented_share: float = 0.5
    augmentation: Augmentation = field(default_factory=Augmentation)
    validation: float = 0.15
    evaluate_every: int = 100
    checkpoint_every: int = 500
    keep: str = "best"
    precision: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("batch_size", "steps", "evaluate_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not 0 <= self.validation < 1:
            raise ConfigError(f"validation is a share of the speakers in [0, 1), got {self.validation}.")
        if self.augmented_copies < 0 or not 0 <= self.augmented_share <= 1:
            raise ConfigError(
                "augmented_copies must not be negative and augmented_share must lie in [0, 1], got "
                f"{self.augmented_copies} and {self.augmented_share}."
            )
        _one_of("balance", self.balance, BALANCES)
        _one_of("keep", self.keep, ("best", "last"))
        _one_of("precision", self.precision, PRECISIONS)
        _one_of("task", self.task, ("emotion", "gender"))
        if self.adaptation.rank and not KINDS[self.encoder.kind].embeds:
            raise ConfigError(
                f"adaptation.rank is {self.adaptation.rank}, but a model folder cannot contain an adapted encoder of "
                f"kind {self.encoder.kind!r}. Use adaptation.rank 0."
            )

    def without_augmentation(self) -> "TrainConfig":
        """The same without altered copies."""
        return replace(self, augmented_copies=0)

    def head(self, labels: tuple[str, ...], states: int, dim: int) -> HeadConfig:
        """The head that this recipe makes of features of shape (rows, states, dim)."""
        front = FeatureTransformConfig(
            states,
            dim,
            self.feature_transform.components,
            self.feature_transform.flattening,
            self.feature_transform.repeat,
        )
        conditions, width = front.shape
        network = {name: getattr(self.network, name) for name in self.network.__dataclass_fields__}
        estimator = EstimatorConfig(dim=width, conditions=conditions, **network)
        own = {"state": self.state, "ridge_prior": self.ridge_prior}
        return HeadConfig(labels, estimator, self.path, self.sampler, feature_transform=front, **own)


def load_recipe(source: str, overrides: Mapping[str, Any] | None = None) -> TrainConfig:
    """Read a recipe and apply overrides.

    Args:
        source: Name of a packaged recipe (``"paper"``, ``"small"``) or path to a YAML file.
        overrides: Values by dotted key, such as ``{"optimizer.lr": "1e-4"}``.

    Raises:
        ConfigError: If the recipe does not exist, is no table, or has an unknown key or a value of the wrong type.
    """
    mapping = read_yaml(_find(source), f"recipe {source!r}")
    for key, value in (overrides or {}).items():
        mapping = override(mapping, key, value)
    return build(TrainConfig, mapping, f"recipe {source!r}")


def recipes() -> list[str]:
    """Names of the packaged recipes."""
    folder = resources.files("genser.training") / "recipes"
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def _find(source: str) -> str:
    if source in recipes():
        return (resources.files("genser.training") / "recipes" / f"{source}.yaml").read_text("utf-8")
    path = Path(source)
    if not path.is_file():
        raise ConfigError(f"No recipe {source!r}: give a YAML file, or one of {', '.join(recipes())}.")
    return path.read_text("utf-8")


def read_yaml(text: str, where: str) -> dict[str, Any]:
    """Settings from YAML.

    Args:
        text: YAML.
        where: Named in errors, such as ``"recipe 'small'"``.

    Raises:
        ConfigError: If it is no YAML or no table.
        MissingExtraError: If PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError:
        raise MissingExtraError("train", f"Reading the {where}") from None
    try:
        mapping = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not valid YAML: {error}") from error
    if not isinstance(mapping, dict):
        raise ConfigError(f"{where} must be a table of settings, got {type(mapping).__name__}.")
    return mapping


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"Unknown {name} {value!r}: use one of {', '.join(known)}.")
