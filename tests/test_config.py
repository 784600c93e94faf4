"""Configurations from mappings, YAML and text, and back."""

import dataclasses
import math
import typing
from itertools import pairwise
from types import NoneType, UnionType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genser.audio.augment import Augmentation, AugmentedCopy
from genser.config import build, check_ranges, load_yaml, override, parse_yaml, to_mapping
from genser.encoders import EncoderConfig, Pooling
from genser.errors import ConfigError
from genser.model import EstimatorConfig, FeatureTransformConfig, HeadConfig
from genser.model.estimator import NetworkConfig
from genser.model.features import TransformConfig
from genser.segments.options import SegmentOptions
from genser.training.recipe import (
    AdaptationConfig,
    CalibrationConfig,
    OptimizerConfig,
    TrainConfig,
    load_recipe,
    recipes,
)
from genser.transport import BridgePath, Objective, Sampler

CLASSES = {
    AdaptationConfig: {},
    Augmentation: {},
    AugmentedCopy: {},
    BridgePath: {},
    CalibrationConfig: {},
    EncoderConfig: {},
    EstimatorConfig: {},
    FeatureTransformConfig: {"states": 3, "dim": 16},
    HeadConfig: {"labels": ["calm", "cross"]},
    NetworkConfig: {},
    Objective: {},
    OptimizerConfig: {},
    Pooling: {},
    Sampler: {},
    SegmentOptions: {},
    TrainConfig: {},
    TransformConfig: {},
}
"""Configuration classes, each with settings that it requires."""

JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["none", "", "[]", "1e400", "nan", "3,4", "true", "²", "9" * 5000, 10**400]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=6,
)


def fitting(hint):
    """Values of a declared type, most of them sensible ones."""
    if dataclasses.is_dataclass(hint):
        return mappings(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (UnionType, typing.Union):
        return st.none() | fitting(next(part for part in arguments if part is not NoneType))
    if origin is tuple and arguments[1] is not Ellipsis:
        return st.tuples(*map(fitting, arguments))
    if origin is tuple:
        return st.lists(fitting(arguments[0]), max_size=3)
    if origin is not None:
        return st.dictionaries(st.text(max_size=5), fitting(arguments[1]), max_size=2)
    numbers = {int: st.integers(0, 64), float: st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0])}
    words = ["fbank", "whisper", "a", "mean", "class", "last", "posterior", "euler", "causal"]
    return {**numbers, bool: st.booleans(), str: st.sampled_from(words)}[hint]


def mappings(kind, values=fitting):
    """A few settings of a class beside those that it requires."""
    hints = typing.get_type_hints(kind)
    fields = [field.name for field in dataclasses.fields(kind)]
    chosen = st.lists(st.sampled_from(fields), max_size=3, unique=True)
    return chosen.flatmap(
        lambda names: st.fixed_dictionaries({name: values(hints[name]) for name in names}).map(
            lambda settings: {**CLASSES[kind], **settings}
        )
    )


@pytest.mark.parametrize("kind", CLASSES)
@given(data=st.data())
def test_a_configuration_survives_the_way_to_a_mapping_and_back(kind, data):
    try:
        config = build(kind, data.draw(mappings(kind)))
    except ConfigError:
        config = build(kind, CLASSES[kind])
    assert build(kind, to_mapping(config)) == config


@pytest.mark.parametrize("kind", CLASSES)
@given(data=st.data())
def test_junk_raises_a_config_error_and_nothing_else(kind, data):
    mapping = data.draw(st.one_of(mappings(kind, lambda _: JUNK), JUNK))
    try:
        config = build(kind, mapping)
    except ConfigError:
        return
    assert isinstance(config, kind)


@pytest.mark.parametrize("name", recipes())
def test_packaged_recipes_survive_the_way_to_a_mapping_and_back(name):
    config = load_recipe(name)
    assert build(TrainConfig, to_mapping(config)) == config


@pytest.mark.parametrize(
    ("kind", "mapping", "expected"),
    [
        (Pooling, {"states": ""}, Pooling()),
        (Pooling, {"states": "[]"}, Pooling()),
        (Pooling, {"states": []}, Pooling()),
        (Pooling, {"states": "3, 4"}, Pooling(states=(3, 4))),
        (Augmentation, {"noise": "[5, 25]"}, Augmentation(noise=(5.0, 25.0))),
        (NetworkConfig, {"width": "None"}, NetworkConfig(width=None)),
        (OptimizerConfig, {"lr": "1e-4"}, OptimizerConfig(lr=1e-4)),
        (Sampler, {"steps": "2.0"}, Sampler(steps=2)),
        (TrainConfig, {"optimizer": None, "centre": "True"}, TrainConfig(centre=True)),
    ],
)
def test_text_and_nothing_are_read_as_the_declared_type(kind, mapping, expected):
    assert build(kind, mapping) == expected


@pytest.mark.parametrize(
    ("kind", "mapping", "words"),
    [
        (TrainConfig, {"optimiser": {}}, r"unknown key 'optimiser'\. Did you mean 'optimizer'"),
        (TrainConfig, {"optimizer": {"rate": 1}}, r"optimizer: unknown key 'rate'"),
        (TrainConfig, {"optimizer": 5}, "optimizer: expected a table of settings, got 5"),
        (TrainConfig, {"steps": None}, "steps must be of type int, got None"),
        (TrainConfig, {"steps": True}, "steps must be of type int, got True"),
        (TrainConfig, {"centre": 1}, "centre must be of type bool, got 1"),
        (TrainConfig, {"labels": ["a"]}, "labels must be of type str"),
        (Augmentation, {"noise": "5"}, "noise must be a list of 2 values"),
        (Augmentation, {"crop": 0.5}, "crop must be a list, got 0.5"),
        (FeatureTransformConfig, {"states": 3}, "dim is missing"),
    ],
)
def test_what_does_not_fit_is_named(kind, mapping, words):
    with pytest.raises(ConfigError, match=words):
        build(kind, mapping)


@pytest.mark.parametrize("value", ["nan", "inf", math.nan, -math.inf, "1e999"])
@pytest.mark.parametrize("name", ["lr", "clip", "ema"])
def test_numbers_are_finite(name, value):
    with pytest.raises(ConfigError, match=name):
        build(OptimizerConfig, {name: value})
    with pytest.raises(ConfigError, match=name):
        OptimizerConfig(**{name: math.nan})


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        ("[0, 1)", (0, 0.5, np.float32(0.5)), (-1, 1, math.nan, False)),
        ("(0, inf)", (1e-9, 1e9), (0, math.inf, math.nan, True)),
        ("[1, 2]", (1, 2), (0.9, 2.1, True, "1")),
    ],
)
def test_ranges_include_their_closed_ends_alone(interval, inside, outside):
    for value in inside:
        check_ranges(dataclasses.make_dataclass("One", ["x"])(value), x=interval)
    for value in outside:
        with pytest.raises(ConfigError, match=r"x must lie in"):
            check_ranges(dataclasses.make_dataclass("One", ["x"])(value), x=interval)


def test_overrides_leave_the_original_alone():
    mapping = {"optimizer": {"lr": 1}, "path": None}
    assert override(mapping, "optimizer.clip", 2) == {"optimizer": {"lr": 1, "clip": 2}, "path": None}
    assert override(mapping, "path.k", 2)["path"] == {"k": 2}
    assert mapping == {"optimizer": {"lr": 1}, "path": None}
    with pytest.raises(ConfigError, match="single value"):
        override({"steps": 5}, "steps.more", 1)


@pytest.mark.parametrize("text", ["- 1", "a: [1", "2024-13-45", "3", "a: !!python/object:os.system x", "[" * 100_000])
def test_what_is_not_a_table_of_settings_is_refused(text):
    with pytest.raises(ConfigError, match="recipe 'mine'"):
        parse_yaml(text, "recipe 'mine'")


@pytest.mark.parametrize(
    "value",
    ["!!int ''", "!!float ''", "!!bool foo", "!!timestamp foo", "2024-13-45", "1" + ":1" * 200 + ".0", "!!binary é"],
)
def test_a_value_that_its_type_does_not_have_is_refused(value):
    for text in (f"a: {value}", f"? {value}\n: 1", f"- {value}"):
        with pytest.raises(ConfigError, match="Recipe 'mine'"):
            parse_yaml(text, "Recipe 'mine'")


def test_an_empty_file_is_an_empty_table(tmp_path):
    (tmp_path / "mine.yaml").write_text("# nothing yet\n")
    assert load_yaml(str(tmp_path / "mine.yaml"), "training/recipes", "recipe") == {}


@pytest.mark.parametrize("name", ["n" * 5000, "d/" * 3000 + "x", "a\0b", "~no such user/x", ""])
def test_a_name_that_no_file_can_have_is_unknown(name):
    with pytest.raises(ConfigError, match=r"^No recipe "):
        load_yaml(name, "training/recipes", "recipe")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe\xfa")
    for source in (tmp_path / "mine.yaml", tmp_path / "missing.yaml"):
        with pytest.raises(ConfigError, match=source.name):
            load_yaml(str(source), "training/recipes", "recipe")


ALIASES = "steps: [&a [x, x, x, x, x, x, x, x, x], " + ", ".join(
    f"&{after} [{', '.join([f'*{before}'] * 9)}]" for before, after in pairwise("abcdefghij")
)


@pytest.mark.parametrize("text", [ALIASES + "]", "steps: &a [*a]", "optimizer: &a {lr: *a}"])
def test_aliases_that_stand_for_billions_of_values_are_refused(text):
    with pytest.raises(ConfigError, match="Recipe 'x' repeats itself"):
        parse_yaml(text, "Recipe 'x'")


def test_aliases_are_accepted():
    assert parse_yaml("a: &a {lr: 1}\nb: *a\nc: {<<: *a, steps: 2}", "Recipe") == {
        "a": {"lr": 1},
        "b": {"lr": 1},
        "c": {"lr": 1, "steps": 2},
    }


def test_deeply_nested_yaml_is_refused():
    with pytest.raises(ConfigError, match="not valid YAML"):
        parse_yaml("steps: " + "[" * 500, "Recipe")
