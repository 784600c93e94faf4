"""``genser info``: what is installed, and the metadata of a model."""

import re
from json import dumps
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from genser.cli._notes import note

Flag = Annotated[bool, Parameter(negative="", show_default=False)]
REQUIREMENT = re.compile(r"([\w.-]+)[^;]*(?:;.*\bextra == ['\"]([\w-]+)['\"])?")
FOR_DEVELOPERS = ("all", "dev")


def info(model: str | None = None, *, card: Flag = False, json: Flag = False) -> int:
    """Show what is installed, and a model's labels, licence, training data and scores.

    Example: genser info --card

    Args:
        model: "base" (default) or "tiny", an ONNX file, a model folder, or "hf:owner/name".
        card: Print the model card in Markdown.
        json: Print JSON.

    Returns:
        0.
    """
    from genser.errors import ModelError
    from genser.inference.load import find_model
    from genser.inference.model_info import card_of, summary_of

    if card:
        print(card_of(describe_model(find_model(model))))
        return 0
    known = None
    try:
        known = describe_model(find_model(model))
    except ModelError as error:
        if model:
            raise
        note(f"genser: {error}")  # an installation without models still has versions to show
    installed = None if model else installation()
    if json:
        print(dumps({"installation": installed, "model": known}, ensure_ascii=False, indent=2))
        return 0
    parts = [_installed_text(installed)] if installed else []
    print("\n\n".join([*parts, summary_of(known)] if known else parts))
    return 0


def describe_model(path: Path) -> dict[str, Any]:
    """Metadata of a model file or folder, without running it.

    Raises:
        ModelError: The model cannot be read.
    """
    if not path.is_dir():
        from genser.inference.onnx_file import read_metadata

        return {"file": str(path), **read_metadata(path)}
    from genser.cli._extras import training_extra

    with training_extra("Reading a model folder"):
        from genser.model.folder import load_model
    return {"file": str(path), **load_model(path).description}


def installation() -> dict[str, Any]:
    """Versions of genser, Python and the required packages, and whether each extra is complete.

    The packages of each extra come from the metadata of the installed genser.
    """
    from importlib.metadata import PackageNotFoundError, requires, version
    from platform import platform, python_version

    from genser._version import __version__

    versions: dict[str, dict[str, str | None]] = {}
    try:
        requirements = requires("genser") or []
    except PackageNotFoundError:  # genser runs from its sources
        requirements = []
    for requirement in requirements:
        matched = REQUIREMENT.match(requirement)
        if matched is None:
            continue
        package, extra = matched.groups()
        try:
            found = version(package)
        except PackageNotFoundError:
            found = None
        versions.setdefault(extra or "", {})[package] = found
    return {
        "genser": __version__,
        "python": python_version(),
        "platform": platform(),
        "base": versions.pop("", {}),
        "extras": {
            extra: None not in packages.values() for extra, packages in versions.items() if extra not in FOR_DEVELOPERS
        },
    }


def _installed_text(installed: dict[str, Any]) -> str:
    base = ", ".join(f"{name} {version}" for name, version in installed["base"].items())
    extras = (f"[{name}] {'yes' if is_complete else 'no'}" for name, is_complete in installed["extras"].items())
    return (
        f"genser {installed['genser']} on Python {installed['python']}, {installed['platform']}\n"
        f"base    {base}\nextras  {', '.join(extras)}"
    )
