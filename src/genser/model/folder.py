"""A trained model as a folder of safetensors and JSON.

``config.json`` holds a checksum of every other file and of itself, so that changed, exchanged and missing files are
refused. Pickles are never read.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from genser._version import __version__
from genser.config import build, plain_array, to_mapping
from genser.encoders import KINDS, EncoderConfig, SpeechEncoder, load_encoder, named_encoder
from genser.errors import ConfigError, ModelError, cause
from genser.files import atomic_write, expanded, is_file, is_folder
from genser.model.format_1 import present_config, present_tensors
from genser.model.head import Head, HeadConfig
from genser.model.heads import make_head
from genser.model.speech_gate import SpeechGate
from genser.model.speech_model import SpeechModel, check_encoder

FORMAT = 2
CONFIG, HEAD, GATE, GENDER = "config.json", "head.safetensors", "gate.safetensors", "gender.safetensors"
ENCODER = "encoder.safetensors"
CARD = "card.md"
"""Name of the model card in a model folder; an export puts it into the ONNX file."""
ENTRIES = {"files", "head", "encoder", "gate", "fingerprint", "info", "license"}
"""What the configuration of every format has."""

WEIGHT_ENDINGS = {".safetensors", ".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".npy", ".npz"}


@dataclass(frozen=True)
class ModelFolder:
    """The contents of a model folder, without the weights of an encoder that lies elsewhere.

    Attributes:
        folder: Path of the folder.
        head: The head, in evaluation mode.
        encoder: The encoder that it needs.
        fingerprint: Hash of that encoder's weights and settings.
        info: How the model was made: recipe, data, scores; JSON values.
        license: Terms of the weights.
        gate: The speech gate, if there is one.
        gender: The head for the gender, if there is one, in evaluation mode.
    """

    folder: Path
    head: Head
    encoder: EncoderConfig
    fingerprint: str
    info: Mapping[str, Any] = field(default_factory=dict)
    license: str = ""
    gate: SpeechGate | None = None
    gender: Head | None = None

    @property
    def description(self) -> dict[str, Any]:
        """Metadata of the model as JSON values; of the path of the encoder only the last part."""
        encoder = to_mapping(self.encoder)
        return {
            "labels": list(self.head.config.labels),
            "encoder": {**encoder, "source": self.encoder.source and Path(self.encoder.source).name},
            "fingerprint": self.fingerprint,
            "mean": plain_array(self.head.feature_transform.mean.numpy()),
            "head": to_mapping(self.head.config),
            "speech_threshold": self.gate.threshold if self.gate else None,
            "genders": list(self.gender.config.labels) if self.gender else None,
            "license": self.license,
            "info": dict(self.info),
        }


def save_model(
    folder: Path,
    head: Head,
    encoder: EncoderConfig,
    fingerprint: str,
    info: Mapping[str, Any] | None = None,
    *,
    license: str = "",
    gate: SpeechGate | None = None,
    gender: Head | None = None,
    embed: SpeechEncoder | None = None,
) -> None:
    """Write a model folder. The configuration is written last, so that an interrupted run leaves no folder that loads.

    Args:
        folder: Created if it does not exist.
        head: The trained head.
        encoder: Its encoder; a local path is stored as an absolute one.
        fingerprint: Hash of the encoder's weights and settings.
        info: How the model was made; JSON values.
        license: Terms of the weights.
        gate: A speech gate.
        gender: A head for the gender.
        embed: An encoder whose weights are stored in the folder, which then needs no other file.

    Raises:
        ModelError: An encoder of another kind is to be embedded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    contents = {HEAD: _bytes_of(head)}
    if gate is not None:
        contents[GATE] = _bytes_of(gate)
    if gender is not None:
        contents[GENDER] = _bytes_of(gender)
    if embed is not None:
        contents[ENCODER] = _encoder_bytes(embed, encoder)
        encoder = replace(encoder, source=ENCODER, revision=None)
    elif encoder.source and (is_file(path := expanded(encoder.source)) or is_folder(path)):
        encoder = replace(encoder, source=str(path.resolve()))
    config = {
        "format": FORMAT,
        "genser": __version__,
        "labels": list(head.config.labels),
        "encoder": to_mapping(encoder),
        "fingerprint": fingerprint,
        "head": to_mapping(head.config),
        "gate": None if gate is None else {"threshold": gate.threshold},
        "gender": None if gender is None else to_mapping(gender.config),
        "info": dict(info or {}),
        "license": license,
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    }
    for name in (CONFIG, *({GATE, GENDER} - contents.keys())):  # of an earlier model in this folder
        (folder / name).unlink(missing_ok=True)
    for name, content in contents.items():
        atomic_write(folder / name, content)
    text = json.dumps({**config, "checksum": _checksum(config)}, indent=2, ensure_ascii=False)
    atomic_write(folder / CONFIG, text.encode())


def load_model(folder: Path) -> ModelFolder:
    """Read a model folder of format 2 or 1, without its encoder.

    Raises:
        ModelError: A file is missing, was changed or does not belong to the model, or the format is unknown.
    """
    config = _read_config(folder)
    contents = _read_files(folder, config["files"])
    try:
        settings, tensors = config["head"], load_tensors(contents[HEAD])
        if config["format"] == 1:
            settings, tensors = present_config(settings), present_tensors(tensors)
        head = _head(settings, tensors, folder)
        encoder = build(EncoderConfig, config["encoder"], str(folder / CONFIG))
        gate, given = _gate(config, contents), config.get("gender")
        gender = _head(given, load_tensors(contents[GENDER]), folder) if given else None
    except (ConfigError, SafetensorError, RuntimeError, KeyError, TypeError) as error:
        raise ModelError(f"{folder} cannot be read by this genser, {__version__}: {error}") from error
    if encoder.source == ENCODER and ENCODER in contents:
        encoder = replace(encoder, source=str((folder / ENCODER).absolute()))
    known = config["fingerprint"], config["info"], config["license"]
    return ModelFolder(folder, head, encoder, *known, gate, gender)


def load_speech_model(
    model: ModelFolder, encoder: EncoderConfig | str | None = None, device: str = "cpu"
) -> SpeechModel:
    """Join the head of a model folder with its encoder.

    Args:
        model: From :func:`load_model`.
        encoder: Present source of the encoder, if it was moved: a configuration, or a name as in
            :func:`genser.encoders.named_encoder`, which keeps the pooling of the model.
        device: Device of both, such as ``"cpu"``.

    Raises:
        ModelError: The encoder cannot be loaded, or is another one.
    """
    config = named_encoder(encoder, model.encoder) if isinstance(encoder, str) else encoder or model.encoder
    try:
        network = load_encoder(config, device)
    except ModelError as error:
        raise ModelError(
            f"{model.folder} needs its encoder {config.kind}:{config.source}, which cannot be loaded: {error} "
            "Put it back, or name its present path (option --encoder)."
        ) from error
    check_encoder(network, model.fingerprint, str(model.folder))
    return SpeechModel(network, model.head, model.gate, model.gender).to(device).eval().requires_grad_(False)


def _bytes_of(module: torch.nn.Module) -> bytes:
    return save_tensors({name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()})


def _encoder_bytes(encoder: SpeechEncoder, config: EncoderConfig) -> bytes:
    """Tensors of an encoder, in half precision if that loses nothing."""
    inner = getattr(encoder, "encoder", encoder)
    if not KINDS[config.kind].embeds:
        able = ", ".join(name for name, kind in KINDS.items() if kind.embeds)
        raise ModelError(f"A model folder cannot contain an encoder of kind {config.kind!r}, only one of {able}.")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in inner.state_dict().items()}
    halves = {name: tensor.half() for name, tensor in tensors.items()}
    lossless = all(torch.equal(halves[name].float(), tensor) for name, tensor in tensors.items())
    return save_tensors(halves if lossless else tensors, inner.file_metadata or None)


def _checksum(config: Mapping[str, Any]) -> str:
    plain = {key: value for key, value in config.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():  # a FIFO or a device could be read without end
        raise ModelError(f"{folder} is not a model folder: it has no {CONFIG}. Check the path.")
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read: {cause(error)}. Copy the model folder again.") from error
    foreign = ModelError(f"{path} is not the configuration of a genser model. Name a folder written by genser train.")
    if not isinstance(config, dict) or "format" not in config:
        raise foreign
    if config["format"] not in (1, FORMAT):
        raise ModelError(
            f"{folder} was written by genser {config.get('genser')} in format {config['format']}. This is genser "
            f"{__version__}, which reads formats 1 and {FORMAT}. Use that version of genser, or train the model again."
        )
    if config.get("checksum") != _checksum(config):
        raise ModelError(f"{path} was changed: its checksum differs. Copy the model folder again.")
    if not config.keys() >= ENTRIES or not _is_list_of_files(config["files"]):
        raise foreign
    return config


def _is_list_of_files(checksums: Any) -> bool:
    """Whether these are checksums of files of a model folder, the head among them, and of nothing elsewhere."""
    return isinstance(checksums, dict) and HEAD in checksums and checksums.keys() <= {HEAD, GATE, GENDER, ENCODER}


def _read_files(folder: Path, checksums: Mapping[str, str]) -> dict[str, bytes]:
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in WEIGHT_ENDINGS and path.name not in checksums:
            raise ModelError(
                f"{path} does not belong to the model in this folder. Remove it, or copy the model folder again."
            )
    contents = {}
    for name, checksum in checksums.items():
        if not (folder / name).is_file():  # a FIFO or a device could be read without end
            raise ModelError(f"{folder / name} is missing or is not a file. Copy the model folder again.")
        try:
            contents[name] = (folder / name).read_bytes()
        except OSError as error:
            raise ModelError(f"{folder / name} cannot be read: {cause(error)}. Copy it again.") from error
        if hashlib.sha256(contents[name]).hexdigest() != checksum:
            raise ModelError(f"{folder / name} was changed: its checksum differs. Copy the model folder again.")
    return contents


def _head(settings: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], folder: Path) -> Head:
    with torch.random.fork_rng():
        head = make_head(build(HeadConfig, settings, str(folder / CONFIG)))
    head.load_state_dict(tensors)
    return head.eval()


def _gate(config: Mapping[str, Any], contents: Mapping[str, bytes]) -> SpeechGate | None:
    if config["gate"] is None:
        return None
    tensors = load_tensors(contents[GATE])
    gate = SpeechGate(*tensors["weight"].shape, threshold=config["gate"]["threshold"])
    gate.load_state_dict(tensors)
    return gate.eval()
