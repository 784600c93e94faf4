"""Small models with random weights that several test files share."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from genser.encoders import EncoderConfig, Pooling, encode, load_encoder
from genser.encoders.whisper import WhisperConfig, WhisperEncoder
from genser.model import EstimatorConfig, Head, HeadConfig, make_head
from genser.model.folder import save_model
from genser.model.speech_gate import SpeechGate
from genser.transport import Sampler

LABELS = ("anger", "happiness", "sadness")


def toy_weights(path: Path, seed: int = 0, layers: int = 2) -> EncoderConfig:
    """Write a Whisper encoder of width 64 with one attention head."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = WhisperEncoder(WhisperConfig(dim=64, layers=layers, heads=1, inner=96))
        tensors = {key: tensor + 0.05 * torch.randn_like(tensor) for key, tensor in encoder.state_dict().items()}
    save_file({key: tensor.half() for key, tensor in tensors.items()}, path)
    return EncoderConfig("whisper", str(path))


def toy_head(labels: tuple[str, ...] = LABELS, states: int = 3, seed: int = 0, **settings) -> Head:
    """A head whose scores differ from clip to clip."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = make_head(HeadConfig(labels, EstimatorConfig(64, states - 1, depth=1, heads=2), **settings))
        for parameter in head.parameters():
            parameter.data.add_(0.2 * torch.randn_like(parameter))
        if head.is_closed_form:
            head.fit(torch.randn(90, states, 64), torch.arange(90) % len(labels))
    return head.eval()


def toy_gate(encoder, threshold: float = 0.5) -> SpeechGate:
    """A gate that answers 1 for noise and 0 for silence."""
    random = np.random.default_rng(0)
    clips = [np.zeros(16_000, np.float32), (0.1 * random.standard_normal(16_000)).astype(np.float32)]
    silence, noise = torch.from_numpy(encode(encoder, clips))
    gate, way = SpeechGate(*silence.shape, threshold=threshold), noise - silence
    gate.weight.data.copy_(20 * way / way.square().sum())
    gate.bias.data.copy_(-(gate.weight.data * (noise + silence) / 2).sum())
    return gate


def toy_folder(
    folder: Path,
    *,
    gated: bool = False,
    gendered: str | None = None,
    pooling: Pooling | None = None,
    labels=LABELS,
    seed: int = 0,
    **settings,
) -> Path:
    """Write a model folder, its encoder beside it; `gendered` is the kind of its second head."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    config = toy_weights(folder.with_name(f"{folder.name}-encoder.safetensors"), seed)
    if pooling:
        config = EncoderConfig("whisper", config.source, pooling=pooling)
    encoder = load_encoder(config)
    gate = toy_gate(encoder) if gated else None
    info = {"recipe": {"task": "emotion"}, "corpora": ["toy"], "utterances": 12, "speakers": 4, "validation_ua": 0.5}
    head = toy_head(labels, encoder.states, seed, **{"sampler": Sampler(steps=2), **settings})
    gender = toy_head(("female", "male"), encoder.states, seed + 1, kind=gendered) if gendered else None
    save_model(folder, head, config, encoder.fingerprint, info, license="CC0", gate=gate, gender=gender)
    return folder


def frames(encoder, waveforms, lengths):
    """Every hidden state frame by frame, (batch, states, frames, dim), and the valid frames, (batch, frames)."""
    states, mask = encoder.frame_states(waveforms, lengths)
    return torch.stack(list(states), dim=1), mask
