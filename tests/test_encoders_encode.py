"""Encoding many clips, loading encoders, and the filter banks."""

import json
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn
from toys import frames

from genser.encoders import (
    DEFAULT_HUBERT,
    EncoderConfig,
    SpeechEncoder,
    convert_checkpoint,
    encode,
    load_encoder,
    split_windows,
)
from genser.encoders.fbank import FbankEncoder
from genser.errors import AudioError, ConfigError, MissingExtraError, ModelError

torch.set_num_threads(1)


def noise(*lengths: int, seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [(0.1 * random.standard_normal(length) + 0.02).astype(np.float32) for length in lengths]


class Counter(SpeechEncoder):
    """An encoder that returns the mean sample and the length, and keeps the shapes of its batches."""

    name, dim, states, max_samples = "counter", 2, 1, 480_000

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.shapes = []

    @property
    def settings(self):
        return {}

    def frame_states(self, waveforms, lengths):
        raise NotImplementedError

    def forward(self, waveforms, lengths):
        self.shapes.append(tuple(waveforms.shape))
        values = torch.stack([waveforms.sum(dim=1) / lengths, lengths.float()], dim=1)
        return (values * self.scale)[:, None]


def test_importing_the_package_loads_no_torch():
    code = (
        "import sys, genser.encoders as e; e.EncoderConfig('fbank'); print({'torch', 'transformers'} & {*sys.modules})"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_without_torch_the_extra_is_named():
    code = "import sys; sys.modules['torch'] = None; import genser.encoders as e; e.encode"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert MissingExtraError.__name__ in run.stderr
    assert "genser[train]" in run.stderr


def test_unknown_names_of_the_package_are_attribute_errors():
    import genser.encoders

    with pytest.raises(AttributeError, match="decode"):
        _ = genser.encoders.decode


def test_config_defaults_to_the_paper_and_refuses_impossible_settings():
    assert EncoderConfig().source == DEFAULT_HUBERT
    for arguments in [
        {"kind": "hubbert"},
        {"kind": "whisper"},
        {"kind": "whisper", "source": ""},
        {"kind": "fbank", "source": "x"},
        {"kind": "fbank", "revision": "main"},
    ]:
        with pytest.raises(ConfigError):
            EncoderConfig(**arguments)


@given(st.integers(1, 3_000_000), st.integers(1, 1500))
def test_windows_cover_a_clip_in_the_fewest_equal_parts(samples, frames):
    longest = 320 * frames
    windows = split_windows(samples, longest)
    assert windows[0].start == 0
    assert windows[-1].stop == samples
    assert all(left.stop == right.start for left, right in pairwise(windows))
    sizes = [window.stop - window.start for window in windows]
    assert max(sizes) <= longest
    assert len(windows) <= -(-samples // longest)
    assert all(size % 320 == 0 for size in sizes[:-1])


@pytest.mark.parametrize("seconds", [30.001, 30.5, 45, 60.01, 100, 1000.3])
def test_no_window_of_a_long_clip_is_short(seconds):
    samples = round(seconds * 16_000)
    assert min(part.stop - part.start for part in split_windows(samples, 480_000)) >= 14 * 16_000


@given(st.lists(st.integers(400, 40_000), min_size=1, max_size=12), st.floats(0.05, 10))
@settings(max_examples=30, deadline=None)
def test_encode_keeps_the_order_and_its_budget(lengths, batch_seconds):
    encoder = Counter()
    clips = noise(*lengths)
    features = encode(encoder, clips, batch_seconds=batch_seconds)
    assert features.shape == (len(lengths), 1, 2)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features[:, 0, 1], lengths, rtol=1e-6)
    np.testing.assert_allclose(features[:, 0, 0], [clip.mean() for clip in clips], atol=1e-5)
    assert all(rows == 1 or rows * size <= batch_seconds * 16_000 for rows, size in encoder.shapes)
    assert sum(rows for rows, _ in encoder.shapes) == len(lengths)


def test_encode_batches_similar_lengths_together():
    encoder = Counter()
    encode(encoder, noise(16_000, 1_000, 16_000, 1_000), batch_seconds=2)
    assert encoder.shapes == [(2, 16_000), (2, 1_000)]


def test_encode_averages_the_windows_of_a_long_clip_by_their_lengths():
    encoder = Counter()
    (clip,) = noise(45 * 16_000 + 123)
    features = encode(encoder, [clip])
    assert [size <= 480_000 for _, size in encoder.shapes] == [True]
    assert features[0, 0, 0] == pytest.approx(clip.mean(), abs=1e-6)


def test_encode_of_nothing_is_empty():
    assert encode(Counter(), []).shape == (0, 1, 2)


@pytest.mark.parametrize("clip", [np.zeros(399, np.float32), np.zeros((800, 1), np.float32)])
def test_a_clip_of_another_shape_is_refused(clip):
    with pytest.raises(AudioError, match="Clip 1 has the shape"):
        encode(Counter(), [*noise(800), clip])
    for seconds in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="batch_seconds"):
            encode(Counter(), noise(800), batch_seconds=seconds)


def test_fingerprint_follows_settings_and_weights():
    first, second = Counter(), Counter()
    assert first.fingerprint == second.fingerprint
    changed = Counter()
    changed.scale.data += 1e-6
    assert changed.fingerprint != first.fingerprint
    assert FbankEncoder(40).fingerprint != FbankEncoder(80).fingerprint


def test_fbank_has_mean_and_std_of_the_banks():
    encoder = load_encoder(EncoderConfig("fbank"))
    (clip,) = noise(16_000)
    waveforms, lengths = torch.from_numpy(clip)[None], torch.tensor([16_000])
    banks, mask = frames(encoder, waveforms, lengths)
    assert banks.shape == (1, 1, 100, 80)
    assert mask.all()
    wanted = torch.cat([banks[0, 0].mean(dim=0), banks[0, 0].std(dim=0, correction=0)])
    torch.testing.assert_close(encoder(waveforms, lengths)[0, 0], wanted, atol=1e-5, rtol=1e-5)
    assert (encoder.states, encoder.dim) == (1, 160)


def test_fbank_finds_the_band_of_a_tone():
    encoder = FbankEncoder()
    time = np.arange(16_000) / 16_000
    bands = [
        encode(encoder, [np.sin(2 * np.pi * f * time).astype(np.float32)])[0, 0, :80].argmax() for f in (400, 3000)
    ]
    edges = encoder.spectrum.filters.numpy()
    assert bands == [edges[:, round(f / 40)].argmax() for f in (400, 3000)]


def test_fbank_of_silence_is_finite():
    features = encode(FbankEncoder(), [np.zeros(16_000, np.float32)])
    assert np.isfinite(features).all()
    assert not features[0, 0, 80:].any()


def test_fbank_in_a_batch_equals_single():
    clips = noise(400, 16_000, 5_000, 719, 32_001)
    batch = encode(FbankEncoder(), clips)
    np.testing.assert_allclose(batch, [encode(FbankEncoder(), [clip])[0] for clip in clips], atol=1e-4)


def test_bf16_leaves_the_front_end_in_float32():
    clips = noise(16_000, 5_000)
    np.testing.assert_array_equal(encode(FbankEncoder(), clips, bf16=True), encode(FbankEncoder(), clips))


def test_missing_sources_are_reported(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for source, match in [
        (str(tmp_path / "no"), "is no folder"),
        ("./no", "is no folder"),
        ("nobody/no-such-model", r"neither a local folder nor a model.*name its folder or file instead\.$"),
    ]:
        for kind in ("hubert", "whisper"):
            with pytest.raises(ModelError, match=match):
                load_encoder(EncoderConfig(kind, source))


def test_a_hub_id_is_fetched_at_its_revision_without_pickles(tmp_path, monkeypatch):
    asked = {}

    def download(source, revision, allow_patterns, local_files_only):
        asked.update(source=source, revision=revision, patterns=allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(ModelError, match=r"config\.json"):
        load_encoder(EncoderConfig("hubert", "someone/model", revision="abc123"))
    assert (asked["source"], asked["revision"]) == ("someone/model", "abc123")
    assert not any(name.endswith((".bin", ".pt")) for name in asked["patterns"])


def test_a_pickle_is_refused_and_the_message_explains_the_conversion(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "hubert"}))
    torch.save({"a": torch.zeros(2)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="convert_checkpoint"):
        load_encoder(EncoderConfig("hubert", str(tmp_path)))


def test_a_pickle_that_runs_code_is_not_converted(tmp_path):
    class Hostile:
        def __reduce__(self):
            return print, ("owned",)

    torch.save({"a": Hostile()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="more than tensors"):
        convert_checkpoint(str(tmp_path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [{"model": {"a": torch.zeros(2)}}, [torch.zeros(2)], {"step": 3}])
def test_a_pickle_that_is_no_table_of_tensors_is_not_converted(tmp_path, content):
    torch.save(content, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="not a table of tensors"):
        convert_checkpoint(str(tmp_path), tmp_path / "out")


def test_converting_needs_a_pickle(tmp_path):
    with pytest.raises(ModelError, match="nothing to convert"):
        convert_checkpoint(str(tmp_path), tmp_path / "out")


def test_damaged_files_and_other_models_are_reported(tmp_path):
    damaged, foreign = tmp_path / "damaged.safetensors", tmp_path / "foreign.safetensors"
    damaged.write_bytes(b"\x10" * 100)
    save_file({"a": torch.zeros(2)}, foreign)
    for path, match in [(damaged, "cannot be read as safetensors"), (foreign, "not a Whisper encoder")]:
        with pytest.raises(ModelError, match=match):
            load_encoder(EncoderConfig("whisper", str(path)))
