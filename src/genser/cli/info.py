"""``genser info``: what is installed, and what a model tells of itself."""

import sys
from json import dumps
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

EXTRAS = {
    "train": (
        "torch",
        "transformers",
        "safetensors",
        "jaxtyping",
        "yaml",
        "sklearn",
        "matplotlib",
        "onnx",
        "onnxscript",
    ),
    "parquet": ("pyarrow",),
    "media": ("av",),
    "live": ("sounddevice",),
    "plot": ("matplotlib",),
    "hub": ("huggingface_hub",),
    "serve": ("fastapi", "uvicorn", "prometheus_client", "python_multipart", "websockets"),
}
Flag = Annotated[bool, Parameter(negative="", show_default=False)]
BASE = ("numpy", "soundfile", "soxr", "onnxruntime", "cyclopts", "rich")


def info(model: str | None = None, *, card: Flag = False, json: Flag = False) -> int:
    """Tell what is installed, and which model it is: labels, licence, training data and scores.

    Args:
        model: "base" (default) or "tiny", an ONNX file, or a model folder.
        card: Print the model card in Markdown.
        json: Print JSON.

    Returns:
        0.
    """
    from genser.inference.load import find_model
    from genser.inference.model_info import card_of, summary_of

    known = describe_model(find_model(model)) if model or card else _bundled()
    installed = None if model else installation()
    if card:
        print(card_of(known))
    elif json:
        print(dumps({"installation": installed, "model": known}, ensure_ascii=False, indent=2))
    else:
        print("\n\n".join(filter(None, (installed and _installed_text(installed), known and summary_of(known)))))
    return 0


def describe_model(path: Path) -> dict[str, Any]:
    """What a model file or folder tells of itself, without running it.

    Raises:
        ModelError: It cannot be read.
    """
    if not path.is_dir():
        from genser.inference.onnx_file import read_metadata

        return {"file": str(path), **read_metadata(path)}
    from genser.cli._extras import training_extra

    with training_extra("Reading a model folder"):
        from genser.model.folder import load_model
    return {"file": str(path), **load_model(path).description}


def installation() -> dict[str, Any]:
    """Versions of genser, Python and the base, and which extras are complete."""
    from importlib.metadata import version
    from importlib.util import find_spec
    from platform import platform, python_version

    from genser._version import __version__

    return {
        "genser": __version__,
        "python": python_version(),
        "platform": platform(),
        "base": {name: version(name) for name in BASE},
        "extras": {extra: all(map(find_spec, modules)) for extra, modules in EXTRAS.items()},
    }


def _bundled() -> dict[str, Any] | None:
    from genser.errors import ModelError
    from genser.inference.load import find_model

    try:
        path = find_model()
    except ModelError as error:
        print(f"genser: {error}", file=sys.stderr)
        return None
    return describe_model(path)


def _installed_text(installed: dict[str, Any]) -> str:
    base = ", ".join(f"{name} {version}" for name, version in installed["base"].items())
    extras = (f"[{name}] {'yes' if there else 'no'}" for name, there in installed["extras"].items())
    return (
        f"genser {installed['genser']} on Python {installed['python']}, {installed['platform']}\n"
        f"base    {base}\nextras  {', '.join(extras)}"
    )
