"""Telephone speech: told from its features, and mapped to those of full band."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from toys import toy_folder

from genser.audio import SAMPLE_RATE
from genser.encoders import encode
from genser.model.folder import load_model, load_speech_model, save_model
from genser.model.narrowband import NarrowbandMapping
from genser.runtime import export
from genser.runtime.backend import padded
from genser.runtime.onnx_backend import OnnxBackend
from genser.runtime.torch_backend import run_model
from genser.training.narrowband import RANK, learn_narrowband

STATES, DIM, ROWS = 2, 16, 500
BUNDLE = Path(__file__).resolve().parent.parent / "bundle"


@pytest.fixture(scope="module")
def channel():
    """Correlated features, a channel that loses some of them, and noise, which is no channel."""
    random = torch.Generator().manual_seed(0)

    def drawn(*shape):
        return torch.randn(*shape, generator=random)

    full = drawn(ROWS + 100, STATES, DIM) @ drawn(DIM, DIM) / 4 + 1
    lost = drawn(STATES * DIM, 3) @ drawn(3, STATES * DIM) / 10
    narrow = (full.flatten(1) @ (torch.eye(STATES * DIM) + lost) + 2).reshape(full.shape)
    return full, narrow + 0.01 * drawn(*full.shape), full + 0.1 * drawn(*full.shape)


def fitted(full, narrow, noisy, weights=None, rank=3):
    weights = torch.ones(ROWS) if weights is None else weights
    given = full[:ROWS], narrow[:ROWS, None], noisy[:ROWS, None]
    return NarrowbandMapping(STATES, DIM, rank).fit(*given, weights, 1e-4)


def test_what_a_channel_loses_is_restored_on_clips_not_learned_from(channel):
    full, narrow, _ = (part[ROWS:] for part in channel)
    restored = fitted(*channel)(narrow)
    assert (restored - full).abs().mean() < 0.05 * (narrow - full).abs().mean()


def test_full_band_stays_as_it_is_with_noise_as_well(channel):
    mapping = fitted(*channel)
    for part in (channel[0], channel[2]):
        assert mapping.narrowness(part[ROWS:]).max() < 1e-3
        torch.testing.assert_close(mapping(part[ROWS:]), part[ROWS:], atol=1e-3, rtol=0)
    assert mapping.narrowness(channel[1][ROWS:]).min() > 0.999


def test_rows_count_by_their_weight(channel):
    full, narrow, noisy = channel
    weights = torch.ones(ROWS)
    weights[: ROWS // 2] = 0.0
    spoilt = narrow.clone()
    spoilt[: ROWS // 2] += 50.0
    torch.testing.assert_close(fitted(full, spoilt, noisy, weights).shift, fitted(full, narrow, noisy, weights).shift)


def test_a_fresh_mapping_changes_nothing(channel):
    assert torch.equal(NarrowbandMapping(STATES, DIM, 3)(channel[0]), channel[0])


def test_the_map_is_kept_with_a_model_and_is_in_its_graph(tmp_path):
    folder, random = toy_folder(tmp_path / "phone"), np.random.default_rng(0)
    made = load_model(folder)
    encoder = load_speech_model(made).encoder
    noises = [(0.1 * random.standard_normal(9_000)).astype(np.float32) for _ in range(40)]
    dull = [np.convolve(noise, np.ones(8) / 8, "same").astype(np.float32) for noise in noises]
    full, narrow = (torch.from_numpy(encode(encoder, clips)) for clips in (noises, dull))
    before = made.head(narrow)
    learn_narrowband(made.head, full, narrow[:, None], full[:, None], torch.ones(40))
    assert made.head.config.narrowband == RANK
    assert (made.head.narrowband.narrowness(narrow) > 0.9).all()
    assert (made.head(narrow) - made.head(full)).abs().mean() < 0.5 * (before - made.head(full)).abs().mean()
    save_model(folder, made.head, made.encoder, made.fingerprint)
    again = load_speech_model(load_model(folder))
    torch.testing.assert_close(again.head(narrow), made.head(narrow))
    graph = OnnxBackend(export.export_onnx(folder, tmp_path / "phone.onnx").path)
    batch, sizes = padded([*noises[:3], *dull[:3]])
    np.testing.assert_allclose(graph.run(batch, sizes).scores, run_model(again, batch, sizes).scores, atol=1e-3)


def test_copies_of_a_clip_are_narrow_narrow_and_wide(monkeypatch):
    monkeypatch.syspath_prepend(str(BUNDLE))
    sys.modules.pop("bands", None)
    from bands import copies

    clip = np.random.default_rng(0).standard_normal(SAMPLE_RATE).astype(np.float32)
    frequencies = np.fft.rfftfreq(SAMPLE_RATE, 1 / SAMPLE_RATE)
    for number in range(5):
        spectra = [np.abs(np.fft.rfft(copy)) ** 2 for copy in copies(clip, number)]
        upper = [spectrum[frequencies > 4500].sum() / spectrum.sum() for spectrum in spectra]
        assert max(upper[:2]) < 1e-4 < 0.2 < upper[2]
        np.testing.assert_array_equal(copies(clip, number)[1], copies(clip, number)[1])
