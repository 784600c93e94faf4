"""What a bench compares: heads with the settings they may choose from, and what is varied in ablations.

A plan is a YAML file, and nothing of it is in code::

    recipe: small                       # what every head starts from
    settings: {batch_size: 64}          # changed for every head
    poolings: {mean: {}}                # name → pooling of the encoders; the recipe's where there is none
    seeds: 5
    inner_splits: 2                     # draws of held-out training speakers on which candidates are compared
    heads:
      transport:
        settings: {steps: 400}          # changed for this head
        grid: {optimizer.lr: [3.0e-4, 1.0e-3], objective.noise: [0.3, 1.0]}     # candidates: every combination
      two layers:                       # another name than the head's own
        head: mlp
        candidates: [{}, {steps: 600}]  # candidates one by one; with a grid, every combination with these
    ablations:                          # tried on the head that `ablated` names, beside what it chose
      k: {path.k: [0, 4, 10]}           # one setting and its values
      read-out: {state: {sampler.readout: state}}       # or any settings under a name
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from genser.config import build, load_yaml, override, packaged, to_mapping
from genser.encoders import Pooling
from genser.errors import ConfigError
from genser.model.heads import HEADS
from genser.training.recipe import TrainConfig, load_recipe

Settings = Mapping[str, Any]
"""Settings of a recipe by dotted key."""


@dataclass(frozen=True)
class HeadPlan:
    """One head of a bench.

    Attributes:
        name: What the report calls it.
        head: Which head it is, see :data:`genser.model.heads.HEADS`.
        candidates: Settings that it may choose from, inside the training speakers; one needs no choice.
    """

    name: str
    head: str
    candidates: tuple[Settings, ...] = ({},)

    def __post_init__(self) -> None:
        if self.head not in HEADS:
            raise ConfigError(f"head {self.name!r}: there is no head {self.head!r}; use one of {', '.join(HEADS)}.")
        if not self.candidates:
            raise ConfigError(f"head {self.name!r} has no candidates; leave `grid` out for its settings as they are.")


@dataclass(frozen=True)
class Variant:
    """One value of a factor that an ablation varies, as changed settings."""

    factor: str
    value: str
    settings: Settings

    @property
    def reads_only(self) -> bool:
        """Whether it changes how a trained head is read, so that nothing need be trained for it."""
        return all(key.startswith("sampler.") for key in self.settings)


@dataclass(frozen=True)
class BenchPlan:
    """A whole comparison.

    Attributes:
        recipe: Recipe that all heads start from, as nested settings.
        heads: Heads to compare.
        variants: What is varied, one entry a value.
        ablated: Name of the head on which it is.
        poolings: Name → how the encoders' hidden states are pooled; log-mel filter banks keep theirs.
        seeds: Number of training seeds.
        ablation_seeds: Number of seeds of each ablation.
        inner_splits: Draws of held-out training speakers over which a candidate's UA is averaged.
        inner_share: Share of the training speakers that each draw holds out.
        steps: Numbers N of transport steps to read off (Table 3).
        name: What the report calls the plan.
    """

    recipe: Mapping[str, Any]
    heads: tuple[HeadPlan, ...]
    variants: tuple[Variant, ...] = ()
    ablated: str = "transport"
    poolings: Mapping[str, Pooling] = field(default_factory=lambda: {"": Pooling()})
    seeds: int = 5
    ablation_seeds: int = 2
    inner_splits: int = 1
    inner_share: float = 0.2
    steps: tuple[int, ...] = (0, 1, 2, 4, 10, 20)
    name: str = ""

    def __post_init__(self) -> None:
        for name in ("seeds", "ablation_seeds", "inner_splits"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} of a bench plan must be at least 1, got {getattr(self, name)}.")
        if not 0 < self.inner_share < 1:
            raise ConfigError(f"inner_share is a share of the speakers between 0 and 1, got {self.inner_share}.")
        if not self.heads:
            raise ConfigError("The plan has no heads; name one or more under `heads`.")
        self._check_settings()

    def _check_settings(self) -> None:
        """Make every recipe once, so that a wrong setting is told before hours of training."""
        configs = [self.config(candidate, 0) for head in self.heads for candidate in head.candidates]
        if self.variants:
            first = self.head(self.ablated).candidates[0]
            configs += [self.config({**first, **variant.settings}, 0) for variant in self.variants]
        if len({config.augmentation for config in configs if config.augmented_copies}) > 1:
            raise ConfigError("Heads of one plan share their altered copies: give all the same `augmentation`.")

    def head(self, name: str) -> HeadPlan:
        """The head of a name.

        Raises:
            ConfigError: If the plan has none of that name.
        """
        for head in self.heads:
            if head.name == name:
                return head
        known = ", ".join(head.name for head in self.heads)
        raise ConfigError(f"`ablated` names {name!r}, which is none of the plan's heads ({known}).")

    def config(self, settings: Settings, seed: int) -> TrainConfig:
        """Recipe with some settings and a seed; no validation side, so that all training speakers are learned from."""
        mapping: Mapping[str, Any] = self.recipe
        for key, value in {**settings, "seed": seed, "keep": "last", "validation": 0}.items():
            mapping = override(mapping, key, value)
        return build(TrainConfig, mapping, "bench plan")

    def changed(self, key: str, value: Any) -> "BenchPlan":
        """The plan with one setting of its recipe changed; heads that set it themselves keep theirs."""
        return replace(self, recipe=override(self.recipe, key, value))

    @property
    def copies(self) -> TrainConfig:
        """The recipe with the most altered copies of clips, so that features are encoded for all of them."""
        changed = [{**self.head(self.ablated).candidates[0], **variant.settings} for variant in self.variants]
        every = [candidate for head in self.heads for candidate in head.candidates]
        return max(
            (self.config(settings, 0) for settings in [*every, *changed]), key=lambda config: config.augmented_copies
        )


def load_plan(source: str, settings: Settings | None = None, **changes: Any) -> BenchPlan:
    """Read a plan: a packaged one by name, or a YAML file.

    Args:
        source: Name or path.
        settings: Settings of the recipe by dotted key for every head, over those of the plan but under a head's own.
        changes: Fields of the plan to replace, such as ``seeds=2``; None leaves the plan's.

    Raises:
        ConfigError: If it does not exist, or names an unknown head or key.
    """
    where = f"bench plan {source!r}"
    mapping = load_yaml(source, PLANS, "bench plan")
    unknown = set(mapping) - {*_OWN, *_PLAIN}
    if unknown:
        raise ConfigError(f"{where}: unknown key {sorted(unknown)[0]!r}; known are {', '.join((*_OWN, *_PLAIN))}.")
    recipe = load_recipe(str(mapping.get("recipe", "small")), {**mapping.get("settings", {}), **(settings or {})})
    poolings = {name: build(Pooling, one, where) for name, one in mapping.get("poolings", {}).items()}
    plain = {name: mapping[name] for name in _PLAIN if name in mapping}
    plain |= {name: value for name, value in changes.items() if value is not None}
    return BenchPlan(
        to_mapping(recipe),
        tuple(_head(name, entry or {}) for name, entry in mapping.get("heads", {}).items()),
        tuple(_variants(mapping.get("ablations", {}))),
        poolings=poolings or {"": recipe.encoder.pooling},
        name=Path(source).stem,
        **{**plain, "steps": tuple(plain.get("steps", BenchPlan.steps))},
    )


def plans() -> list[str]:
    """Names of the packaged plans."""
    return packaged(PLANS)


PLANS = "bench/plans"
"""Folder of the packaged plans inside the package."""

_OWN = ("recipe", "settings", "poolings", "heads", "ablations")
_PLAIN = ("ablated", "seeds", "ablation_seeds", "inner_splits", "inner_share", "steps")


def _head(name: str, entry: Mapping[str, Any]) -> HeadPlan:
    unknown = set(entry) - {"head", "settings", "grid", "candidates"}
    if unknown:
        raise ConfigError(
            f"head {name!r}: unknown key {sorted(unknown)[0]!r}; known are head, settings, grid and candidates."
        )
    settings, listed, grid = entry.get("settings", {}), entry.get("candidates", [{}]), entry.get("grid", {})
    if not isinstance(listed, list) or not all(isinstance(one, Mapping) for one in listed):
        raise ConfigError(f"head {name!r}: `candidates` is a list of settings, got {listed!r}.")
    for key, values in grid.items():
        if not isinstance(values, list):
            raise ConfigError(f"head {name!r}: `grid` has a list of values for every setting; {key} has {values!r}.")
    points = [dict(zip(grid, point, strict=True)) for point in product(*grid.values())]
    candidates = tuple({**settings, **one, **point} for one in listed for point in points)
    return HeadPlan(name, entry.get("head", name), candidates)


def _variants(ablations: Mapping[str, Mapping[str, Any]]) -> Sequence[Variant]:
    variants = []
    for factor, entry in ablations.items():
        for name, content in entry.items():
            if isinstance(content, list):
                variants += [Variant(factor, str(value), {name: value}) for value in content]
            elif isinstance(content, Mapping):
                variants.append(Variant(factor, str(name), content))
            else:
                raise ConfigError(f"ablation {factor!r}: {name} needs a list of values or settings, got {content!r}.")
    return variants
