"""Models for benchmarks: a bundled one, a given file, or one of the same size with random weights."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from genser.inference.load import MODELS

LABELS = ("neutral", "happiness", "sadness", "anger", "fear", "disgust", "surprise")


def clip_of(duration: float, seed: int = 0, rate: int = 16_000) -> np.ndarray:
    """Noise whose level varies four times a second, as that of speech does."""
    times = np.arange(round(duration * rate)) / rate
    noise = np.random.default_rng(seed).standard_normal(len(times))
    return (0.1 * noise * (1 + np.sin(2 * np.pi * 4 * times))).astype(np.float32)


def add_model_option(options: argparse.ArgumentParser) -> None:
    options.add_argument("--model", help="bundled name or ONNX file (default: base, else random weights of its size)")


def model_for(arguments: argparse.Namespace, folder: Path) -> str:
    """The model given to a script, the bundled one, or a random one written to the folder."""
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
    """Write an encoder of the size of Whisper base and a transport head, with random weights, as one ONNX file."""
    import torch
    from safetensors.torch import save_file

    from genser.encoders import EncoderConfig, load_encoder
    from genser.encoders.whisper import WhisperConfig, WhisperEncoder
    from genser.export.onnx import export_onnx
    from genser.model.folder import save_model

    torch.manual_seed(0)
    size = WhisperConfig(dim=64, layers=1, heads=1, inner=64) if toy else WhisperConfig()
    source = EncoderConfig("whisper", str(path.with_suffix(".safetensors")))
    save_file(WhisperEncoder(size).state_dict(), source.source)
    encoder = load_encoder(source)
    labels = tuple(f"{LABELS[n % len(LABELS)]}{n // len(LABELS) or ''}" for n in range(classes))
    head = random_head(labels, encoder.states, size.dim, steps, state)
    save_model(path.with_suffix(""), head, source, encoder.fingerprint, {})
    return export_onnx(path.with_suffix(""), path, precision).path


def random_head(labels: tuple[str, ...], states: int, dim: int, steps: int, state: str) -> Any:
    """A transport head with two layers and random weights, in evaluation mode."""
    from genser.model import EstimatorConfig, FeatureTransformConfig, HeadConfig, TransportHead
    from genser.transport import Sampler

    network = EstimatorConfig(dim, states, depth=2, heads=8)
    transform = FeatureTransformConfig(states, dim, repeat=True)
    config = HeadConfig(labels, network, sampler=Sampler(steps=steps), state=state, feature_transform=transform)
    return TransportHead(config).eval()


def head_session(*, steps: int, state: str, toy: bool = False) -> tuple[Any, np.ndarray, int]:
    """A session from pooled features to the outputs of a head, one row of features, and the number of graph nodes."""
    import torch
    from torch import nn

    from genser.model.speech_model import SpeechModel
    from genser.onnx_runtime import import_onnxruntime

    class Unpooled(nn.Module):
        """Stands in for an encoder: the waveform is already its features."""

        def forward(self, features: torch.Tensor, _lengths: None) -> torch.Tensor:
            return features

    torch.manual_seed(0)
    states, dim = (2, 64) if toy else (7, 512)
    model = SpeechModel(Unpooled(), random_head(LABELS, states, dim, steps, state)).eval().requires_grad_(False)
    names = {"input_names": ["features"], "output_names": ["scores", "trajectory", "states"]}
    batch = ({0: torch.export.Dim("batch", min=1, max=4096)}, None)
    features = torch.randn(2, states, dim)
    graph = torch.onnx.export(model, (features, None), dynamo=True, dynamic_shapes=batch, verbose=False, **names)
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph.model_proto.SerializeToString(), options)
    return session, features[:1].numpy(), len(graph.model_proto.graph.node)
