"""The card of a model as the hub expects it: metadata in YAML, then Markdown."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from genser.hub import import_hub
from genser.inference.model_info import card_of

TAGS = ("speech-emotion-recognition", "emotion-recognition", "audio", "gen-ser")
LANGUAGES = {
    "Amharic": "am",
    "Bengali": "bn",
    "Chinese": "zh",
    "English": "en",
    "French": "fr",
    "German": "de",
    "Greek": "el",
    "Hindi": "hi",
    "Italian": "it",
    "Japanese": "ja",
    "Korean": "ko",
    "Persian": "fa",
    "Polish": "pl",
    "Russian": "ru",
    "Spanish": "es",
    "Turkish": "tr",
    "Urdu": "ur",
}
"""Languages by name, as cards have them, with their codes in ISO 639-1."""
LICENSE = re.compile(r"(CC BY(?:-NC)?(?:-SA|-ND)? \d\.\d|CC0(?: 1\.0)?|Apache-2\.0|MIT)(?![\w.-])", re.IGNORECASE)
ACCURACY = re.compile(r"(\d+(?:\.\d+)?)(?: \[(\d+(?:\.\d+)?), (\d+(?:\.\d+)?)\])?")
GROUPS = ("held-out speakers", "corpus", "held out")
"""First columns of the tables whose rows are measured scores of the model."""
COLUMNS = ("UA %, 95 % interval", "UA %")


def hub_card(metadata: Mapping[str, Any]) -> str:
    """The card of a model with its metadata in YAML.

    Args:
        metadata: Of the model, with its own card if it has one.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
    """
    hub, info, text = import_hub("The card of a model"), metadata["info"], card_of(metadata)
    named = str(info.get("language") or "")
    languages = [code for name, code in LANGUAGES.items() if re.search(rf"\b{name}\b", named)]
    results = [
        hub.EvalResult(
            task_type="audio-classification",
            task_name="Speech emotion recognition",
            dataset_type=re.sub(r"\W+", "-", group.partition(" (")[0]),
            dataset_name=group,
            dataset_config=section,
            metric_type="recall",
            metric_name="Unweighted average recall (UA), %",
            metric_value=value,
            metric_args={"average": "macro", **({"interval_95": interval} if interval else {})},
        )
        for section, group, value, interval in measured(text)
    ]
    data = hub.ModelCardData(
        language=languages or None,
        library_name="genser",
        pipeline_tag="audio-classification",
        tags=list(TAGS),
        metrics=["recall"] if results else None,
        model_name=str(info.get("name") or "genser") if results else None,
        eval_results=results or None,
        **_license(metadata["license"]),
    )
    return f"---\n{data.to_yaml()}\n---\n\n{text}\n"


def measured(card: str) -> Iterator[tuple[str, str, float, list[float] | None]]:
    """Unweighted accuracies in the tables of a card.

    Yields:
        Heading, name of the group of clips, UA in %, and the ends of its 95 % interval if it has one.
    """
    section, column = "", None
    for line in card.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if line.startswith("#"):
            section = line.lstrip("# ")
        if not cells:
            column = None
        elif cells[0] in GROUPS:
            column = next((cells.index(name) for name in COLUMNS if name in cells), None)
        elif column is not None and column < len(cells) and (match := ACCURACY.fullmatch(cells[column])):
            value, low, high = match.groups()
            yield section, cells[0], float(value), [float(low), float(high)] if low else None


def _license(terms: str) -> dict[str, str]:
    """Licence as the hub names it: an identifier of its list, or "other" with the first line of the terms."""
    if not terms:
        return {}
    if match := LICENSE.match(terms):
        name = match[1].lower().replace(" ", "-")
        return {"license": "cc0-1.0" if name.startswith("cc0") else name}
    return {"license": "other", "license_name": terms.partition("\n")[0]}
