"""A bench plan: the heads to compare, the settings each may choose from, and the settings that ablations vary.

A plan is a YAML file::

    recipe: small                       # starting point of every head
    settings: {batch_size: 64}          # changed for every head
    poolings: {mean: {}}                # name → pooling of the encoders; by default the recipe's
    seeds: 5
    inner_splits: 2                     # draws of held-out training speakers on which candidates are compared
    heads:
      transport:
        settings: {steps: 400}          # changed for this head
        grid: {optimizer.lr: [3.0e-4, 1.0e-3], objective.noise: [0.3, 1.0]}     # candidates: every combination
      two layers:                       # any name, if `head` gives the kind
        head: mlp
        candidates: [{}, {steps: 600}]  # candidates one by one; with a grid, every combination of both
    ablations:                          # variants of the head that `ablated` names, with its chosen settings
      k: {path.k: [0, 4, 10]}           # one setting and its values
      read-out: {state: {sampler.readout: state}}       # or any settings under a name
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import product
from pathlib import Path
from typing import Any

from genser.config import build, check_ranges, load_yaml, override, to_mapping
from genser.encoders import KINDS, EncoderConfig, Pooling
from genser.errors import ConfigError, suggestion
from genser.model.heads import HEADS
from genser.training.recipe import TrainConfig, load_recipe

PLANS = "bench/plans"
Settings = Mapping[str, Any]
"""Settings of a recipe by dotted key."""


@dataclass(frozen=True)
class HeadPlan:
    """One head of a bench.

    Attributes:
        name: Its name in the report.
        kind: Kind of head, see :data:`genser.model.heads.HEADS`.
        candidates: Settings that it may choose from, on held-out training speakers; a single one needs no choice.

    Raises:
        ConfigError: There is no such kind, or there are no candidates.
    """

    name: str
    kind: str
    candidates: tuple[Settings, ...] = ({},)

    def __post_init__(self) -> None:
        if self.kind not in HEADS:
            raise ConfigError(
                f"The head {self.name!r} has the unknown kind {self.kind!r}. {suggestion(self.kind, HEADS)}"
            )
        if not self.candidates:
            raise ConfigError(f"The head {self.name!r} has no candidates. Omit `grid` to use its settings as they are.")

    @property
    def has_steps(self) -> bool:
        """Whether a trained head can be read with other numbers of transport steps, because it estimates x_0."""
        return hasattr(HEADS[self.kind], "estimate")


@dataclass(frozen=True)
class Variant:
    """One value of a factor that an ablation varies, as changed settings."""

    factor: str
    value: str
    settings: Settings

    @property
    def only_sampler(self) -> bool:
        """Whether only the sampler changes, so that a trained transport head need not be trained again."""
        return all(key.startswith("sampler.") for key in self.settings)


@dataclass(frozen=True, kw_only=True)
class PlanNumbers:
    """The single values of a plan.

    Attributes:
        ablated: Name of the head whose settings ablations vary.
        seeds: Number of training seeds.
        ablation_seeds: Number of seeds of each ablation.
        inner_splits: Draws of held-out training speakers over which the UA of a candidate is averaged.
        inner_share: Share of the training speakers that each draw holds out.
        steps: Numbers N of transport steps to report (Table 3).

    Raises:
        ConfigError: A value is out of range.
    """

    ablated: str = "transport"
    seeds: int = 5
    ablation_seeds: int = 2
    inner_splits: int = 1
    inner_share: float = 0.2
    steps: tuple[int, ...] = (0, 1, 2, 4, 10, 20)

    def __post_init__(self) -> None:
        at_least_one = dict.fromkeys(("seeds", "ablation_seeds", "inner_splits"), "[1, inf)")
        check_ranges(self, **at_least_one, inner_share="(0, 1)")
        if any(count < 0 for count in self.steps):
            raise ConfigError(f"steps must not be negative, got {list(self.steps)}.")


@dataclass(frozen=True, kw_only=True)
class BenchPlan(PlanNumbers):
    """A whole comparison.

    Attributes:
        recipe: Recipe that all heads start from, as nested settings.
        heads: Heads to compare.
        variants: Settings that ablations vary, one entry per value.
        poolings: Name → pooling of the encoder's hidden states.
        name: Name of the plan.

    Raises:
        ConfigError: There are no heads, or a head, candidate or variant has a setting that cannot be.
    """

    recipe: Mapping[str, Any]
    heads: tuple[HeadPlan, ...]
    variants: tuple[Variant, ...] = ()
    poolings: Mapping[str, Pooling] = field(default_factory=lambda: {"": Pooling()})
    name: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.heads:
            raise ConfigError("The plan has no heads. Name one or more under `heads`.")
        augmentations = {config.augmentation for config in self._configs() if config.augmented_copies}
        if len(augmentations) > 1:
            raise ConfigError("Heads of one plan share their augmented copies. Give all the same `augmentation`.")

    def head(self, name: str) -> HeadPlan:
        """The head with the given name.

        Raises:
            ConfigError: The plan has no head of that name.
        """
        for head in self.heads:
            if head.name == name:
                return head
        known = ", ".join(head.name for head in self.heads)
        raise ConfigError(f"`ablated` names {name!r}, which is not among the heads of the plan ({known}).")

    def config(self, head: HeadPlan, settings: Settings, seed: int) -> TrainConfig:
        """Recipe of a head with some settings and a seed; it has no validation side, so all rows are trained on."""
        mapping: Mapping[str, Any] = self.recipe
        for key, value in {**settings, "head": head.kind, "seed": seed, "keep": "last", "validation": 0}.items():
            mapping = override(mapping, key, value)
        return build(TrainConfig, mapping, f"Bench plan, head {head.name!r}")

    @property
    def encoders(self) -> dict[str, EncoderConfig]:
        """The encoder with every pooling, by the name of the pooling."""
        encoder = build(EncoderConfig, self.recipe["encoder"], "recipe")
        return {name: replace(encoder, pooling=pooling) for name, pooling in self.poolings.items()}

    @property
    def most_copies(self) -> TrainConfig:
        """The recipe with the most augmented copies of clips, for which features are encoded."""
        return max(self._configs(), key=lambda config: config.augmented_copies)

    def _configs(self) -> list[TrainConfig]:
        """Recipe of every candidate and variant; a wrong setting is reported before hours of training."""
        configs = [self.config(head, candidate, 0) for head in self.heads for candidate in head.candidates]
        if self.variants:
            ablated = self.head(self.ablated)
            settings = ({**ablated.candidates[0], **variant.settings} for variant in self.variants)
            configs += [self.config(ablated, one, 0) for one in settings]
        return configs


@dataclass(frozen=True)
class _HeadEntry:
    """A head as the YAML file has it."""

    head: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    candidates: tuple[dict[str, Any], ...] = ({},)
    grid: dict[str, tuple[Any, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _PlanFile(PlanNumbers):
    """A plan as the YAML file has it."""

    recipe: str = "small"
    settings: dict[str, Any] = field(default_factory=dict)
    poolings: dict[str, Pooling] = field(default_factory=dict)
    heads: dict[str, _HeadEntry] = field(default_factory=dict)
    ablations: dict[str, dict[str, Any]] = field(default_factory=dict)


def load_plan(
    source: str, settings: Settings | None = None, *, encoder: EncoderConfig | None = None, seeds: int | None = None
) -> BenchPlan:
    """Read a plan: a packaged one by name, or a YAML file.

    Args:
        source: Name or path.
        settings: Settings of the recipe by dotted key for every head; they replace the plan's but not a head's own.
        encoder: Encoder in place of the recipe's; settings that it cannot have are reset.
        seeds: Number of training seeds in place of the plan's.

    Raises:
        ConfigError: The file does not exist, is not YAML, or has an unknown key, a value of the wrong type, an unknown
            head or a setting that cannot be.
    """
    where = f"Bench plan {source!r}"
    file = build(_PlanFile, load_yaml(source, PLANS, "bench plan"), where)
    recipe = load_recipe(file.recipe, {**file.settings, **(settings or {})}, encoder)
    # filter banks have one state without statistics to choose from
    poolings = file.poolings if KINDS[recipe.encoder.kind].layers else {}
    heads = []
    for name, entry in file.heads.items():
        points = [dict(zip(entry.grid, point, strict=True)) for point in product(*entry.grid.values())]
        candidates = tuple({**entry.settings, **one, **point} for one in entry.candidates for point in points)
        heads.append(HeadPlan(name, entry.head or name, candidates))
    variants = []
    for factor, contents in file.ablations.items():
        for name, content in contents.items():
            if isinstance(content, list):
                variants += [Variant(factor, str(value), {name: value}) for value in content]
            elif isinstance(content, Mapping):
                variants.append(Variant(factor, name, content))
            else:
                raise ConfigError(
                    f"{where}: ablations.{factor}.{name} must be a list of values or a table of settings, got "
                    f"{content!r}."
                )
    numbers: dict[str, Any] = {one.name: getattr(file, one.name) for one in fields(PlanNumbers)}
    if seeds is not None:
        numbers["seeds"] = seeds
    return BenchPlan(
        **numbers,
        recipe=to_mapping(recipe),
        heads=tuple(heads),
        variants=tuple(variants),
        poolings=poolings or {"": recipe.encoder.pooling},
        name=Path(source).stem,
    )
