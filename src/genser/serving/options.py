"""Options as HTTP and the WebSocket take them: classes that can occur, and pydantic models of `SegmentOptions`."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Literal, cast, get_type_hints

from docstring_parser import parse
from pydantic import BaseModel, ConfigDict, Field, create_model

from genser.audio import Channel
from genser.data.labels import TASKS
from genser.inference.class_prior import ClassPrior
from genser.segments.options import BOUNDS, SMOOTHINGS, SegmentOptions

LONGEST = 2000  # characters of a list of classes


class ClassParameters(BaseModel):
    """What is recognised, which classes can occur in a recording, and how often."""

    model_config = ConfigDict(allow_inf_nan=False, extra="forbid")

    task: Literal[tuple(TASKS)] | None = Field(  # pyrefly: ignore[invalid-literal] - pydantic makes it at run time
        None, description="emotion, or gender: the gender of the voice as the corpora of the model label it."
    )
    classes: str | None = Field(
        None, max_length=LONGEST, description="Classes that can occur, such as anger,neutral; all if omitted."
    )
    prior: str | None = Field(
        None, max_length=LONGEST, description="Share of each class, such as anger=0.2,neutral=0.8; equal if omitted."
    )

    def class_prior(self, labels: Sequence[str]) -> ClassPrior:
        """The classes that can occur among those of the model, and their shares.

        Raises:
            ConfigError: A class is unknown, fewer than two are left, or a share is missing or not positive.
        """
        return ClassPrior.of(labels, self.classes, self.prior)


class _Base(ClassParameters):
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
TYPES: dict[str, Any] = get_type_hints(SegmentOptions) | {"smoothing": Literal[SMOOTHINGS]}
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
