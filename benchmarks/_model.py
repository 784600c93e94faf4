"""Models for benchmarks: the bundled one, a given file, or one of the same size with random weights."""

import argparse
from pathlib import Path

import numpy as np

from genser.inference.load import MODELS

LABELS = ("neutral", "happiness", "sadness", "anger", "fear", "disgust", "surprise")


def clip_of(duration: float, seed: int = 0, rate: int = 16_000) -> np.ndarray:
    """Noise whose loudness wavers four times a second, as speech does."""
    times = np.arange(round(duration * rate)) / rate
    noise = np.random.default_rng(seed).standard_normal(len(times))
    return (0.1 * noise * (1 + np.sin(2 * np.pi * 4 * times))).astype(np.float32)


def add_model_option(made: argparse.ArgumentParser) -> None:
    made.add_argument("--model", help="bundled name or ONNX file (default: base, else random weights of its size)")


def model_for(arguments: argparse.Namespace, folder: Path) -> str:
    """The model that a script was given, the bundled one, or a random one made in the folder."""
    if arguments.model:
        return arguments.model
    if (MODELS / "base.onnx").exists() and not arguments.toy:
        return "base"
    return str(random_model(folder / "random.onnx", toy=arguments.toy))


def random_model(
    path: Path,
    *,
    steps: int = 4,
    classes: int = len(LABELS),
    precision: str = "float32",
    state: str = "posterior",
    toy: bool = False,
) -> Path:
    """Write Whisper base's encoder and a transport head, both with random weights, as one ONNX file."""
    import torch
    from safetensors.torch import save_file

    from genser.encoders import EncoderConfig, load_encoder
    from genser.encoders.whisper import WhisperConfig, WhisperEncoder
    from genser.export.onnx import export_onnx
    from genser.model import EstimatorConfig, FeatureTransformConfig, HeadConfig, TransportHead
    from genser.model.folder import save_model
    from genser.transport import Sampler

    torch.manual_seed(0)
    size = WhisperConfig(dim=64, layers=1, heads=1, inner=64) if toy else WhisperConfig()
    source = EncoderConfig("whisper", str(path.with_suffix(".safetensors")))
    save_file(WhisperEncoder(size).state_dict(), source.source)
    encoder = load_encoder(source)
    labels = tuple(f"{LABELS[n % len(LABELS)]}{n // len(LABELS) or ''}" for n in range(classes))
    network = EstimatorConfig(size.dim, encoder.states, depth=2, heads=8)
    front = FeatureTransformConfig(encoder.states, size.dim, repeat=True)
    head = TransportHead(
        HeadConfig(labels, network, sampler=Sampler(steps=steps), state=state, feature_transform=front)
    ).eval()
    save_model(path.with_suffix(""), head, source, encoder.fingerprint, {})
    return export_onnx(path.with_suffix(""), path, precision).path
