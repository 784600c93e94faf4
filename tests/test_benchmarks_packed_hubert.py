"""Packed clips get the features that each gets alone (benchmarks/packed_hubert.py)."""

import importlib
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from test_encoders_hubert import model_of
from transformers import HubertConfig, HubertModel

from genser.encoders import encode
from genser.encoders.hubert import HubertEncoder

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
try:
    module = importlib.import_module("packed_hubert")
finally:
    sys.path.pop(0)
PackedHubert, Grid, pack_clips = module.PackedHubert, module.Grid, module.pack_clips
encode_packed = module.encode_packed

torch.set_num_threads(1)
LENGTHS = [400, 16_000, 5_000, 719, 32_000, 401, 720]
HUBERT = Grid.of((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2))


def waveforms(lengths=LENGTHS, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(0.02, 0.1 * (1 + place), length).astype(np.float32) for place, length in enumerate(lengths)]


def packed_means(encoder, clips, total, dtype=torch.float32):
    packed = PackedHubert(encoder, dtype)
    means = np.zeros((len(clips), encoder.states, encoder.dim), np.float32)
    for pack in pack_clips([len(clip) for clip in clips], packed.grid, total):
        means[list(pack.clips)] = packed(pack, clips).numpy()
    return means


def test_the_grid_is_that_of_the_convolutions():
    assert (HUBERT.hop, HUBERT.field) == (320, 400)
    assert [HUBERT.frames(samples) for samples in (400, 719, 720, 16_000)] == [1, 1, 2, 49]


@example([719, 400], 1)
@given(st.lists(st.integers(400, 20_000), min_size=1, max_size=40), st.integers(1, 200))
def test_every_clip_lies_in_one_pack_and_no_two_share_a_sample(lengths, total):
    packs = list(pack_clips(lengths, HUBERT, total))
    assert sorted(clip for pack in packs for clip in pack.clips) == list(range(len(lengths)))
    for pack in packs:
        assert (pack.starts[1:] > (pack.starts + pack.counts)[:-1]).all()
        begins = pack.starts * HUBERT.hop
        ends = begins + pack.lengths
        assert (begins[1:] >= ends[:-1]).all()
        assert ends[-1] <= HUBERT.samples(pack.total)
        assert pack.total == max(total, HUBERT.room(int(pack.lengths[0])))
        segments = pack.segments(int(pack.counts.max()))
        assert segments[0] == 0
        assert segments[-1] == pack.total
        assert (np.diff(segments) >= 0).all()
        assert np.diff(segments).max() <= max(pack.counts.max(), 2)  # what lies between two clips is 2 frames at most
        clips = zip(pack.starts, pack.starts + pack.counts, strict=True)
        assert set(clips) <= set(pairwise(segments))


@pytest.mark.parametrize("family", ["hubert", "wav2vec2"])
@pytest.mark.parametrize("stable", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("total", [60, 1000])
def test_packed_clips_get_what_they_get_alone(family, stable, normalize, total):
    encoder = HubertEncoder(model_of((family, "layer", stable)), normalize)
    clips = waveforms()
    alone = np.concatenate([encode(encoder, [clip]) for clip in clips])
    np.testing.assert_allclose(packed_means(encoder, clips, total), alone, atol=2e-4)


def test_a_convolution_with_bias_is_packed_too():
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    form = {"conv_dim": (16,) * 7, "num_conv_pos_embedding_groups": 2, "conv_bias": True}
    model = HubertModel(HubertConfig(feat_extract_norm="layer", do_stable_layer_norm=True, **form, **sizes)).eval()
    encoder = HubertEncoder(model.requires_grad_(False), True)
    clips = waveforms()
    np.testing.assert_allclose(packed_means(encoder, clips, 200), encode(encoder, clips), atol=2e-4)


def test_in_bfloat16_every_mean_keeps_its_direction():
    encoder = HubertEncoder(model_of(("hubert", "layer", True)), True)
    clips = waveforms([8_000, 16_000, 5_000])
    exact, half = encode(encoder, clips), packed_means(encoder, clips, 200, torch.bfloat16)
    cosine = (exact * half).sum(-1) / np.linalg.norm(exact, axis=-1) / np.linalg.norm(half, axis=-1)
    assert cosine.min() > 0.999


@pytest.mark.parametrize("batch_seconds", [0.5, 3.0])
def test_encode_packed_keeps_the_order_of_the_clips(batch_seconds):
    encoder, clips = HubertEncoder(model_of(("hubert", "layer", True)), True), waveforms()
    exact, packed = encode(encoder, clips), encode_packed(encoder, clips, batch_seconds)
    cosine = (exact * packed).sum(-1) / np.linalg.norm(exact, axis=-1) / np.linalg.norm(packed, axis=-1)
    assert cosine.min() > 0.99
