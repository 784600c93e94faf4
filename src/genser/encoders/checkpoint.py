"""Finds and reads the weights of encoders: local files first, then the hub; safetensors only."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from genser.errors import ModelError, cause
from genser.files import atomic_write, expanded, is_folder
from genser.hub import download

SETTINGS_FILES = ("config.json", "preprocessor_config.json", "processor_config.json")
WEIGHTS_FILE = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
WEIGHTS_PATTERNS = (WEIGHTS_FILE, WEIGHTS_INDEX, "model-*.safetensors")  # and not the same weights in another precision
PICKLE_FILE = "pytorch_model.bin"


def find_folder(source: str, revision: str | None = None, weights: Sequence[str] = WEIGHTS_PATTERNS) -> Path:
    """Return the folder of a checkpoint: a local one, or that of a hub id in the cache, downloaded if needed.

    Args:
        source: Local folder, or hub id, optionally followed by ``@`` and a revision.
        revision: Branch, tag or commit of a hub id.
        weights: Patterns of the weight files to fetch.

    Raises:
        ModelError: It is neither a folder nor a hub id that can be downloaded or is in the cache.
    """
    folder = expanded(source)
    if is_folder(folder):
        return folder
    if revision is None and "@" in source:
        source, _, revision = source.partition("@")
    if source.count("/") > 1 or source.startswith((".", "/", "~")):
        raise ModelError(f"There is no folder {source}. Check the path.")
    return download(source, revision, [*SETTINGS_FILES, *weights])


def read_settings(folder: Path, name: str = "config.json") -> dict:
    """Read one JSON file of a checkpoint.

    Raises:
        ModelError: The file is missing or is not a JSON object.
    """
    try:
        settings = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{folder / name} cannot be read: {cause(error)}. Copy the whole model folder.") from error
    if not isinstance(settings, dict):
        raise ModelError(f"{folder / name} is not a JSON object. Copy the whole model folder.")
    return settings


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a safetensors file, or of a folder with one or several.

    Raises:
        ModelError: A file is missing or damaged, or the weights are a pickle.
    """
    files = [path] if path.is_file() else weight_files(path)
    tensors: dict[str, Tensor] = {}
    for file in files:
        try:
            tensors |= load_file(file)
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{file} cannot be read as safetensors: {error}. Copy it again.") from error
    return tensors


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a checkpoint folder.

    Raises:
        ModelError: There are none. The message explains how to convert a pickle.
    """
    if (folder / WEIGHTS_FILE).is_file():
        return [folder / WEIGHTS_FILE]
    if (folder / WEIGHTS_INDEX).is_file():
        shards = read_settings(folder, WEIGHTS_INDEX).get("weight_map")
        if not isinstance(shards, dict) or not shards or not all(isinstance(name, str) for name in shards.values()):
            raise ModelError(f"{folder / WEIGHTS_INDEX} does not map tensors to files. Copy the whole model folder.")
        return [folder / Path(name).name for name in sorted(set(shards.values()))]
    raise ModelError(
        f"{folder} has no {WEIGHTS_FILE}. If the model has only a {PICKLE_FILE}, convert it once: "
        'python -c "from genser.encoders import convert_checkpoint as c; c(MODEL, FOLDER)", then name FOLDER.'
    )


def convert_checkpoint(source: str, folder: str | Path, revision: str | None = None) -> Path:
    """Convert a checkpoint that is published as a pickle to a folder with safetensors, which genser can load.

    torch reads the pickle with ``weights_only=True``, which makes tensors and runs no code.

    Args:
        source: Local folder or hub id with a ``pytorch_model.bin``, such as TencentGameMate/chinese-hubert-large.
        folder: Output folder; created if missing.
        revision: Branch, tag or commit of a hub id.

    Returns:
        The folder.

    Raises:
        ModelError: There is no such pickle, or it contains more than tensors.
    """
    origin, target = find_folder(source, revision, [PICKLE_FILE]), Path(folder)
    try:
        tensors = torch.load(origin / PICKLE_FILE, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelError(
            f"{origin} has no {PICKLE_FILE}, so there is nothing to convert. Name another model."
        ) from error
    except Exception as error:  # a bad file makes torch raise many kinds of errors
        raise ModelError(
            f"{origin / PICKLE_FILE} is damaged or contains more than tensors, so it is not loaded: {error}"
        ) from error
    if not isinstance(tensors, dict) or not all(isinstance(one, Tensor) for one in tensors.values()):
        raise ModelError(
            f"{origin / PICKLE_FILE} is not a table of tensors by their names, so it is not a checkpoint of "
            "transformers. Name another model."
        )
    target.mkdir(parents=True, exist_ok=True)
    for name in SETTINGS_FILES:
        if (origin / name).is_file():
            shutil.copyfile(origin / name, target / name)
    tensors = {key: tensor.contiguous().clone() for key, tensor in tensors.items()}
    atomic_write(target / WEIGHTS_FILE, save(tensors, metadata={"format": "pt"}))
    return target
