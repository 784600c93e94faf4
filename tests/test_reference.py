"""The references in docs/ against the code. To renew them: python tests/test_reference.py."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path

import pytest
from docstring_parser import DocstringStyle, parse

import genser
from genser import cli
from genser.audio import load_audio, stream_audio
from genser.config import to_mapping
from genser.inference.prediction import Prediction
from genser.inference.profile import Profile
from genser.segments.options import SegmentOptions
from genser.segments.segment import Segment, Timeline
from genser.segments.summary import VoiceSummary, summarize
from genser.segments.turns import read_turns

DOCS = Path(__file__).resolve().parent.parent / "docs"
START, END = "<!-- made by tests/test_reference.py -->", "<!-- end of what is made -->"
PUBLIC = (
    *(genser.load, genser.Recognizer, Prediction, Segment, Timeline, SegmentOptions, Profile),
    *(read_turns, summarize, VoiceSummary, load_audio, stream_audio),
)


def plain(text):
    """Text of a docstring as Markdown on one line."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text or "").replace("``", "`")
    return re.sub(r"\s+", " ", text).strip().replace("|", "\\|").replace("<", "&lt;")


def google(thing):
    return parse(inspect.getdoc(thing) or "", DocstringStyle.GOOGLE)


def paragraphs(doc):
    return [plain(part) for part in re.split(r"\n\s*\n", doc.description or "") if part.strip()]


# The command line


def default_of(argument):
    shown, value = argument.parameter.show_default, argument.field_info.default
    if callable(shown):
        return str(shown(value))
    return "" if shown is False or value is False or value in (None, inspect.Parameter.empty) else str(value)


def commands() -> Iterator[str]:
    """A section for each verb: what it does, and a table of its options."""
    for verb in cli.VERBS:
        app = cli.app[verb]
        yield f"## {verb}\n"
        for part in paragraphs(google(app.default_command)):
            before, example, command = part.partition("Example: ")
            yield f"```sh\n{command}\n```\n" if example and not before else f"{part}\n"
        yield "| option | default | meaning |\n|---|---|---|"
        for argument in app.assemble_argument_collection(parse_docstring=True):
            if argument.show:
                names = ", ".join(f"`{name}`" for name in argument.names)
                yield f"| {names} | {default_of(argument)} | {plain(argument.parameter.help)} |"
        yield ""


# Recipes


def settings(kind, prefix="") -> Iterator[tuple[str, str, str]]:
    """(dotted key, default, meaning) of every setting of a dataclass, those of tables inside after their own row."""
    meanings = {one.arg_name: one.description for one in google(kind).params}
    for field in fields(kind):
        value = field.default_factory() if field.default_factory is not MISSING else field.default
        key = f"{prefix}{field.name}"
        if is_dataclass(value):
            yield key, "", meanings[field.name]
            yield from settings(type(value), f"{key}.")
        else:
            yield key, written(value), meanings[field.name]


def written(value):
    """A value as YAML has it."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(written, value))}]"
    return str(value) if value != "" else '""'


def flat(mapping, prefix="") -> Iterator[tuple[str, str]]:
    for key, value in mapping.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", written(value)


def recipe_tables() -> Iterator[str]:
    """All settings, and in which the packaged recipes differ."""
    from genser.training.recipe import TrainConfig, load_recipe, recipes

    yield "## All settings\n"
    yield "| setting | default | meaning |\n|---|---|---|"
    for key, default, meaning in settings(TrainConfig):
        yield f"| `{key}` | {default} | {plain(meaning)} |"
    names = recipes()
    values = {name: dict(flat(to_mapping(load_recipe(name)))) for name in names}
    yield f"\n## What the packaged recipes set\n\n| setting | {' | '.join(names)} |\n|---|{'---|' * len(names)}"
    keys = list(dict.fromkeys(key for one in values.values() for key in one))
    for key in keys:
        row = [one.get(key, "") for one in values.values()]
        if len(set(row)) > 1:
            yield f"| `{key}` | {' | '.join(row)} |"


# Python


def signature(thing):
    chosen = inspect.signature(thing).parameters.values()
    bare = [one.replace(annotation=inspect.Parameter.empty) for one in chosen if one.name not in ("self", "cls")]
    return str(inspect.Signature(bare))


def entry(name, thing, level) -> Iterator[str]:
    """Heading, description, arguments, result and errors of a function or a method."""
    doc = google(thing)
    yield f"{'#' * level} {name}\n"
    if not isinstance(thing, property):
        yield f"```text\n{name}{signature(thing)}\n```\n"
    yield from (f"{part}\n" for part in paragraphs(doc))
    yield from (f"- `{one.arg_name}`: {plain(one.description)}" for one in doc.params)
    if doc.returns and doc.returns.description:
        yield f"\nReturns: {plain(doc.returns.description)}"
    yield from (f"\nRaises `{one.type_name}`: {plain(one.description)}" for one in doc.raises)
    yield ""


def public() -> Iterator[str]:
    """The names that most programs need, each class with its public methods."""
    for thing in PUBLIC:
        module = "genser" if thing in (genser.load, genser.Recognizer) else thing.__module__
        yield from entry(f"{module}.{thing.__name__}", thing, 2)
        if inspect.isclass(thing):
            own = [base for base in thing.__mro__ if base.__module__.startswith("genser.")]
            for name, member in {name: member for base in reversed(own) for name, member in vars(base).items()}.items():
                member = getattr(member, "__func__", member)
                if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
                    yield from entry(f"{thing.__name__}.{name}", member, 3)


PAGES = {"cli.md": commands, "recipes.md": recipe_tables, "api.md": public}


def renewed(page):
    """The page with what is made between its two marks renewed."""
    text = (DOCS / page).read_text("utf-8")
    before, _, rest = text.partition(START)
    made = re.sub(r"\n{3,}", "\n\n", "\n".join(PAGES[page]()))
    return f"{before}{START}\n\n{made.strip()}\n\n{END}{rest.partition(END)[2]}"


@pytest.mark.parametrize("page", PAGES)
def test_a_reference_is_current(page):
    pytest.importorskip("torch")
    assert (DOCS / page).read_text("utf-8") == renewed(page), "To renew it: python tests/test_reference.py"


if __name__ == "__main__":
    for page in PAGES:
        (DOCS / page).write_text(renewed(page), "utf-8")
