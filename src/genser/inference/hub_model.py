"""Recognisers on the Hugging Face hub: fetched, saved as a repository with its card, and uploaded."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self

from genser.errors import ModelError
from genser.files import atomic_file, atomic_write
from genser.hub import PREFIX, download, import_hub, pinned_name
from genser.inference.hub_card import hub_card

if TYPE_CHECKING:
    from genser.inference.backend import Backend

ONNX_FILE, CONFIG, CARD = "model.onnx", "config.json", "card.md"
FOLDER_FILES = (
    "head.safetensors",
    "gate.safetensors",
    "gender.safetensors",
    "encoder.safetensors",
    CARD,
    CONFIG,
)
"""Files of a model folder; the configuration is last, so that a copy that was stopped does not load."""

PATTERNS = ["*.onnx", *FOLDER_FILES]
"""The files of a model in a repository."""


def fetch(name: str, *, local_files_only: bool = False) -> Path:
    """File or folder of a model on the hub, in the cache of huggingface_hub.

    Args:
        name: ``hf:owner/name``, or ``hf:owner/name@revision`` with a branch, a tag or a commit.
        local_files_only: Whether the cache alone is read.

    Raises:
        ModelError: The model cannot be had, or the repository is not one of genser.
        MissingExtraError: huggingface_hub is not installed.
    """
    repository, at, revision = name.removeprefix(PREFIX).partition("@")
    if repository.count("/") != 1 or (at and not revision):
        raise ModelError(f"{name!r} is not a model on the hub. Write hf:owner/name or hf:owner/name@revision.")
    folder = download(repository, revision or None, PATTERNS, local_files_only=local_files_only)
    found = model_in(folder)
    if found is None:
        raise ModelError(f"{name} has no model of genser, which is one ONNX file or a model folder. Check the name.")
    return found


def model_in(folder: Path) -> Path | None:
    """The model in a folder: the folder itself if it is one, else its one ONNX file; None if there is neither."""
    if (folder / CONFIG).is_file():
        return folder
    files = list(folder.glob("*.onnx"))
    return files[0] if len(files) == 1 else None


class HubModel:
    """What a recogniser has in common with other models on the hub."""

    _backend: "Backend"

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Metadata of the model."""
        raise NotImplementedError

    @property
    def pinned(self) -> str | None:
        """``hf:owner/name@COMMIT`` if the model is from the hub, which always loads the same model; else None."""
        return pinned_name(self._backend.path) if self._backend.path else None

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        revision: str | None = None,
        local_files_only: bool = False,
        **options: Any,
    ) -> Self:
        """Load a model from the hub, or from a folder of :meth:`save_pretrained`.

        Args:
            name: ``owner/name`` on the hub, or a local file or folder.
            revision: Branch, tag or commit; None means the newest of ``main``.
            local_files_only: Whether only the cache is read, as with the environment variable ``HF_HUB_OFFLINE``.
            **options: As for :func:`genser.load`.

        Raises:
            ModelError: There is no such model, or it was damaged: its checksum differs.
            MissingExtraError: The hub needs the extra [hub], and a model folder [train].
        """
        from genser.inference.load import load

        path = Path(name)
        if not path.exists():
            known = os.fspath(name).removeprefix(PREFIX) + (f"@{revision}" if revision else "")
            path = fetch(known, local_files_only=local_files_only)
        return load(path, **options)  # type: ignore[return-value]

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the model and its card as a folder that is a repository of the hub.

        The card, ``README.md``, begins with metadata in YAML: licence, languages, classes and measured scores with
        their intervals. Chosen classes, their shares and a profile are not part of the model.

        Args:
            folder: Created if it does not exist. Files of an earlier model there are replaced or removed.

        Raises:
            ModelError: The recogniser is not from a file or folder, or the folder holds an ONNX file of another name.
            MissingExtraError: It needs the extra [hub].
        """
        path, target = self._path(), Path(folder)
        card = path / CARD
        metadata = dict(self.metadata)
        if card.is_file():
            metadata["card"] = card.read_text("utf-8")
        text = hub_card(metadata)
        target.mkdir(parents=True, exist_ok=True)
        names = [ONNX_FILE] if path.is_file() else [name for name in FOLDER_FILES if (path / name).is_file()]
        files = {name: path if path.is_file() else path / name for name in names}
        if path.is_file() and (others := sorted({one.name for one in target.glob("*.onnx")} - {ONNX_FILE})):
            raise ModelError(f"{target} holds another model, {others[0]}. Choose another folder, or remove it.")
        for name in reversed([ONNX_FILE, *FOLDER_FILES]):  # the configuration of an earlier model goes first
            if name not in files:
                (target / name).unlink(missing_ok=True)
        for name, source in files.items():
            if not (target / name).exists() or not source.samefile(target / name):
                with source.open("rb") as original, atomic_file(target / name) as copy:
                    shutil.copyfileobj(original, copy)
        atomic_write(target / "README.md", text.encode())

    def push_to_hub(self, name: str, *, private: bool = False, message: str = "Upload a model of genser") -> str:
        """Upload the model and its card; the repository is created if it does not exist.

        huggingface_hub takes the token from ``HF_TOKEN`` or from its own login.

        Args:
            name: ``owner/name``.
            private: Whether a new repository is private.
            message: Of the commit.

        Returns:
            ``hf:owner/name@COMMIT``, for :func:`genser.load`.

        Raises:
            ModelError: The recogniser is not from a file or folder, or its encoder lies elsewhere on this machine.
            MissingExtraError: It needs the extra [hub].
        """
        path = self._path()
        if path.is_dir():
            source = json.loads((path / CONFIG).read_bytes())["encoder"]["source"]
            if source and Path(source).is_absolute():
                raise ModelError(
                    f"{path} needs the encoder {source}, which others do not have. Export the model, and upload the "
                    "ONNX file, which contains its encoder."
                )
        api = import_hub("Uploading a model").HfApi()
        with TemporaryDirectory(prefix="genser-") as folder:
            self.save_pretrained(folder)
            api.create_repo(name, private=private, exist_ok=True)
            commit = api.upload_folder(  # no file of an earlier model may stay beside the new ones
                repo_id=name, folder_path=folder, commit_message=message, delete_patterns=PATTERNS
            )
        return f"{PREFIX}{name}@{commit.oid}"

    def _path(self) -> Path:
        if self._backend.path is None:
            raise ModelError("This model is not from a file or folder. Save it, and use genser.load.")
        return self._backend.path
