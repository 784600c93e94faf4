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


def add_also_option(options: argparse.ArgumentParser) -> None:
    options.add_argument("--also", nargs="*", default=[], help="further ONNX files")


def compared_models(arguments: argparse.Namespace, folder: Path) -> dict[str, str]:
    """The bundled models and the files of ``--also`` by name; of a toy run, a tiny one written to the folder."""
    if arguments.toy:
        return {"toy": str(random_model(folder / "toy.onnx", toy=True))}
    return {"base": "base", "tiny": "tiny"} | {Path(path).stem: path for path in arguments.also}


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


def head_session(*, steps: int, state: str, toy: bool = False) -> tuple[Any, dict[str, np.ndarray], int]:
    """A session from pooled features to the outputs of a head, its inputs for one clip, and its number of nodes."""
    import torch

    from genser.encoders import SpeechEncoder
    from genser.model.speech_model import SpeechModel
    from genser.onnx_runtime import import_onnxruntime

    states, dim = (2, 64) if toy else (7, 512)

    class Unpooled(SpeechEncoder):
        """Stands in for an encoder: the samples of the waveform are already its features."""

        settings = frame_states = None

        def forward(self, waveforms: torch.Tensor, _lengths: torch.Tensor) -> torch.Tensor:
            return waveforms.unflatten(1, (states, dim))

    torch.manual_seed(0)
    model = SpeechModel(Unpooled(), random_head(LABELS, states, dim, steps, state)).eval().requires_grad_(False)
    names = {"input_names": ["waveform", "lengths"], "output_names": list(model.outputs)}
    batch = {0: torch.export.Dim("batch", min=1, max=4096)}
    inputs = (torch.randn(2, states * dim), torch.tensor([1, 1]))
    graph = torch.onnx.export(model, inputs, dynamo=True, dynamic_shapes=(batch, batch), verbose=False, **names)
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph.model_proto.SerializeToString(), options)
    given = {"waveform": inputs[0][:1].numpy(), "lengths": np.array([1])}
    known = {one.name for one in session.get_inputs()}
    return session, {name: given[name] for name in given if name in known}, len(graph.model_proto.graph.node)
