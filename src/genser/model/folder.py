"""A trained model as a folder of safetensors and JSON.

``config.json`` names every other file with its checksum and carries one of itself, so that what was altered, mixed up
or left out is refused. Pickles are never read.
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
from genser.config import build, to_mapping
from genser.encoders import EncoderConfig, SpeechEncoder, load_encoder
from genser.errors import ConfigError, ModelError
from genser.model.head import Head, HeadConfig
from genser.model.heads import make_head
from genser.model.speech_gate import SpeechGate
from genser.model.speech_model import SpeechModel, check_encoder

FORMAT = 1
CONFIG, HEAD, GATE, ENCODER = "config.json", "head.safetensors", "gate.safetensors", "encoder.safetensors"
WEIGHT_ENDINGS = {".safetensors", ".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".npy", ".npz"}


@dataclass(frozen=True)
class ModelFolder:
    """What a model folder holds.

    Attributes:
        folder: Where it is.
        head: The head, in evaluation mode.
        encoder: The encoder that it needs.
        fingerprint: Of that encoder's weights and settings.
        info: How it was made: recipe, data, scores; JSON values.
        license: Terms of the weights.
        gate: The speech gate, if there is one.
    """

    folder: Path
    head: Head
    encoder: EncoderConfig
    fingerprint: str
    info: Mapping[str, Any] = field(default_factory=dict)
    license: str = ""
    gate: SpeechGate | None = None

    @property
    def description(self) -> dict[str, Any]:
        """What the model tells of itself wherever it goes, without the place of its encoder's weights; JSON values."""
        encoder = to_mapping(self.encoder)
        return {
            "labels": list(self.head.config.labels),
            "encoder": {**encoder, "source": self.encoder.source and Path(self.encoder.source).name},
            "fingerprint": self.fingerprint,
            "head": to_mapping(self.head.config),
            "speech_threshold": self.gate.threshold if self.gate else None,
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
    embed: SpeechEncoder | None = None,
) -> None:
    """Write a model folder; the configuration comes last, so that a killed run leaves no folder that loads.

    Args:
        folder: Created if need be.
        head: With the weights to keep.
        encoder: Names the encoder; a local path is kept as an absolute one.
        fingerprint: Of the encoder.
        info: What the model tells of its making; JSON values.
        license: Terms of the weights.
        gate: A speech gate.
        embed: A Whisper encoder whose weights go into the folder, which then needs no other file.

    Raises:
        ModelError: An encoder of another kind is to be embedded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    contents = {HEAD: _bytes_of(head)}
    if gate is not None:
        contents[GATE] = _bytes_of(gate)
    if embed is not None:
        contents[ENCODER] = _encoder_bytes(embed, encoder)
    config = {
        "format": FORMAT,
        "genser": __version__,
        "labels": list(head.config.labels),
        "encoder": to_mapping(_placed(encoder, embed is not None)),
        "fingerprint": fingerprint,
        "head": to_mapping(head.config),
        "gate": None if gate is None else {"threshold": gate.threshold},
        "info": dict(info or {}),
        "license": license,
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    }
    (folder / CONFIG).unlink(missing_ok=True)
    for name, content in contents.items():
        _write(folder / name, content)
    text = json.dumps({**config, "checksum": _checksum(config)}, indent=2, ensure_ascii=False)
    _write(folder / CONFIG, text.encode())


def _placed(encoder: EncoderConfig, is_inside: bool) -> EncoderConfig:
    """Name an encoder so that it is found from any working directory."""
    if is_inside:
        return replace(encoder, source=ENCODER, revision=None)
    if encoder.source and Path(encoder.source).expanduser().exists():
        return replace(encoder, source=str(Path(encoder.source).expanduser().resolve()))
    return encoder


def _write(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    part.replace(path)


def load_model(folder: Path) -> ModelFolder:
    """Read a model folder, all but its encoder.

    Raises:
        ModelError: A file is missing, altered or foreign, or the folder is of another format.
    """
    config = _read_config(folder)
    contents = _read_files(folder, config["files"])
    try:
        with torch.random.fork_rng():
            head = make_head(build(HeadConfig, config["head"], str(folder / CONFIG)))
        head.load_state_dict(load_tensors(contents[HEAD]))
        encoder = build(EncoderConfig, config["encoder"], str(folder / CONFIG))
        gate = _gate(config, contents)
    except (ConfigError, SafetensorError, RuntimeError, KeyError) as error:
        raise ModelError(f"{folder} does not fit this genser, {__version__}: {error}") from error
    if encoder.source == ENCODER and ENCODER in contents:
        encoder = replace(encoder, source=str((folder / ENCODER).resolve()))
    return ModelFolder(folder, head.eval(), encoder, config["fingerprint"], config["info"], config["license"], gate)


def load_speech_model(model: ModelFolder, encoder: EncoderConfig | None = None, device: str = "cpu") -> SpeechModel:
    """Join a model folder's head with its encoder.

    Args:
        model: From `load_model`.
        encoder: Where the encoder is now, if not where it was.
        device: Where to put both.

    Raises:
        ModelError: The encoder cannot be found, or is another one.
    """
    config = encoder or model.encoder
    try:
        network = load_encoder(config, device)
    except ModelError as error:
        raise ModelError(
            f"{model.folder} needs its encoder {config.kind}:{config.source}, which cannot be loaded: {error} "
            "Put it back, or name where it is now (option --encoder)."
        ) from error
    check_encoder(network, model.fingerprint, str(model.folder))
    return SpeechModel(network, model.head, model.gate).to(device).eval().requires_grad_(False)


def _bytes_of(module: torch.nn.Module) -> bytes:
    return save_tensors({name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()})


def _encoder_bytes(encoder: SpeechEncoder, config: EncoderConfig) -> bytes:
    """Whisper's tensors, in half precision where that loses nothing."""
    inner = getattr(encoder, "encoder", encoder)
    if config.kind != "whisper":
        raise ModelError(f"An encoder of kind {config.kind!r} cannot be put into a model folder; only Whisper's can.")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in inner.state_dict().items()}
    halves = {name: tensor.half() for name, tensor in tensors.items()}
    lossless = all(torch.equal(halves[name].float(), tensor) for name, tensor in tensors.items())
    return save_tensors(halves if lossless else tensors)


def _checksum(config: Mapping[str, Any]) -> str:
    plain = {key: value for key, value in config.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        config = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ModelError(f"{folder} is no model folder: it has no {CONFIG}. Check the path.") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}. Copy the model folder again.") from error
    if not isinstance(config, dict) or not {"format", "files", "head"} <= config.keys():
        raise ModelError(f"{path} is not the configuration of a genser model. Name a folder that genser train made.")
    if config["format"] != FORMAT:
        raise ModelError(
            f"{folder} was made by genser {config.get('genser')} in format {config['format']}; this is genser "
            f"{__version__}, which reads format {FORMAT}. Use that version of genser, or train the model again."
        )
    if config.get("checksum") != _checksum(config):
        raise ModelError(f"{path} was altered: its checksum differs. Copy the model folder again.")
    return config


def _read_files(folder: Path, checksums: Mapping[str, str]) -> dict[str, bytes]:
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in WEIGHT_ENDINGS and path.name not in checksums:
            raise ModelError(
                f"{path} does not belong to the model in this folder. Remove it, or copy the folder again."
            )
    contents = {}
    for name, checksum in checksums.items():
        try:
            contents[name] = (folder / name).read_bytes()
        except OSError as error:
            raise ModelError(f"{folder / name} is missing or cannot be read. Copy the whole model folder.") from error
        if hashlib.sha256(contents[name]).hexdigest() != checksum:
            raise ModelError(f"{folder / name} was altered: its checksum differs. Copy the model folder again.")
    return contents


def _gate(config: Mapping[str, Any], contents: Mapping[str, bytes]) -> SpeechGate | None:
    if config["gate"] is None:
        return None
    tensors = load_tensors(contents[GATE])
    gate = SpeechGate(*tensors["weight"].shape, threshold=config["gate"]["threshold"])
    gate.load_state_dict(tensors)
    return gate.eval()
