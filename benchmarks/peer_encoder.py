"""Measures recognition beside the Whisper encoder of CTranslate2, the fastest peer, on one thread.

    python benchmarks/peer_encoder.py [--also FILE ...] [--json FILE]

CTranslate2 (``pip install ctranslate2``) computes the encoder alone, from log-mel features, with random weights, on
which its time does not depend; genser computes everything from the waveform to the scores. CTranslate2 has all six
layers of Whisper base, and in another row three, as many as the bundled base model has. All run in turn. The limit is
what the products of those three layers, of the convolutions and of attention take at the rate of NumPy's products in
float32, measured in the same run.
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _common import Claim, alternated, parser
from _model import add_also_option, clip_of, compared_models
from threadpoolctl import threadpool_limits

import genser

LENGTHS = (1.0, 3.0, 10.0, 30.0)  # s
PEERS = ((6, "int8"), (3, "int8"), (3, "float32"))  # layers and precision
DIM, HEADS, INNER, MELS = 512, 8, 2048, 80


def peer(folder: Path, layers: int, compute_type: str) -> Callable[[float], Any]:
    """The encoder of CTranslate2, as a function of the length of a clip."""
    import ctranslate2
    import torch
    from ctranslate2.converters.transformers import WhisperLoader
    from ctranslate2.specs import WhisperSpec
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    size = {"d_model": DIM, "encoder_attention_heads": HEADS, "encoder_ffn_dim": INNER, "num_mel_bins": MELS}
    size |= {"decoder_layers": 1, "decoder_attention_heads": HEADS, "decoder_ffn_dim": 64, "vocab_size": 64}
    tokens = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 1)
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(WhisperConfig(encoder_layers=layers, **size, **tokens)).eval()
    spec, loader = WhisperSpec(layers, HEADS, 1, HEADS), WhisperLoader()
    loader.set_encoder(spec.encoder, model.model.encoder)
    loader.set_decoder(spec.decoder, model.model.decoder)
    loader.set_linear(spec.decoder.projection, model.proj_out)
    spec.register_vocabulary([str(number) for number in range(64)])
    spec.validate()
    spec.optimize(quantization="int8")
    path = folder / f"ctranslate2-{layers}"
    path.mkdir(exist_ok=True)
    spec.save(str(path))
    loaded = ctranslate2.models.Whisper(str(path), compute_type=compute_type, intra_threads=1)

    def encode(length: float) -> Any:
        features = np.random.default_rng(0).standard_normal((1, MELS, round(100 * length))).astype(np.float32)
        return loaded.encode(ctranslate2.StorageView.from_array(features), to_cpu=True)

    return encode


def operations(length: float, layers: int) -> float:
    """Additions and multiplications of the products of an encoder of the size of base, front end excluded."""
    frames = round(50 * length)
    convolutions = 2 * 3 * DIM * frames * (2 * MELS + DIM)
    layer = 2 * frames * (4 * DIM * DIM + 2 * DIM * INNER) + 4 * frames * frames * DIM
    return convolutions + layers * layer


def measure(claim: Claim, models: dict[str, str], peers: dict[str, Callable], lengths: tuple, repeats: int) -> None:
    loaded = {name: genser.load(path, threads=1) for name, path in models.items()}
    random = np.random.default_rng(0)
    left, right = (random.standard_normal(shape).astype(np.float32) for shape in ((500, DIM), (DIM, INNER)))
    for length in lengths:
        works = {name: partial(model.scores, [clip_of(length)]) for name, model in loaded.items()}
        works |= {name: partial(encode, length) for name, encode in peers.items()}
        works["limit"] = partial(np.matmul, left, right)
        spent = {name: one.processor for name, one in zip(works, alternated([*works.values()], repeats), strict=True)}
        spent["limit"] *= operations(length, 3) / (2 * 500 * DIM * INNER)
        first = next(iter(spent.values()))
        for name, own in spent.items():
            numbers = {"processor ms": 1e3 * own, "share of real time": own / length, "of the first": own / first}
            claim.add(f"{name}, {length:g} s", **numbers)


def main() -> None:
    options = parser(__doc__, toy="a tiny model without the peer")
    add_also_option(options)
    options.set_defaults(repeats=9)
    arguments: argparse.Namespace = options.parse_args()
    claim = Claim("peer_encoder", "half the time of CTranslate2's encoder in int8, at any length")
    claim.settings |= {"toy": arguments.toy, "threads": 1}
    with tempfile.TemporaryDirectory() as folder:
        models = compared_models(arguments, Path(folder))
        peers = {
            f"CTranslate2, {layers} layers, {kind}": peer(Path(folder), layers, kind)
            for layers, kind in (() if arguments.toy else PEERS)
        }
        with threadpool_limits(1):  # the second thread of a product of NumPy would spin into the next time
            measure(claim, models, peers, LENGTHS[:1] if arguments.toy else LENGTHS, arguments.repeats)
    claim.report(arguments.json)


if __name__ == "__main__":
    main()
