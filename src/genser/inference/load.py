"""Loads a recogniser from a name, a file or a folder."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from genser.errors import MissingExtraError, ModelError
from genser.files import expanded, file_hash, is_file, is_folder, usable_cores
from genser.hub import PREFIX
from genser.inference.backend import Backend
from genser.inference.class_prior import Classes, ClassPrior, Shares
from genser.inference.hub_model import fetch, model_in
from genser.inference.onnx_backend import OnnxBackend
from genser.inference.profile import Profile
from genser.inference.recognizer import Recognizer
from genser.inference.second_task import for_task

if TYPE_CHECKING:
    from genser.inference.torch_backend import TorchBackend

BUNDLED = ("base", "tiny")
MODELS = Path(__file__).parents[1] / "models"
MOST_DECODERS = {"cpu": 4, "gpu": 16}
"""Threads that decode ahead of a model at most: on the CPU they would take cores from it."""
TORCH_PARTS = ("torch", "jaxtyping", "safetensors", "transformers")


def load(
    model: str | os.PathLike[str] | None = None,
    *,
    task: str | None = None,
    threads: int | None = None,
    device: str = "cpu",
    shared: bool = False,
    encoder: str | None = None,
    classes: Classes = None,
    prior: Shares = None,
    profile: Profile | str | os.PathLike[str] | None = None,
) -> Recognizer:
    """Load a model.

    Args:
        model: ``"base"`` or ``"tiny"`` for a bundled model, an ONNX file, a model folder, which needs the extra
            [train], or ``hf:owner/name`` or ``hf:owner/name@revision`` for a model on the Hugging Face hub, which needs
            [hub]. None means ``"base"``.
        task: ``"emotion"``, or ``"gender"``: the gender of the voice as the corpora of the model label it; None means
            what the model was trained for first.
        threads: Threads within one operator; None means one per usable core.
        device: ``"cpu"``, a GPU such as ``"cuda"`` or ``"cuda:1"``, which needs the extra [train], or ``"auto"``: the
            GPU if torch is installed and sees one, else the CPU.
        shared: Whether several threads call it at once, as in a server; see
            :class:`genser.inference.onnx_backend.OnnxBackend`.
        encoder: Present source of the encoder of a model folder, if it was moved: ``kind:path``, a path, or a hub id.
        classes: Classes that can occur in the recordings, also as text: ``"anger,neutral"``; all if omitted.
        prior: Class → share in the recordings, also as text: ``"anger=0.2,neutral=0.8"``; equal shares if omitted.
        profile: Adapts the model to recordings from elsewhere: a :class:`genser.inference.profile.Profile`, or the
            file of one.

    Returns:
        A recogniser that may be used from several threads.

    Raises:
        ModelError: The model is missing, was changed, was not made by genser or has an unknown format.
        MissingExtraError: A model folder or a GPU needs torch, which is not installed.
        ConfigError: A class is unknown, a share is missing or not positive, the model was not trained for the task, the
            profile is not one of this model and task, or the device cannot be used.
    """
    found = Profile.load(profile) if isinstance(profile, str | os.PathLike) else profile
    device = found_device(device)
    backend = _backend(find_model(model), threads, device, shared, encoder)
    backend = backend if task is None else for_task(backend, task)
    workers = min(usable_cores(), MOST_DECODERS["cpu" if device == "cpu" else "gpu"])
    return Recognizer(backend, prior=ClassPrior.of(backend.labels, classes, prior), profile=found, decoders=workers)


def found_device(device: str) -> str:
    """The device that ``"auto"`` stands for, else the device itself."""
    if device != "auto":
        return device
    try:
        from genser.encoders.load import best_device
    except ModuleNotFoundError:  # without the extra [train]
        return "cpu"
    return best_device()


def _backend(path: Path, threads: int | None, device: str, shared: bool, encoder: str | None) -> Backend:
    if encoder and not path.is_dir():
        raise ModelError(
            f"{path} is an ONNX file, which contains its encoder. Omit the encoder, or name a model folder."
        )
    if path.is_dir() or device != "cpu":
        return torch_backend(path, threads, device, encoder)
    return OnnxBackend(path, threads, shared=shared)


def find_model(model: str | os.PathLike[str] | None = None) -> Path:
    """Find the file or folder of a model; one on the hub is downloaded, unless it is in the cache.

    Raises:
        ModelError: There is no such model.
        MissingExtraError: A model on the hub needs the extra [hub].
    """
    name = os.fspath(model or BUNDLED[0])
    if name.startswith(PREFIX) and not is_file(name) and not is_folder(name):
        return fetch(name)
    path = MODELS / f"{name}.onnx" if name in BUNDLED else expanded(name)
    if is_folder(path):
        return model_in(path) or path
    if is_file(path):
        return path
    if name in BUNDLED:
        raise ModelError(
            f"The model {name!r} is not part of this installation ({path} does not exist). "
            "Reinstall genser from its wheel, or name an ONNX file or a model folder."
        )
    raise ModelError(
        f"There is no model {name!r}: neither a bundled model ({', '.join(BUNDLED)}) nor a file or folder. "
        "Check the path; a model on the Hugging Face hub is hf:owner/name."
    )


def model_hash(path: Path) -> str:
    """SHA-256 of a model: of its file, or of the configuration of its folder, which holds all others.

    Raises:
        OSError: It cannot be read.
    """
    return file_hash(path / "config.json" if path.is_dir() else path)


def torch_backend(
    path: Path, threads: int | None, device: str, encoder: str | None, *, purpose: str | None = None
) -> "TorchBackend":
    """Open a model folder or an ONNX file with torch, see :func:`genser.inference.torch_backend.load_backend`.

    Args:
        path: The folder or file.
        threads: Threads of torch.
        device: Such as ``"cuda"``.
        encoder: Present source of the encoder of a folder.
        purpose: What needs torch, as the start of a sentence.

    Raises:
        MissingExtraError: torch is not installed.
    """
    try:
        from genser.inference.torch_backend import load_backend
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in TORCH_PARTS:
            raise
        what = f"the model folder {path}" if path.is_dir() else f"{path} on {device}"
        raise MissingExtraError("train", purpose or f"Running {what}") from error
    return load_backend(path, threads=threads, device=device, encoder=encoder)
