"""Formats the metadata of a model as a few lines or as a model card in Markdown."""

from collections.abc import Mapping
from typing import Any


def summary_of(metadata: Mapping[str, Any]) -> str:
    """Aligned lines with file, labels, encoder, head, training, licence and version."""
    return "\n".join(f"{name:<13}{value}" for name, value in _facts(metadata) if value)


def card_of(metadata: Mapping[str, Any]) -> str:
    """The stored model card, or one made from the metadata if none is stored."""
    if metadata.get("card"):
        return metadata["card"].rstrip()
    facts = "\n".join(f"- **{name.capitalize()}**: {value}" for name, value in _facts(metadata) if value)
    training = "\n".join(f"| {name} | {_plain(value)} |" for name, value in metadata["info"].items())
    table = f"\n\n## How it was made\n\n| | |\n|---|---|\n{training}" if training else ""
    terms = f"\n\n## Licence\n\n{metadata['license']}" if metadata["license"] else ""
    return f"# Speech emotion model\n\n{facts}{table}{terms}"


def _facts(metadata: Mapping[str, Any]) -> list[tuple[str, str]]:
    head, encoder = metadata["head"], metadata["encoder"]
    kind, sampler, threshold = head.get("kind", "transport"), head["sampler"], metadata["speech_threshold"]
    transport = f"{sampler['steps']} steps, {sampler['method']}, read-out {sampler['readout']}"
    version = f"genser {metadata['genser']}" if "genser" in metadata else ""
    return [
        ("model", metadata.get("file", "")),
        ("labels", ", ".join(metadata["labels"])),
        ("encoder", " ".join(str(encoder[key]) for key in ("kind", "source") if encoder.get(key))),
        ("transport", transport) if kind == "transport" else ("head", kind),
        ("speech gate", f"threshold {threshold:g}" if threshold is not None else "none"),
        ("genders", ", ".join(metadata.get("genders") or ())),
        ("precision", metadata.get("precision", "")),
        ("training", _training(metadata["info"])),
        ("scores", _scores(metadata["info"])),
        ("license", metadata["license"].strip().partition("\n")[0]),
        ("made by", version),
    ]


def _training(info: Mapping[str, Any]) -> str:
    parts = [", ".join(info.get("corpora", ()))]
    parts += [f"{info[name]} {name}" for name in ("utterances", "speakers") if info.get(name)]
    return "; ".join(filter(None, parts))


def _scores(info: Mapping[str, Any]) -> str:
    few = " of few clips" if "validation" in info.get("few_clips", ()) else ""
    given = {f"validation UA{few}": info.get("validation_ua"), **(info.get("scores") or {})}
    return ", ".join(f"{name} {_plain(value)}" for name, value in given.items() if value is not None)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(part)}" for name, part in value.items() if part not in (None, {}, []))
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
