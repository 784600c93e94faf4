"""Segment options over HTTP and the WebSocket are those of the library."""

import json
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from genser.errors import ConfigError
from genser.segments.options import BOUNDS, SMOOTHINGS, SegmentOptions
from genser.serving.errors import Problem
from genser.serving.live import Start, parse_start
from genser.serving.options import SegmentParameters
from genser.serving.predict import PredictQuery
from genser.serving.segments import SegmentQuery

NUMBERS = st.fixed_dictionaries(
    {},
    optional={
        name: st.floats(low - 1, high + 1) | st.sampled_from([low, high, float("nan"), float("inf")])
        for name, (low, high) in BOUNDS.items()
    }
    | {
        "smoothing": st.sampled_from((*SMOOTHINGS, "median")),
    },
)


@given(values=NUMBERS)
def test_the_model_accepts_what_the_dataclass_accepts(values):
    try:
        expected = SegmentOptions(**values)
    except ConfigError:
        with pytest.raises((ConfigError, ValidationError)):
            SegmentParameters(**values).options()
    else:
        assert SegmentParameters(**values).options() == expected


@pytest.mark.parametrize("model", [SegmentQuery, SegmentParameters])
def test_defaults_are_those_of_the_dataclass(model):
    assert model().options() == SegmentOptions()


def test_a_stream_is_smoothed_causally_by_default():
    assert Start(type="start").options() == SegmentOptions(smoothing="causal")


def test_every_option_and_its_description_is_in_openapi():
    properties = SegmentQuery.model_json_schema()["properties"]
    for field in fields(SegmentOptions):
        assert properties[field.name]["description"]


@pytest.mark.parametrize("model", [SegmentQuery, SegmentParameters, PredictQuery])
def test_classes_and_shares_in_a_query_are_those_of_the_library(model):
    labels = ("anger", "fear", "neutral")
    found = model(classes="neutral,anger", prior="anger=1,neutral=3").class_prior(labels)
    assert (found.labels, found.shares.tolist()) == (("anger", "neutral"), [0.25, 0.75])
    assert model().class_prior(labels).labels == labels


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize("name", [*BOUNDS, "channels", "sample_rate", "channel"])
def test_true_and_false_are_no_numbers(name, value):
    message = json.dumps({"type": "start", name: value})
    with pytest.raises(Problem, match=f"^{name}: .*Input should not be true or false, got {str(value).lower()}"):
        parse_start(message)
    if name in BOUNDS:
        with pytest.raises(ConfigError, match=f"^{name} must be a number in .*, got {value}"):
            SegmentOptions(**{"window": 1.0, name: value})
