import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor
from toys import frames
from transformers import WhisperConfig as TheirConfig
from transformers import WhisperFeatureExtractor
from transformers.audio_utils import mel_filter_bank
from transformers.models.whisper.modeling_whisper import WhisperEncoder as TheirEncoder

from genser.audio import load_audio
from genser.encoders import EncoderConfig, encode, load_encoder
from genser.encoders.mel import mel_filters
from genser.encoders.whisper import WhisperConfig, WhisperEncoder
from genser.errors import ConfigError, GenserError, ModelError
from genser.onnx_runtime import import_onnxruntime

torch.set_num_threads(1)

TINY = WhisperConfig(dim=32, layers=2, heads=2, inner=48)


def noise(*lengths: int, seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [(0.1 * random.standard_normal(length)).astype(np.float32) for length in lengths]


def tiny(config: WhisperConfig = TINY, seed: int = 0) -> WhisperEncoder:
    torch.manual_seed(seed)
    encoder = WhisperEncoder(config).eval().requires_grad_(False)
    for parameter in encoder.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    return encoder


def theirs(encoder: WhisperEncoder, frames: int) -> TheirEncoder:
    """transformers' encoder of the same weights for clips of so many frames."""
    config = encoder.config
    model = TheirEncoder(
        TheirConfig(
            d_model=config.dim,
            encoder_layers=config.layers,
            encoder_attention_heads=config.heads,
            encoder_ffn_dim=config.inner,
            num_mel_bins=config.mels,
            max_source_positions=frames,
        )
    )
    weights = encoder.state_dict()
    weights["embed_positions.weight"] = weights["embed_positions.weight"][:frames]
    model.load_state_dict(weights)
    return model.eval()


def their_states(encoder: WhisperEncoder, clip: np.ndarray) -> Tensor:
    clip = clip[: len(clip) // 320 * 320]
    extractor = WhisperFeatureExtractor(feature_size=encoder.config.mels)
    features = extractor(clip, sampling_rate=16_000, padding=False, truncation=False, return_tensors="pt")
    model = theirs(encoder, len(clip) // 320)
    with torch.inference_mode():
        outputs = model(features.input_features, output_hidden_states=True)
    return torch.cat([*outputs.hidden_states[:-1], outputs.last_hidden_state])


def our_states(encoder: WhisperEncoder, clip: np.ndarray) -> Tensor:
    with torch.inference_mode():
        return frames(encoder, torch.from_numpy(clip)[None], torch.tensor([len(clip)]))[0][0]


@pytest.mark.parametrize("bins", [80, 128])
def test_mel_filters_are_slaney_s(bins):
    wanted = mel_filter_bank(201, bins, 0, 8000, 16_000, norm="slaney", mel_scale="slaney").T
    np.testing.assert_allclose(mel_filters(bins), wanted, atol=1e-12)


@pytest.mark.parametrize("config", [TINY, WhisperConfig(dim=64, layers=3, heads=4, inner=96, mels=128)])
@pytest.mark.parametrize("length", [400, 719, 16_000, 33_333])
def test_every_state_is_transformers(config, length):
    encoder, (clip,) = tiny(config), noise(length)
    torch.testing.assert_close(our_states(encoder, clip), their_states(encoder, clip), atol=2e-4, rtol=1e-4)


def test_real_weights_and_speech_give_transformers_states(weights, corpora):
    source = weights / "whisper-tiny.en-encoder.fp16.safetensors"
    encoder = load_encoder(EncoderConfig("whisper", str(source)))
    assert (encoder.dim, encoder.states, encoder.config.heads) == (384, 5, 6)
    clip = load_audio(min(corpora.glob("ravdess/*/*.flac")))
    ours, wanted = our_states(encoder, clip), their_states(encoder, clip)
    assert ours.shape == (5, len(clip) // 320, 384)
    torch.testing.assert_close(ours.mean(dim=1), wanted.mean(dim=1), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(ours, wanted, atol=2e-2, rtol=1e-3)


@given(st.integers(400, 4_000))
@settings(max_examples=40, deadline=None)
def test_any_length_has_its_whole_frames(length):
    encoder, (clip,) = tiny(), noise(length)
    states = our_states(encoder, clip)
    assert states.shape == (3, length // 320, 32)
    assert states.isfinite().all()
    torch.testing.assert_close(states, our_states(encoder, clip[: length // 320 * 320]))


@given(st.lists(st.integers(400, 20_000), min_size=2, max_size=5), st.integers(0, 999))
@settings(max_examples=20, deadline=None)
def test_a_padded_batch_equals_single_clips(lengths, padding):
    encoder, clips = tiny(), noise(*lengths)
    waveforms = torch.full((len(clips), max(lengths) + padding), 0.7)  # what the padding holds does not matter
    for row, clip in zip(waveforms, clips, strict=True):
        row[: len(clip)] = torch.from_numpy(clip)
    with torch.inference_mode():
        states = encoder(waveforms, torch.tensor(lengths))
    torch.testing.assert_close(
        states, torch.stack([our_states(encoder, clip).mean(dim=1) for clip in clips]), atol=1e-5, rtol=1e-5
    )


def test_frames_of_a_batch_are_masked():
    encoder, lengths = tiny(), [16_000, 5_000]
    _, mask = frames(encoder, torch.zeros(2, 16_000), torch.tensor(lengths))
    assert mask.sum(dim=1).tolist() == [50, 15]


def test_the_mean_is_over_frames():
    encoder, (clip,) = tiny(), noise(9_999)
    np.testing.assert_allclose(encode(encoder, [clip])[0], our_states(encoder, clip).mean(dim=1), atol=1e-5)


def test_bf16_is_close_to_float32():
    encoder = tiny()
    clips = noise(16_000, 5_000)
    rounded, exact = encode(encoder, clips, bf16=True), encode(encoder, clips)
    assert 0 < np.abs(rounded - exact).max() < 0.1 * exact.std()


def test_silence_is_finite():
    assert np.isfinite(encode(tiny(), [np.zeros(16_000, np.float32)])).all()


def test_more_than_30_s_at_once_is_refused_and_encoded_in_windows():
    encoder, (clip,) = tiny(), noise(31 * 16_000)
    with pytest.raises(ModelError, match=r"genser\.encoders\.encode"):
        our_states(encoder, clip)
    half = len(clip) // 2
    parts = encode(encoder, [clip[:half], clip[half:]])
    np.testing.assert_allclose(encode(encoder, [clip])[0], parts.mean(axis=0), atol=1e-5)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    encoder = tiny()
    batch, samples = torch.export.Dim("batch", min=1, max=4096), torch.export.Dim("samples", min=400, max=480_000)
    program = torch.onnx.export(
        encoder,
        (torch.zeros(2, 16_000), torch.tensor([16_000, 9_000])),
        dynamo=True,
        input_names=["waveforms", "lengths"],
        output_names=["states"],
        dynamic_shapes=({0: batch, 1: samples}, {0: batch}),
        verbose=False,
    )
    path = tmp_path_factory.mktemp("onnx") / "encoder.onnx"
    program.save(path, external_data=False)
    return encoder, import_onnxruntime().InferenceSession(path)


@pytest.mark.parametrize(
    "lengths", [[400], [719], [16_000], [33_333], [480_000], [400, 16_001, 5_000], [9_600, 9_600, 400, 9_599, 640]]
)
def test_the_exported_graph_equals_torch(exported, lengths):
    encoder, session = exported
    waveforms = np.stack(noise(*[max(lengths)] * len(lengths)))
    (states,) = session.run(None, {"waveforms": waveforms, "lengths": np.array(lengths)})
    with torch.inference_mode():
        wanted = encoder(torch.from_numpy(waveforms), torch.tensor(lengths)).numpy()
    np.testing.assert_allclose(states, wanted, atol=1e-5)


def test_the_exported_graph_has_no_complex_numbers_and_no_fourier(exported):
    _, session = exported
    assert {node.type for node in session.get_inputs() + session.get_outputs()} == {"tensor(float)", "tensor(int64)"}


@pytest.mark.parametrize("prefix", ["", "encoder.", "model.encoder."])
def test_files_and_folders_load_alike(tmp_path, prefix):
    encoder = tiny(WhisperConfig(dim=64, layers=1, heads=1, inner=48))
    tensors = {prefix + key: value for key, value in encoder.state_dict().items()}
    if prefix == "model.encoder.":
        tensors["model.decoder.embed_tokens.weight"] = torch.zeros(3, 64)
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"encoder_attention_heads": 1}))
    for source in (tmp_path, tmp_path / "model.safetensors"):
        loaded = load_encoder(EncoderConfig("whisper", str(source)))
        assert loaded.fingerprint == encoder.fingerprint
        assert not loaded.training


def test_shards_load_together(tmp_path):
    encoder = tiny()
    tensors = encoder.state_dict()
    first = {key: value for key, value in tensors.items() if key.startswith("layers.")}
    second = {key: value for key, value in tensors.items() if key not in first}
    names = {"a.safetensors": first, "b.safetensors": second}
    for name, part in names.items():
        save_file(part, tmp_path / name)
    index = {"weight_map": {key: name for name, part in names.items() for key in part}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "config.json").write_text(json.dumps({"encoder_attention_heads": 2}))
    assert load_encoder(EncoderConfig("whisper", str(tmp_path))).fingerprint == encoder.fingerprint


@pytest.mark.parametrize("index", [{}, {"weight_map": []}, {"weight_map": {}}, {"weight_map": {"a": 5, "b": "c"}}])
def test_an_index_that_names_no_files_is_refused(tmp_path, index):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="does not map tensors to files"):
        load_encoder(EncoderConfig("whisper", str(tmp_path)))


@pytest.mark.parametrize(
    ("shape", "heads"),
    [
        ((2, 3), 1),
        ((), 1),
        ((64, 8, 3, 1), 1),
        ((8, 8, 3), None),
        ((64, 8, 3), "x"),
        ((64, 8, 3), -1),
        ((64, 8, 3), [2]),
    ],
)
def test_tensors_and_heads_that_do_not_fit_are_refused(tmp_path, shape, heads):
    tensors = tiny(WhisperConfig(dim=64, layers=1, heads=1, inner=48, mels=8)).state_dict()
    save_file(tensors | {"conv1.weight": torch.zeros(shape)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"encoder_attention_heads": heads}))
    with pytest.raises(GenserError, match=r"heads|not a Whisper encoder"):
        load_encoder(EncoderConfig("whisper", str(tmp_path)))


def test_half_precision_weights_are_computed_in_float32(tmp_path):
    encoder = tiny(WhisperConfig(dim=64, layers=1, heads=1, inner=48))
    path = tmp_path / "half.safetensors"
    save_file({key: value.half() for key, value in encoder.state_dict().items()}, path)
    loaded = load_encoder(EncoderConfig("whisper", str(path)))
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    (clip,) = noise(8_000)
    np.testing.assert_allclose(encode(loaded, [clip]), encode(encoder, [clip]), atol=1e-2)


def test_missing_tensors_are_named(tmp_path):
    tensors = tiny(WhisperConfig(dim=64, layers=1, heads=1, inner=48)).state_dict()
    for key in ("layers.0.fc2.bias", "embed_positions.weight", "layers.0.fc1.weight"):
        path = tmp_path / "model.safetensors"
        save_file({name: value for name, value in tensors.items() if name != key}, path)
        with pytest.raises(ModelError, match=key):
            load_encoder(EncoderConfig("whisper", str(path)))


def test_impossible_sizes_are_refused():
    for sizes in ({"layers": 0}, {"dim": 30, "heads": 4}, {"mels": -1}):
        with pytest.raises(ConfigError):
            WhisperConfig(**sizes)
