import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from toys import frames
from transformers import (
    Data2VecAudioConfig,
    Data2VecAudioModel,
    HubertConfig,
    HubertForCTC,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)

from genser.encoders import EncoderConfig, convert_checkpoint, encode, load_encoder
from genser.encoders.hubert import HubertEncoder
from genser.errors import ModelError

torch.set_num_threads(1)

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embedding_groups": 2,  # oneDNN is wrong in bfloat16 for 8 channels a group on CPUs with AMX
}
FAMILIES = {
    "hubert": (HubertConfig, HubertModel),
    "wavlm": (WavLMConfig, WavLMModel),
    "wav2vec2": (Wav2Vec2Config, Wav2Vec2Model),
}
FORMS = [(family, norm, stable) for family in FAMILIES for norm in ("group", "layer") for stable in (False, True)]
CASES = [*FORMS, ("hubert-batch-norm", "group", False), ("data2vec-audio", "layer", False)]
LENGTHS = [400, 16_000, 5_000, 719, 32_000, 401]


def model_of(case: tuple[str, str, bool]) -> torch.nn.Module:
    family, norm, stable = case
    torch.manual_seed(0)
    if family == "data2vec-audio":
        model = Data2VecAudioModel(Data2VecAudioConfig(num_conv_pos_embeddings=3, **SIZES))
    elif family == "hubert-batch-norm":
        model = HubertModel(HubertConfig(conv_pos_batch_norm=True, num_conv_pos_embeddings=16, **SIZES))
    else:
        config, kind = FAMILIES[family]
        form = {"feat_extract_norm": norm, "do_stable_layer_norm": stable, "num_conv_pos_embeddings": 16}
        model = kind(config(**form, **SIZES))
    model.eval().requires_grad_(False)
    for tensor in [*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())]:
        tensor.add_(0.1 * torch.rand_like(tensor))
    return model


def noise(*lengths: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [(0.1 * random.standard_normal(length) + 0.02).astype(np.float32) for length in lengths]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_padded_batch_equals_single_clips(case):
    encoder, clips = HubertEncoder(model_of(case), normalize=True), noise(*LENGTHS)
    single = np.stack([encode(encoder, [clip])[0] for clip in clips])
    np.testing.assert_allclose(encode(encoder, clips), single, atol=5e-5)
    assert single.std() > 0.01


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_single_clip_has_transformers_states(case):
    model, (clip,) = model_of(case), noise(9_000)
    values = Wav2Vec2FeatureExtractor(do_normalize=True)(clip, sampling_rate=16_000, return_tensors="pt").input_values
    with torch.inference_mode():
        theirs = model(values, output_hidden_states=True)
        states, mask = frames(HubertEncoder(model, normalize=True), torch.from_numpy(clip)[None], torch.tensor([9_000]))
    assert mask.all()
    assert states.shape[1] == len(theirs.hidden_states) == 3
    # transformers 5 leaves the final norm out of its last hidden state, but not out of last_hidden_state.
    wanted = torch.stack([*theirs.hidden_states[:-1], theirs.last_hidden_state], dim=1)
    torch.testing.assert_close(states, wanted, atol=1e-4, rtol=1e-4)


def test_what_the_padding_holds_does_not_matter():
    encoder, (clip,) = HubertEncoder(model_of(FORMS[0]), normalize=True), noise(5_000)
    padded = torch.full((1, 9_000), torch.nan)
    padded[0, :5_000] = torch.from_numpy(clip)
    with torch.inference_mode():
        states = encoder(padded, torch.tensor([5_000]))
    np.testing.assert_allclose(states, encode(encoder, [clip]), atol=1e-5)


@pytest.mark.parametrize("length", [*range(400, 1_400, 37), 16_000])
def test_any_length_has_the_frames_that_transformers_counts(length):
    model = model_of(FORMS[0])
    _, mask = frames(HubertEncoder(model, True), torch.zeros(2, 16_000), torch.tensor([length, 16_000]))
    assert mask[0].sum() == model._get_feat_extract_output_lengths(length)


def test_normalisation_is_the_model_s_own():
    (clip,) = noise(8_000)
    for normalize in (True, False):
        encoder = HubertEncoder(model_of(FORMS[2]), normalize)
        louder = np.abs(encode(encoder, [clip]) - encode(encoder, [0.1 * clip + 0.3])).max()
        assert (louder < 1e-3) == normalize


def test_bf16_is_close_to_float32():
    encoder = HubertEncoder(model_of(FORMS[0]), normalize=True)
    clips = noise(16_000, 5_000)
    rounded, exact = encode(encoder, clips, bf16=True), encode(encoder, clips)
    assert 0 < np.abs(rounded - exact).max() < 0.1 * exact.std()


def test_silence_is_finite():
    for case in (FORMS[0], FORMS[6]):
        assert np.isfinite(encode(HubertEncoder(model_of(case), True), [np.zeros(8_000, np.float32)])).all()


@pytest.mark.parametrize("case", [FORMS[0], FORMS[7], FORMS[10], CASES[-1]], ids=str)
def test_a_saved_folder_loads_with_its_settings(tmp_path, case):
    model, (clip,) = model_of(case), noise(8_000)
    model.save_pretrained(tmp_path)
    for normalize in (True, False):
        Wav2Vec2FeatureExtractor(do_normalize=normalize).save_pretrained(tmp_path)
        loaded, wanted = load_encoder(EncoderConfig("hubert", str(tmp_path))), HubertEncoder(model, normalize)
        assert loaded.fingerprint == wanted.fingerprint
        np.testing.assert_allclose(encode(loaded, [clip]), encode(wanted, [clip]), atol=1e-5)
        assert (loaded.dim, loaded.states) == (32, 3)
        assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_fingerprints_tell_models_and_settings_apart():
    models = [HubertEncoder(model_of(case), normalize) for case in CASES for normalize in (True, False)]
    assert len({encoder.fingerprint for encoder in models}) == len(models)


def test_a_fine_tuned_checkpoint_gives_its_encoder(tmp_path):
    torch.manual_seed(0)
    model = HubertForCTC(HubertConfig(num_conv_pos_embeddings=16, vocab_size=5, **SIZES)).eval()
    model.save_pretrained(tmp_path)
    loaded, (clip,) = load_encoder(EncoderConfig("hubert", str(tmp_path))), noise(8_000)
    np.testing.assert_allclose(encode(loaded, [clip]), encode(HubertEncoder(model.hubert, True), [clip]), atol=1e-5)


def test_a_converted_pickle_gives_the_same_encoder(tmp_path):
    model = model_of(FORMS[3])
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="convert_checkpoint"):
        load_encoder(EncoderConfig("hubert", str(tmp_path)))
    folder = convert_checkpoint(str(tmp_path), tmp_path / "converted")
    assert load_encoder(EncoderConfig("hubert", str(folder))).fingerprint == HubertEncoder(model, True).fingerprint


def test_incomplete_and_foreign_folders_are_named(tmp_path):
    model_of(FORMS[0]).save_pretrained(tmp_path)
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    tensors, settings = load_file(weights), json.loads(config.read_text())
    key = "encoder.layers.1.attention.k_proj.weight"
    save_file({name: value for name, value in tensors.items() if name != key}, weights, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=f"lacks 1 tensors of a hubert model, such as {key}"):
        load_encoder(EncoderConfig("hubert", str(tmp_path)))
    weights.write_bytes(b"\x10" * 100)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_encoder(EncoderConfig("hubert", str(tmp_path)))
    config.write_text(json.dumps(settings | {"model_type": "bert"}))
    with pytest.raises(ModelError, match="'bert' model"):
        load_encoder(EncoderConfig("hubert", str(tmp_path)))
    config.write_text("[")
    with pytest.raises(ModelError, match=r"config\.json cannot be read"):
        load_encoder(EncoderConfig("hubert", str(tmp_path)))


def test_another_sample_rate_is_refused(tmp_path):
    model_of(FORMS[0]).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor(sampling_rate=8_000).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="8000 Hz"):
        load_encoder(EncoderConfig("hubert", str(tmp_path)))
