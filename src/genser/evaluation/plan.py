"""What a bench compares: heads with the settings they may choose from, and what is varied in ablations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from genser.configuration import override
from genser.errors import ConfigError
from genser.evaluation.baselines import HEADS
from genser.training.config import TrainConfig, load_recipe

INNER_SEED = 17
"""Seed of the split of the training speakers on which candidates are compared."""


@dataclass(frozen=True)
class HeadPlan:
    """One head of a bench.

    Attributes:
        name: What the report calls it.
        head: Which head it is, see :data:`genser.evaluation.baselines.HEADS`.
        candidates: Settings by dotted key that it may choose from, inside the training speakers; one needs no choice.
    """

    name: str
    head: str
    candidates: tuple[Mapping[str, Any], ...] = ({},)

    def __post_init__(self) -> None:
        if self.head not in HEADS:
            raise ConfigError(f"head {self.name!r}: there is no head {self.head!r}; use one of {', '.join(HEADS)}.")
        if not self.candidates:
            raise ConfigError(f"head {self.name!r} has no candidates; write [{{}}] for the recipe as it is.")


@dataclass(frozen=True)
class BenchPlan:
    """A whole comparison.

    Attributes:
        recipe: Recipe that all heads start from.
        heads: Heads to compare.
        ablations: Factor → value → settings by dotted key, tried on the head ``transport``.
        seeds: Number of training seeds.
        ablation_seeds: Number of seeds of each ablation.
        steps: Numbers N of transport steps to read off (Table 3).
    """

    recipe: str = "small"
    heads: tuple[HeadPlan, ...] = ()
    ablations: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    seeds: int = 5
    ablation_seeds: int = 2
    steps: tuple[int, ...] = (0, 1, 2, 4, 10, 20)

    def config(self, settings: Mapping[str, Any], seed: int) -> TrainConfig:
        """Recipe with some settings and a seed; no validation side, so that all training speakers are learned from."""
        return load_recipe(self.recipe, {**settings, "seed": seed, "keep": "last", "validation": 0})


def load_plan(source: str, overrides: Mapping[str, Any] | None = None) -> BenchPlan:
    """Read a plan: a packaged one by name, or a YAML file.

    Raises:
        ConfigError: If it does not exist, or names an unknown head or key.
    """
    import yaml

    packaged = resources.files("genser.evaluation") / "plans" / f"{source}.yaml"
    if not packaged.is_file() and not Path(source).is_file():
        raise ConfigError(f"No bench plan {source!r}: give a YAML file, or one of {', '.join(plans())}.")
    text = (packaged if packaged.is_file() else Path(source)).read_text("utf-8")
    mapping = yaml.safe_load(text) or {}
    for key, value in (overrides or {}).items():
        mapping = override(mapping, key, value)
    unknown = set(mapping) - set(BenchPlan.__dataclass_fields__)
    if unknown:
        raise ConfigError(f"plan {source!r}: unknown key {sorted(unknown)[0]!r}.")
    heads = tuple(_head(name, entry or {}) for name, entry in mapping.pop("heads", {}).items())
    return BenchPlan(heads=heads, **{**mapping, "steps": tuple(mapping.get("steps", BenchPlan.steps))})


def plans() -> list[str]:
    """Names of the packaged plans."""
    folder = resources.files("genser.evaluation") / "plans"
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def _head(name: str, entry: Mapping[str, Any]) -> HeadPlan:
    unknown = set(entry) - {"head", "candidates"}
    if unknown:
        raise ConfigError(f"head {name!r}: unknown key {sorted(unknown)[0]!r}; known are head and candidates.")
    candidates: Sequence[Mapping[str, Any]] = entry.get("candidates", [{}])
    return HeadPlan(name, entry.get("head", name), tuple(candidates))
