"""Segment options as HTTP and the WebSocket take them: a pydantic model made from `SegmentOptions`."""

import json
from dataclasses import fields
from typing import Annotated, Any, Literal, cast, get_type_hints

from docstring_parser import parse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

from genser.audio import Channel
from genser.segments.options import BOUNDS, SMOOTHINGS, SegmentOptions


def _parsed(prior: Any) -> Any:
    """Read the JSON of a query parameter; the first message of a stream holds an object already."""
    if not isinstance(prior, str):
        return prior
    try:
        return json.loads(prior)
    except (ValueError, RecursionError):
        return prior  # pydantic reports that it is not an object


Prior = Annotated[dict[str, Annotated[float, Field(gt=0)]] | None, BeforeValidator(_parsed, json_schema_input_type=str)]


class _Base(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False, extra="forbid")

    def options(self) -> SegmentOptions:
        """Return the library's options.

        Raises:
            ConfigError: They contradict each other.
        """
        return SegmentOptions(**{field.name: getattr(self, field.name) for field in fields(SegmentOptions)})


def _field(name: str, default: Any) -> Any:
    low, high = BOUNDS.get(name, (None, None))
    return Field(default, ge=low, le=high, description=DESCRIPTIONS[name])


# pyrefly: ignore[not-a-type] - pydantic makes the enumeration of the OpenAPI document from the names at run time
TYPES: dict[str, Any] = get_type_hints(SegmentOptions) | {"smoothing": Literal[SMOOTHINGS], "prior": Prior}
DESCRIPTIONS = {one.arg_name: one.description for one in parse(SegmentOptions.__doc__ or "").params}

_PARAMETERS: dict[str, Any] = {
    field.name: (TYPES[field.name], _field(field.name, field.default)) for field in fields(SegmentOptions)
}
SegmentParameters = create_model("SegmentParameters", __base__=_Base, **_PARAMETERS)
"""Types, defaults, bounds and descriptions are those of `SegmentOptions`."""

CHANNEL = "^(mix|each|[1-9][0-9]{0,3})$"
CHANNEL_HELP = "Number of the channel to recognise, from 1; or 'mix', or 'each' for the results of every channel."


def channel_of(text: str) -> Channel:
    """The channel that a query names; the text matches :data:`CHANNEL`."""
    return int(text) if text.isdecimal() else cast(Channel, text)
